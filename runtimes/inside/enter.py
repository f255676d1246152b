"""The first program of a container: `python -I -S enter.py`. It fetches its descriptors and becomes the runner.

The server listens on a socket in the folder that the container sees as /app, and answers whoever comes there with the
command to become, a filter of system calls and three descriptors: the channel, and both ends of the pipe behind 1 and
2. The filter holds on top of the engine's own, for this process and all that it becomes.
"""

import os
from _socket import AF_UNIX, CMSG_SPACE, SOCK_SEQPACKET, socket

_DOOR = "/app/.door"
_MOST_BYTES = 65536
_END = b"\0\0"
_SET_SECCOMP, _FILTER = 22, 2
_INSTRUCTION_BYTES = 8


def _enter() -> None:
    door = socket(AF_UNIX, SOCK_SEQPACKET)
    door.connect(_DOOR)
    said, ancillary, _, _ = door.recvmsg(_MOST_BYTES, CMSG_SPACE(3 * 4))
    channel, reading, writing = memoryview(ancillary[0][2]).cast("i")
    door.close()
    # Above all numbers that are given out from here on.
    channel, reading, writing = (
        _at(number, descriptor) for number, descriptor in ((10, channel), (11, reading), (12, writing))
    )
    null = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((null, 0), (writing, 1), (writing, 2), (channel, 3), (reading, 4)):
        os.dup2(source, target)
    os.closerange(5, 64)
    command, _, rules = said.partition(_END)
    _confine(rules)
    program = command.decode().split("\0")
    os.execve(program[0], program, {})  # noqa: S606


def _at(number: int, descriptor: int) -> int:
    os.dup2(descriptor, number)
    return number


def _confine(rules: bytes) -> None:
    import ctypes

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    program = Program(len(rules) // _INSTRUCTION_BYTES, rules)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_SECCOMP, ctypes.c_ulong(_FILTER), ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the filter of system calls cannot be set")


_enter()
