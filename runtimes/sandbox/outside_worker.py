"""Runs a program in a network namespace of its own that pasta connects: `python -I -S -c SOURCE PASTA FILTER… -- …`.

PASTA and each FILTER are commands with a line for each argument; a filter is followed by the rules that it reads.
It runs inside of bubblewrap, with the capabilities over that namespace, and becomes the program. Standard library
only, and little of it: every start of an instance with a network waits for this.
"""

import ctypes
import os
import sys

_CLONE_NEWNET = 0x40000000
_SIGPIPE, _SIG_DFL = 13, 0


def _run(command: str, wait_for: int = -1, rules: str = "") -> int:
    """Starts a command; it begins once `wait_for` holds a byte, and reads `rules`."""
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if wait_for >= 0 and not os.read(wait_for, 1):
                return -1
            os.dup2(source, 0)
            # What the program is given is its own: pasta would keep it open.
            os.closerange(3, 1024)
            arguments = command.split("\n")
            os.execve(arguments[0], arguments, {"XTABLES_LOCKFILE": "/dev/null", "PATH": "/usr/sbin:/usr/bin"})  # noqa: S606
        finally:
            os._exit(127)
    os.close(source)
    os.write(sink, rules.encode())
    os.close(sink)
    return pid


def _done(pid: int, command: str) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        name = command.split("\n")[0]
        os.write(2, f"{name} ended with exit status {status}\n".encode())
        os._exit(125)


def main(arguments: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # pasta takes it for an error when this signal is ignored already, as Python has it. The module for signals takes
    # longer to import than all else here.
    libc.signal(_SIGPIPE, _SIG_DFL)
    waiting, begin = os.pipe()
    pasta = _run(arguments[0].replace("@PID@", str(os.getpid())), waiting)
    if libc.unshare(_CLONE_NEWNET) != 0:
        os.write(2, f"no network namespace can be made: {os.strerror(ctypes.get_errno())}\n".encode())
        os._exit(125)
    os.write(begin, b".")
    os.close(waiting)
    os.close(begin)
    end = arguments.index("--")
    # The rules stand before there is anything that they are about.
    for command, rules in zip(arguments[1:end:2], arguments[2:end:2], strict=True):
        _done(_run(command, rules=rules), command)
    _done(pasta, arguments[0])
    program = arguments[end + 1 :]
    os.execve(program[0], program, os.environ)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
