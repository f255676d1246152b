from __future__ import annotations

import json

import pytest

from clowdy.server import runtime
from clowdy.server.config import Config
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


def test_what_is_well_and_could_be_better_is_not_to_be_mended(
    terminal: Terminal, findings: list[dict[str, str]]
) -> None:
    findings[:] = [{"name": "docker", "state": "ok", "found": "no live-restore", "cure": "switch it on"}]

    assert terminal.run("doctor").out.splitlines()[1] == "                 better: switch it on"


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The settings by which the machine was looked at."""
    seen: list[Config] = []

    async def report(config: Config, *_: object) -> dict[str, object]:
        seen.append(config)
        return {"ok": True, "findings": [{"name": "git", "state": "ok", "found": "", "cure": ""}]}

    monkeypatch.setattr(doctor, "report", report)
    monkeypatch.setattr(runtime, "prepare_process", lambda config: None)
    return seen


def test_the_settings_are_those_of_a_server_that_starts_there(
    terminal: Terminal, examined: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = terminal.folder / "data"
    own.mkdir()
    (own / "clowdy.toml").write_text('runtime = "docker"\ndocker_image = "own:1"\n')
    named = terminal.folder / "named.toml"
    named.write_text(f'data_dir = "{own}"\nruntime = "process"\n')

    assert terminal.run("doctor", "--data-dir", str(own)).code == 0
    assert terminal.run("doctor", "--data-dir", str(own), "--runtime", "sandbox").code == 0
    assert terminal.run("doctor", "--config", str(named)).code == 0
    monkeypatch.setenv("CLOWDY_CONFIG", str(named))
    assert terminal.run("doctor").code == 0
    monkeypatch.setenv("CLOWDY_RUNTIME", "docker")
    assert terminal.run("doctor").code == 0

    assert {config.data_dir for config in examined} == {own}
    assert [config.runtime for config in examined] == ["docker", "sandbox", "process", "process", "docker"]
    assert examined[0].docker_image == "own:1"
