from __future__ import annotations

import json

import pytest

from clowdy.server import runtime
from clowdy.server.doctor import report as doctor
from tests.server.cli.conftest import Terminal


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What the machine is said to have."""
    found = [
        {"name": "git", "state": "ok", "found": "2.39.5", "cure": ""},
        {"name": "disk", "state": "warning", "found": "1.0 GB free at /x\x1b[31m", "cure": "make room"},
    ]

    async def report(*_: object) -> dict[str, object]:
        return {"ok": all(one["state"] != "missing" for one in found), "findings": found}

    monkeypatch.setattr(doctor, "report", report)
    # Mounts of its own are for a process that begins, not for the one of the tests, which has threads by now.
    monkeypatch.setattr(runtime, "prepare_process", lambda config: None)
    return found


def test_each_finding_is_a_line_with_its_cure(terminal: Terminal, findings: list[dict[str, str]]) -> None:
    result = terminal.run("doctor", "--data-dir", "data")

    assert result.code == 0
    assert result.out.splitlines() == [
        "ok       git   2.39.5",
        "warning  disk  1.0 GB free at /x\N{REPLACEMENT CHARACTER}[31m",
        "               mend it: make room",
        "Nothing is missing.",
    ]


def test_what_is_missing_exits_1(terminal: Terminal, findings: list[dict[str, str]]) -> None:
    findings.append({"name": "runtime", "state": "missing", "found": "no bwrap", "cure": "apt-get install bubblewrap"})
    result = terminal.run("doctor", "--json")

    assert (result.code, result.err) == (1, "clowdy: missing: runtime\n")
    assert json.loads(result.out)["findings"][-1]["cure"] == "apt-get install bubblewrap"
