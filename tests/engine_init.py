"""The first process of a private engine's namespaces: `python -I -S engine_init.py FOLDER GROUP SIZE OUT DOCKERD…`.

Runs as root inside of `unshare --mount --pid --mount-proc`, and makes the network namespace itself, since pasta has to
stay outside of it. Says `connected` or `alone` once all is ready, then starts the command DOCKERD for each line that it
reads. At the end of its input, however that came about, it kills everything in its namespaces, removes FOLDER and the
control groups GROUP, and ends. SIZE limits the engine's data; OUT asks for a way out; both may be empty. Standard
library only.
"""

import ctypes
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_MNT_DETACH = 2
_CAPABILITY_VERSION_3 = 0x20080522
_ADDRESS, _GATEWAY, _PREFIX = "192.0.0.2", "192.0.0.1", "29"
_STAND_IN = "192.0.0.3"
_RESOLV_CONF = Path("/etc/resolv.conf")
_SECONDS = 10

libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise SystemExit(f"{what}: {os.strerror(ctypes.get_errno())}")


def _hold() -> tuple[int, int]:
    """A process in this network without capabilities, by its id and what it waits for: pasta may look into no other."""
    until, going = os.pipe()
    held, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(going)
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        if libc.capset(header, (ctypes.c_uint32 * 6)()) == 0:
            os.close(ready)
            os.read(until, 1)
        os._exit(0)
    for descriptor in (until, ready):
        os.close(descriptor)
    os.read(held, 1)
    os.close(held)
    return pid, going


@functools.cache
def _resolver() -> str:
    """Whom containers ask for names: who answers this machine, by the same address unless it is the machine's own.

    pasta gives all that comes from there the address that it was told, which has to be the one that was asked.
    """
    for line in _RESOLV_CONF.read_text().splitlines():
        key, *values = line.split()[:2] or [""]
        if key == "nameserver" and values and "." in values[0]:
            return _STAND_IN if values[0].startswith("127.") else values[0]
    return _STAND_IN


def _connect(outside: int) -> bool:
    """Whether pasta connected this network with the one that `outside` is."""
    holder, going = _hold()
    command = [
        # Root of this machine stays root: the namespace belongs to nobody else.
        *("pasta", "--quiet", "--runas", "0", "--config-net", "--no-map-gw", "--no-netns-quit"),
        *("-t", "none", "-u", "none", "-T", "none", "-U", "none"),
        # The engine's own bridge has IPv4 alone.
        *("--no-dhcp", "--no-dhcpv6", "--no-ra", "--ns-ifname", "outside", "-4"),
        # That of the engine's bridges: pasta is not told when a packet is too long for one.
        *("--mtu", "1500"),
        *("--address", _ADDRESS, "--netmask", _PREFIX, "--gateway", _GATEWAY, "--dns-forward", _resolver()),
        *("--netns-only", "--netns", f"/proc/{holder}/ns/net"),
    ]
    try:
        subprocess.run(
            command,
            check=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            preexec_fn=lambda: _check(libc.setns(outside, _CLONE_NEWNET), "setns"),
        )
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no way out: {error}", file=sys.stderr, flush=True)
        return False
    finally:
        os.close(going)
        os.waitpid(holder, 0)
    # pasta announces windows in packets that belong to no connection, and the answer to one ends it for containers.
    invalid = ["-i", "outside", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"]
    subprocess.run(["iptables", "-I", "INPUT", *invalid], check=True)
    return True


def _mount(source: str, target: Path, kind: str, options: str = "") -> None:
    subprocess.run(["mount", *kind.split(), *(("-o", options) if options else ()), source, str(target)], check=True)


def _name_resolver(folder: Path) -> None:
    """The file may be a link to where nothing is any more."""
    named = folder / "resolv.conf"
    named.write_text(f"nameserver {_resolver()}\n")
    target = _RESOLV_CONF.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch()
    _mount(str(named), target, "--bind")


def _prepare(folder: Path, size: str, way_out: bool) -> bool:
    with open("/proc/self/ns/net") as outside:
        _check(libc.unshare(_CLONE_NEWNET), "unshare")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        connected = way_out and _connect(outside.fileno())
    # Engines on one machine leave sockets there, and find each other's.
    _mount("tmpfs", Path("/run"), "-t tmpfs", "mode=755")
    if connected:
        _name_resolver(folder)
    data = folder / "data"
    data.mkdir()
    if size:
        _mount("tmpfs", data, "-t tmpfs", f"size={size},mode=711")
    return connected


def _start(folder: Path, command: list[str]) -> None:
    # A killed one leaves it, and the next takes whatever has that id for an engine that runs.
    (folder / "pid").unlink(missing_ok=True)
    subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_DFL),
    )


def _kill_all() -> None:
    deadline = time.monotonic() + _SECONDS
    while [name for name in os.listdir("/proc") if name.isdigit() and name != "1"] and time.monotonic() < deadline:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            break
        time.sleep(0.01)


def _unmount(folder: Path) -> None:
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        target = line.split()[4]
        if target.startswith(f"{folder}/"):
            _check(libc.umount2(target.encode(), _MNT_DETACH), f"umount {target}")


def _remove_groups(group: str) -> None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            for place, _, _ in os.walk(f"{mount}/{group}", topdown=False):
                _remove_group(place)


def _remove_group(place: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            return os.rmdir(place)
        except FileNotFoundError:
            return None
        except OSError:
            # What was killed stays in it a little longer.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def main(arguments: list[str]) -> None:
    folder, group, size, out, *command = arguments
    # pasta takes it for an error when this is ignored already.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    connected = _prepare(Path(folder), size, bool(out))
    # Every process without a parent becomes a child of this one.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        os.write(1, b"connected\n" if connected else b"alone\n")
        for _ in iter(sys.stdin.readline, ""):
            _start(Path(folder), command)
            os.write(1, b"started\n")
    finally:
        _kill_all()
        _unmount(Path(folder))
        _remove_groups(group)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
