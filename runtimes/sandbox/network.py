"""A network of its own for what runs in a sandbox: pasta connects it, and rules in it keep it from what is refused."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.runner import find_python
from clowdy.runtimes.sandbox.reach import (
    ADDRESS_4,
    ADDRESS_6,
    GATEWAY_4,
    GATEWAY_6,
    PREFIX_4,
    PUBLIC_ONLY,
    RESOLVER_4,
    RESOLVER_6,
    Policy,
    iptables_rules,
    nft_rules,
    reach,
    resolver_file,
)

__all__ = ["PUBLIC_ONLY", "Outside", "Policy", "find_outside", "outside_command", "rewrite_command"]

_WORKER = Path(__file__).with_name("outside_worker.py").read_text()
_TUN = Path("/dev/net/tun")
_RESOLV_CONF = "/etc/resolv.conf"
RESOLVERS = Path(_RESOLV_CONF)
# Beside PATH: an ordinary user's has no administrator's programs.
_WHERE = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))
_ADDRESSES = {4: (ADDRESS_4, GATEWAY_4, RESOLVER_4), 6: (ADDRESS_6, GATEWAY_6, RESOLVER_6)}


@dataclass(frozen=True, slots=True)
class Outside:
    """What this machine has for it: programs, and what is known of its network.

    `nft` or else `iptables` (the restore commands of IPv4 and IPv6) set the rules; `families` are the versions of IP
    that have a way out, `resolving` those by which the machine's resolver is asked, `host` its own addresses.
    """

    bubblewrap: str
    python: str
    pasta: str
    ip: str
    nsenter: str
    nft: str | None
    iptables: tuple[str, str] | None
    families: tuple[int, ...]
    resolvers: str
    resolving: tuple[int, ...]
    host: tuple[str, ...]

    @property
    def resolver_file(self) -> str:
        """What /etc/resolv.conf holds inside."""
        return resolver_file(self.resolving)


def find_outside(python: str | None = None, tun: Path = _TUN, resolvers: Path | None = None) -> Outside:
    """What a network of its own needs here, looked up anew; blocks for some 20 ms.

    `python` is an interpreter that any user may run; `resolvers` stands for this machine's resolv.conf. Raises
    DriverUnavailable, naming what is missing and the cure.
    """
    resolvers = resolvers or RESOLVERS
    programs = {name: shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_WHERE}") for name in _PROGRAMS}
    missing = [package for name, package in _NEEDED.items() if programs[name] is None]
    nft, first, second = programs["nft"], programs["iptables-restore"], programs["ip6tables-restore"]
    if nft is None and (first is None or second is None):
        missing.append("nftables")
    if missing:
        raise DriverUnavailable(f"{_subject(missing)} not installed. Cure: apt-get install {' '.join(missing)}")
    _check_tun(tun)
    ip = str(programs["ip"])
    families = tuple(version for version in (4, 6) if _ask(ip, f"-{version}", "route", "show", "default"))
    if not families:
        raise DriverUnavailable("this machine has no default route. Cure: connect it to a network")
    resolving = tuple(version for version in _resolving(resolvers) if version in families)
    return Outside(
        bubblewrap=str(programs["bwrap"]),
        python=python or find_python(None, for_any_user=os.geteuid() == 0).executable,
        pasta=str(programs["pasta"]),
        ip=ip,
        nsenter=str(programs["nsenter"]),
        nft=nft,
        iptables=(first, second) if first is not None and second is not None else None,
        families=families,
        resolvers=str(resolvers),
        resolving=resolving,
        host=host_addresses(ip),
    )


_NEEDED = {"bwrap": "bubblewrap", "pasta": "passt", "ip": "iproute2", "nsenter": "util-linux"}
_PROGRAMS = (*_NEEDED, "nft", "iptables-restore", "ip6tables-restore")


def _subject(missing: Sequence[str]) -> str:
    return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'}"


def _check_tun(tun: Path) -> None:
    try:
        found = tun.stat()
    except OSError:
        raise DriverUnavailable(
            f"{tun} is missing. Cure: modprobe tun, or mknod -m 666 {tun} c 10 200; "
            f"for a server in a container: --device {tun}"
        ) from None
    # A server that runs as root starts pasta as another user.
    others = found.st_mode & (stat.S_IROTH | stat.S_IWOTH) == stat.S_IROTH | stat.S_IWOTH
    if not others and (os.geteuid() == 0 or not os.access(tun, os.R_OK | os.W_OK)):
        raise DriverUnavailable(f"{tun} may be opened by root alone. Cure: chmod 666 {tun}")


def _resolving(path: Path) -> list[int]:
    """The versions of IP by which the resolvers in a resolv.conf are asked, the first one's first."""
    found: list[int] = []
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, *values = line.split()[:2] or [""]
        if key == "nameserver" and values:
            try:
                found.append(ipaddress.ip_address(values[0]).version)
            except ValueError:
                continue
    return list(dict.fromkeys(found))


def host_addresses(ip: str) -> tuple[str, ...]:
    """Every address and network that this machine takes for its own; blocks."""
    found = {each["local"] for link in _ask(ip, "address") for each in link.get("addr_info", []) if "local" in each}
    for version in (4, 6):
        # Whole networks too, and broadcast addresses; multicast is refused in any case.
        for route in _ask(ip, f"-{version}", "route", "show", "table", "local"):
            if route.get("type") != "multicast":
                found.add(route["dst"])
    return tuple(sorted(found))


def _ask(ip: str, *question: str) -> list[dict[str, Any]]:
    try:
        answer = subprocess.run([ip, "-j", *question], env={}, capture_output=True, check=True, timeout=10).stdout
        found: list[dict[str, Any]] = json.loads(answer or "[]")
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise DriverUnavailable(f"{ip} {' '.join(question)} fails: {error}") from None
    return found


def outside_command(outside: Outside, policy: Policy, argv: Sequence[str], *, open_files: int = 0) -> tuple[str, ...]:
    """`argv` in a network namespace of its own that reaches what `policy` allows, as a command for an ordinary user.

    `argv` runs as root of a user namespace and must give that up, as `bwrap --unshare-user` does: it could undo the
    rules. It keeps its descriptors and environment; unless `open_files` is 0 it may have no more files open than that,
    whatever pasta may. All of it, pasta included, ends with the first process. The command must not be run as root:
    pasta hangs.
    """
    command = [
        outside.bubblewrap,
        # The namespace of processes takes pasta, which detaches itself, along when it ends.
        *("--unshare-user", "--unshare-pid", "--die-with-parent", "--uid", "0", "--gid", "0"),
        # For the namespace, for its rules and addresses, and for the user namespace that the program makes for itself.
        *("--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_NET_ADMIN", "--cap-add", "CAP_SETFCAP"),
        *("--dev-bind", "/", "/", "--proc", "/proc"),
        *(("--ro-bind", outside.resolvers, _RESOLV_CONF) if outside.resolvers != _RESOLV_CONF else ()),
        "--",
        *(outside.python, "-I", "-S", "-c", _WORKER, str(open_files)),
        "\n".join(_pasta(outside)),
    ]
    for setter, rules in _rules(outside, policy):
        command += ["\n".join(setter), rules]
    return (*command, "--", *argv)


def rewrite_command(outside: Outside, policy: Policy, pid: int) -> tuple[str, ...]:
    """Sets the rules anew where process `pid` is the one that `outside_command` became."""
    script = 'while [ $# -gt 0 ]; do printf %s "$2" | $1 || exit; shift 2; done'
    words = [word for setter, rules in _rules(outside, policy) for word in (" ".join(setter), rules)]
    enter = ("--target", str(pid), "--user", "--net", "--preserve-credentials", "--")
    return (outside.nsenter, *enter, "/bin/sh", "-c", script, "sh", *words)


def _rules(outside: Outside, policy: Policy) -> list[tuple[tuple[str, ...], str]]:
    """The commands that set the rules, each with what it reads."""
    reached = reach(policy, outside.host)
    if outside.nft is not None:
        return [((outside.nft, "-f", "-"), nft_rules(reached))]
    assert outside.iptables is not None
    restores = zip((4, 6), outside.iptables, strict=True)
    return [((restore, "--wait", "5"), iptables_rules(reached, version)) for version, restore in restores]


def _pasta(outside: Outside) -> list[str]:
    command = [
        *(outside.pasta, "--quiet", "--config-net", "--no-map-gw", "--no-netns-quit"),
        *("-t", "none", "-u", "none", "-T", "none", "-U", "none"),
        *("--no-dhcp", "--no-dhcpv6", "--no-ra", "--ns-ifname", "outside"),
    ]
    if len(outside.families) == 1:
        command.append(f"-{outside.families[0]}")
    for family in outside.families:
        address, gateway, resolver = _ADDRESSES[family]
        command += ["--address", address, "--gateway", gateway]
        if family in outside.resolving:
            command += ["--dns-forward", resolver]
    if 4 in outside.families:
        command += ["--netmask", str(PREFIX_4)]
    return [*command, "--netns-only", "--netns", "/proc/@PID@/ns/net"]
