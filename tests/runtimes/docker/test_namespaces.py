from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from clowdy.runtimes.docker.namespaces import open_namespace, set_rules_in, try_rules
from clowdy.runtimes.docker.netfilter import rules_message
from clowdy.runtimes.sandbox.reach import Policy, reach

_MESSAGE = rules_message(reach(Policy(), ["203.0.113.7"]), ())

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root enters a network namespace")


def test_the_namespace_of_this_process_itself_is_never_opened_for_rules() -> None:
    with pytest.raises(PermissionError, match="has the server's own network"):
        open_namespace(os.getpid())


@needs_root
def test_rules_are_set_in_another_namespace_and_this_one_keeps_its_own() -> None:
    here = Path("/proc/self/ns/net").readlink()
    before = subprocess.run(["nft", "list", "ruleset"], capture_output=True).stdout
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo .; read _"], stdin=-1, stdout=-1) as other:
        assert other.stdout is not None
        other.stdout.readline()
        namespace = open_namespace(other.pid)
        set_rules_in(namespace, _MESSAGE)
        try_rules(_MESSAGE)
        enter = ["nsenter", "--target", str(other.pid), "--net", "nft", "list", "ruleset"]
        assert b"203.0.113.7" in subprocess.run(enter, capture_output=True, check=True).stdout
        os.close(namespace)
        other.communicate(b"\n")
    assert Path("/proc/thread-self/ns/net").readlink() == here
    assert subprocess.run(["nft", "list", "ruleset"], capture_output=True).stdout == before


@needs_root
def test_rules_that_cannot_be_set_are_an_error() -> None:
    with pytest.raises(OSError, match="No such file"):
        try_rules(_MESSAGE.replace(b"reject\0", b"rejecx\0"))
