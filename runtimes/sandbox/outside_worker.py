"""Runs a program in a network namespace of its own that pasta connects: `python -I -S -c SOURCE FILES PASTA …`.

After PASTA come filters, each followed by the rules that it reads, then `--` and the program. PASTA and filters are
commands with a line for each argument. FILES is how many files the program may have open, 0 for as many as pasta,
which needs one for each connection. All of it runs inside of bubblewrap with the capabilities over the namespace.
Standard library only, and little of it: every start of an instance with a network waits for this.
"""

import ctypes
import os
import resource
import sys

_CLONE_NEWNET = 0x40000000
_CAPABILITY_VERSION_3 = 0x20080522
_SIGPIPE, _SIG_DFL = 13, 0
_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    # iptables takes a lock, and may not make the file that it takes one of.
    "XTABLES_LOCKFILE": "/dev/null",
}

libc = ctypes.CDLL(None, use_errno=True)


def _execute(command: str) -> None:
    try:
        # What the program is given is its own: pasta would keep it open.
        os.closerange(3, 1024)
        arguments = command.split("\n")
        os.execve(arguments[0], arguments, _ENVIRONMENT)  # noqa: S606
    finally:
        os._exit(127)


def _connect(command: str, known: int, tell: int) -> int:
    """Starts pasta, which stays in the network of the machine, once `known` says which process's it is to connect."""
    pid = os.fork()
    if pid == 0:
        os.close(tell)
        target = os.read(known, 16).decode()
        if target:
            _execute(command.replace("@PID@", target))
        os._exit(127)
    return pid


def _hold(tell: int, until: int, ready: int) -> None:
    """Starts a process in this network that holds no capabilities: pasta may look into no other.

    It tells its id to `tell`, and ends once nobody has `ready` open, the other end of `until`.
    """
    if os.fork() == 0:
        try:
            header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
            if libc.capset(header, (ctypes.c_uint32 * 6)()) == 0:
                os.write(tell, str(os.getpid()).encode())
                os.close(ready)
                os.read(until, 1)
        finally:
            os._exit(0)


def _set(command: str, rules: str) -> None:
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(source, 0)
        _execute(command)
    # With an end of ours still open: of a setter that does not read its status tells, not a signal that ends this one.
    os.write(sink, rules.encode())
    os.close(source)
    os.close(sink)
    _succeeded(pid, command)


def _succeeded(pid: int, command: str) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        name = command.split("\n")[0]
        os.write(2, f"{name} ended with exit status {status}\n".encode())
        os._exit(125)


def main(arguments: list[str]) -> None:
    # pasta takes it for an error when this signal is ignored already, as Python has it. The module for signals takes
    # longer to import than all else here.
    libc.signal(_SIGPIPE, _SIG_DFL)
    open_files, connector, *rest = arguments
    known, tell = os.pipe()
    until, ready = os.pipe()
    pasta = _connect(connector, known, tell)
    if libc.unshare(_CLONE_NEWNET) != 0:
        os.write(2, f"no network namespace can be made: {os.strerror(ctypes.get_errno())}\n".encode())
        os._exit(125)
    os.close(known)
    _hold(tell, until, ready)
    end = rest.index("--")
    # The rules stand before there is anything that they are about.
    for command, rules in zip(rest[:end:2], rest[1:end:2], strict=True):
        _set(command, rules)
    _succeeded(pasta, connector)
    for descriptor in (tell, until, ready):
        os.close(descriptor)
    if files := int(open_files):
        files = min(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    program = rest[end + 1 :]
    os.execve(program[0], program, os.environ)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
