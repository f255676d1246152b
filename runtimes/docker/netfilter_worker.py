"""Gives the kernel the rules of a network namespace: `python3 -I -S -c SOURCE MESSAGE` in it, with CAP_NET_ADMIN.

MESSAGE is what `netfilter.rules_message` made, packed by zlib and in base64. Standard library only.
"""

import base64
import os
import socket
import struct
import sys
import zlib

_NETFILTER = 12
_FORCED_SEND_BUFFER = 32
_MOST_BYTES = 8 * 1024 * 1024
_SECONDS = 5.0


def open_netfilter() -> socket.socket:
    """Speaks to the network namespace of this thread, from whichever thread it is used."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)


def set_rules(kernel: socket.socket, message: bytes) -> None:
    """Returns when they hold; raises OSError when they do not."""
    kernel.settimeout(_SECONDS)
    try:
        kernel.setsockopt(socket.SOL_SOCKET, _FORCED_SEND_BUFFER, _MOST_BYTES)
    except PermissionError:
        # For root of this machine alone; the usual size takes some thousands of addresses.
        pass
    kernel.sendto(message, (0, 0))
    last = _last_sequence(message)
    while True:
        # An error of an earlier part comes before what the last one is answered.
        answer = kernel.recv(65536)
        while answer:
            size, _, _, sequence, _, error = struct.unpack_from("=IHHIIi", answer)
            if error != 0:
                raise OSError(-error, os.strerror(-error))
            if sequence == last:
                return
            answer = answer[(size + 3) & ~3 :]


def _last_sequence(message: bytes) -> int:
    """That of the last part but one, which asks for an acknowledgement: the last one only ends the message."""
    offset = 0
    last = before = 0
    while offset < len(message):
        size, _, _, sequence = struct.unpack_from("=IHHI", message, offset)
        last, before = sequence, last
        offset += size
    return before


def _main(packed: str) -> None:
    with open_netfilter() as kernel:
        set_rules(kernel, zlib.decompress(base64.b64decode(packed)))


if __name__ == "__main__":
    try:
        _main(sys.argv[1])
    except OSError as error:
        sys.exit(f"{error.strerror or error}")
