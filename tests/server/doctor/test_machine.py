from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clowdy.server.config import Config
from clowdy.server.doctor import machine
from clowdy.server.doctor.finding import Finding, State


def test_git_is_named_with_its_version_or_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.git().state is State.OK

    def missing() -> tuple[str, str]:
        from clowdy.server.errors import StartError

        raise StartError("git is not installed: apt-get install git")

    monkeypatch.setattr(machine, "find_binaries", missing)
    assert machine.git() == Finding("git", State.MISSING, "git is not installed", "apt-get install git")


@pytest.mark.parametrize(
    ("file", "content", "cure"),
    [
        ("sys/user/max_user_namespaces", "0", "user.max_user_namespaces"),
        ("sys/kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
        ("sys/kernel/apparmor_restrict_unprivileged_userns", "1", ""),
        ("sys/kernel/other", "1", ""),
    ],
)
def test_what_the_kernel_forbids_is_named(tmp_path: Path, file: str, content: str, cure: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(content + "\n")

    finding = machine.namespaces(tmp_path)

    assert cure in finding.cure
    assert (finding.state is State.OK) == (not cure)


def test_a_budget_that_the_machine_does_not_have_is_a_warning(config: Config) -> None:
    assert machine.memory(config).state is State.OK
    assert machine.memory(replace(config, memory_budget_bytes=1 << 60)).state is State.WARNING
