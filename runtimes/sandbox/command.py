"""The bubblewrap command of one instance. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SECCOMP_DESCRIPTOR = 5
APP = "/app"
RUNNER = "/runner"
PACKAGES = "/packages"
CERTIFICATES = "/etc/ssl/certs"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_TOP_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True, slots=True)
class System:
    """What of the host an instance sees: `links` are symlinks at the top, `folders` are bound read-only."""

    links: tuple[tuple[str, str], ...]
    folders: tuple[str, ...]


def find_system(python_prefix: str, top: Path = Path("/")) -> System:
    """The least of this host that its Python needs."""
    links: list[tuple[str, str]] = []
    folders = ["/usr"]
    for name in _TOP_FOLDERS:
        path = top / name
        if path.is_symlink():
            links.append((str(path.readlink()).removeprefix("/"), f"/{name}"))
        elif path.is_dir():
            folders.append(f"/{name}")
    if not Path(python_prefix).is_relative_to("/usr"):
        folders.append(python_prefix)
    return System(tuple(links), tuple(folders))


def shown(system: System) -> list[str]:
    """The arguments by which bubblewrap shows the system read-only, and the devices that are no way out."""
    arguments: list[str] = []
    for folder in system.folders:
        arguments += ["--ro-bind", folder, folder]
    for target, name in system.links:
        arguments += ["--symlink", target, name]
    arguments += ["--proc", "/proc", "--tmpfs", "/dev"]
    for device in _DEVICES:
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    return arguments


def sandbox_command(
    bubblewrap: str,
    system: System,
    *,
    app: str,
    runner: str,
    packages: str | None,
    resolver: str | None,
    tmp_bytes: int,
    program: Sequence[str],
) -> tuple[str, ...]:
    """`program` alone in namespaces of its own, without capabilities.

    It sees `app` at /app, `runner` at /runner and `packages`, where there are any, at /packages. With a `resolver`,
    the file that names one, it shares the network that it is started in, and sees whom this machine trusts.
    """
    command = [
        bubblewrap,
        *("--unshare-all", "--unshare-user", "--disable-userns"),
        *(("--share-net",) if resolver is not None else ()),
        *("--die-with-parent", "--new-session", "--clearenv"),
        *("--hostname", "function"),
    ]
    command += [
        *shown(system),
        *("--symlink", "/proc/self/fd", "/dev/fd"),
        *("--symlink", "/proc/self/fd/0", "/dev/stdin"),
        *("--symlink", "/proc/self/fd/1", "/dev/stdout"),
        *("--symlink", "/proc/self/fd/2", "/dev/stderr"),
        # Semaphores of `multiprocessing` lie here; in /tmp they are limited and counted with the rest.
        *("--symlink", "/tmp", "/dev/shm"),  # noqa: S108  (the sandbox's own)
        *("--remount-ro", "/dev"),
        *("--perms", "1777", "--size", str(tmp_bytes), "--tmpfs", "/tmp"),  # noqa: S108  (the sandbox's own)
        *("--ro-bind", runner, RUNNER, "--ro-bind", app, APP),
        *(("--ro-bind", packages, PACKAGES) if packages is not None else ()),
        *("--symlink", f"{RUNNER}/etc", "/etc"),
        *(_trust(resolver) if resolver is not None else ()),
        *("--remount-ro", "/", "--chdir", APP),
        *("--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"),
        *("--seccomp", str(SECCOMP_DESCRIPTOR), "--"),
        *program,
    ]
    return tuple(command)


def _trust(resolver: str) -> Sequence[str]:
    """Whom to ask for addresses, and whom to believe; the runner's files have places for both."""
    etc = f"{RUNNER}/etc"
    return ("--ro-bind", resolver, f"{etc}/resolv.conf", "--ro-bind-try", CERTIFICATES, f"{etc}/ssl/certs")
