"""The bubblewrap command of one build. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from clowdy.runtimes.sandbox.command import System, shown

SECCOMP_DESCRIPTOR = 3


class Bind(NamedTuple):
    """`source` of the host appears as `target`."""

    source: str
    target: str
    writable: bool = False


def build_command(
    bubblewrap: str,
    system: System,
    *,
    binds: Sequence[Bind],
    folder: str,
    tmp_bytes: int,
    share_network: bool,
    program: Sequence[str],
) -> tuple[str, ...]:
    """`program` alone in namespaces of its own, without capabilities, in `folder`, seeing the system and `binds`.

    With `share_network` it has the network in which the command is run, else none.
    """
    command = [
        bubblewrap,
        *("--unshare-all", "--unshare-user", "--disable-userns"),
        *(("--share-net",) if share_network else ()),
        *("--die-with-parent", "--new-session", "--hostname", "build"),
    ]
    command += [
        *shown(system),
        *("--symlink", "/proc/self/fd", "/dev/fd", "--symlink", "/tmp", "/dev/shm"),  # noqa: S108  (its own)
        *("--remount-ro", "/dev"),
        *("--perms", "1777", "--size", str(tmp_bytes), "--tmpfs", "/tmp"),  # noqa: S108  (its own)
    ]
    for bind in binds:
        command += ["--bind" if bind.writable else "--ro-bind", bind.source, bind.target]
    command += [
        *("--remount-ro", "/", "--chdir", folder),
        *("--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"),
        *("--seccomp", str(SECCOMP_DESCRIPTOR), "--"),
        *program,
    ]
    return tuple(command)
