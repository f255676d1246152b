"""Prints what the network namespace that it runs in takes for its own, an address or network a line.

`python3 -I -S -c SOURCE`. Standard library only.
"""

import socket
import sys

_LOCAL_ROUTE = 0x80000000
_OURS = ("LOCAL", "BROADCAST")


def _fourth() -> set[str]:
    found, address = set(), ""
    with open("/proc/net/fib_trie") as lines:
        for line in lines:
            words = line.split()
            if words[0] == "|--":
                address = words[1]
            elif words[-1] in _OURS:
                found.add(f"{address}{words[0]}")
    return found


def _sixth() -> set[str]:
    found = set()
    try:
        with open("/proc/net/ipv6_route") as lines:
            for line in lines:
                words = line.split()
                if int(words[8], 16) & _LOCAL_ROUTE:
                    address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(words[0]))
                    found.add(f"{address}/{int(words[1], 16)}")
    except FileNotFoundError:
        # This machine has no IPv6.
        pass
    return found


sys.stdout.write("\n".join(sorted(_fourth() | _sixth())))
