"""The system calls that no function needs, as a filter for bubblewrap: what helps to break out, or to look around.

Everything else is allowed: a function may use threads, processes, sockets and files as any program does.
"""

from __future__ import annotations

import errno
import os
import tempfile
from typing import Any

from clowdy.runtimes.api import DriverUnavailable

# fmt: off
_REFUSED = (
    "io_uring_setup", "io_uring_enter", "io_uring_register", "ptrace", "process_vm_readv", "process_vm_writev",
    "process_madvise", "kcmp", "pidfd_getfd", "unshare", "setns", "mount", "umount2", "pivot_root", "chroot",
    "move_mount", "open_tree", "open_tree_attr", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
    "listmount", "statmount", "add_key", "request_key", "keyctl", "bpf", "userfaultfd", "perf_event_open",
    "fanotify_init", "lookup_dcookie", "init_module", "finit_module", "delete_module", "kexec_load",
    "kexec_file_load", "reboot", "swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "iopl", "ioperm", "syslog",
    "settimeofday", "adjtimex", "clock_settime", "clock_adjtime", "sethostname", "setdomainname", "vhangup",
    "nfsservctl", "name_to_handle_at", "open_by_handle_at", "mbind", "migrate_pages", "move_pages", "set_mempolicy",
    "personality", "modify_ldt", "uselib", "ustat", "sysfs", "_sysctl", "vm86", "vm86old", "create_module",
    "get_kernel_syms", "query_module",
)
# fmt: on

# What a libseccomp may be too old to know by name. New calls have one number on every architecture.
_NUMBERS = {"statmount": 457, "listmount": 458, "open_tree_attr": 467}

_NEW_NAMESPACES = (
    0x00000080,  # time
    0x00020000,  # mount
    0x02000000,  # cgroup
    0x04000000,  # uts
    0x08000000,  # ipc
    0x10000000,  # user
    0x20000000,  # pid
    0x40000000,  # net
)
_UNIX, _INET, _INET6 = 1, 2, 10
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_LOW_WORD = 0xFFFFFFFF


def build_filter() -> bytes:
    """The filter as BPF; raises DriverUnavailable where libseccomp is missing."""
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise DriverUnavailable(f"libseccomp cannot be loaded ({error}). Cure: apt-get install libseccomp2") from None
    rules = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
    refuse = pyseccomp.ERRNO(errno.EPERM)
    for name in _REFUSED:
        _add(pyseccomp, rules, refuse, name)
    # Its flags lie in memory, where a filter cannot look; the C library then uses clone, where it can.
    _add(pyseccomp, rules, pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    for flag in _NEW_NAMESPACES:
        _add(pyseccomp, rules, refuse, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    # The kernel looks at the low 32 bits of these alone: a comparison of all 64 could be passed by.
    for request in (_TIOCSTI, _TIOCLINUX):
        _add(pyseccomp, rules, refuse, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, _LOW_WORD, request))
    unsupported = pyseccomp.ERRNO(errno.EAFNOSUPPORT)
    for call in ("socket", "socketpair"):
        for family in range(64):
            if family not in (_UNIX, _INET, _INET6):
                _add(pyseccomp, rules, unsupported, call, pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _LOW_WORD, family))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _add(pyseccomp: Any, rules: Any, action: Any, name: str, *arguments: Any) -> None:
    try:
        rules.add_rule(action, name, *arguments)
    except (ValueError, RuntimeError, OSError):
        # Not a system call of this architecture, or newer than this libseccomp.
        if arguments:
            raise
        if name in _NUMBERS:
            rules.add_rule(action, _NUMBERS[name])


def filter_file(content: bytes) -> int:
    """A new descriptor from which bubblewrap reads the filter once; its reader moves its offset."""
    descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
