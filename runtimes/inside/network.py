"""Says in the log why a first connection fails where the network is off: the error alone would not tell its author."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .logs import Logs

_EXPLANATION = b"network is off for this function: set network: true in clowdy.yaml\n"
_CONNECTS = frozenset(("socket.connect", "socket.sendto", "socket.sendmsg"))
_RESOLVES = frozenset(("socket.getaddrinfo", "socket.gethostbyname"))
# These ask for the name of an address; given a name, the first resolves it before.
_LOOKS_UP = frozenset(("socket.gethostbyaddr", "socket.getnameinfo"))
_INET, _INET6, _STREAM, _TYPE = 2, 10, 1, 0xF
_LISTENS = "0A"


class Explainer:
    """Tells it once in an import and once in the calls that follow."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._due = True

    def watch(self) -> None:
        """From now on. An audit hook also hears libraries that do not use Python's own `socket` class."""
        sys.addaudithook(self._heard)

    def again(self) -> None:
        """Whoever reads the logs of calls does not see that of the start."""
        self._due = True

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._due:
            return
        if event in _CONNECTS:
            fails = _cannot_connect(*arguments[:2])
        elif event in _RESOLVES:
            fails = _cannot_resolve(arguments[0])
        elif event in _LOOKS_UP:
            fails = _cannot_look_up(arguments[0])
        else:
            return
        if fails:
            self._due = False
            self._logs.write(_EXPLANATION, now=True)


def _cannot_connect(socket: Any, address: Any) -> bool:
    try:
        if socket.family not in (_INET, _INET6):
            return False
        host = str(address[0])
        if not _is_loopback(host):
            # A name is resolved first, which is heard as well.
            return _is_numeric(host)
        return socket.type & _TYPE == _STREAM and not _somebody_listens(int(address[1]))
    except Exception:  # noqa: BLE001  (whatever is wrong with the arguments, the call itself says it better)
        return False


def _cannot_resolve(host: Any) -> bool:
    try:
        name = host.decode("ascii") if isinstance(host, bytes | bytearray) else host
        return bool(name) and not (_is_numeric(name) or name.rstrip(".").lower() in ("localhost", "function"))
    except Exception:  # noqa: BLE001  (as above)
        return False


def _cannot_look_up(address: Any) -> bool:
    """`address` is a host or, for `getnameinfo`, a host and a port."""
    host = address[0] if isinstance(address, tuple) and address else address
    return _cannot_resolve(host) or (isinstance(host, str) and _is_numeric(host) and not _is_loopback(host))


def _is_loopback(host: str) -> bool:
    return host in ("", "localhost", "0.0.0.0", "::", "::1") or host.startswith(("127.", "::ffff:127."))  # noqa: S104


def _is_numeric(host: str) -> bool:
    return ":" in host or (host.count(".") == 3 and host.replace(".", "").isdigit())


def _somebody_listens(port: int) -> bool:
    """Whether something here takes connections on a port: to try it would be a connection that the other end sees."""
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        try:
            with open(table) as lines:
                for line in lines:
                    fields = line.split()
                    if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                        return True
        except OSError:
            continue
    return False
