from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clowdy.runtimes.api import Promise
from clowdy.runtimes.docker.driver import DockerDriver
from clowdy.runtimes.docker.engine import Engine, Facts
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.first import FirstDriver
from clowdy.server.config import Config
from clowdy.server.doctor import driver, engine
from clowdy.server.doctor.finding import Finding, State
from clowdy.server.doctor.report import examine
from clowdy.server.runtime import make_driver
from tests.engine import PrivateEngine
from tests.runtimes.memory_driver import MemoryDriver
from tests.server.doctor.drivers import FakeDriver, as_driver

FACTS = Facts(
    version="29.5.1",
    api=(1, 54),
    memory=True,
    processes=True,
    cpu=True,
    maps_users=False,
    rootless=False,
    live_restore=False,
    swarm=False,
    init=True,
    storage="overlay2",
    root="/var/lib/docker",
    cgroups="2",
    components=("containerd 2.2.1", "runc 1.3.4"),
)


def test_versions_are_shown_as_they_are_found() -> None:
    assert engine.describe(FACTS, "unix:///s") == (
        "Engine 29.5.1 (API 1.54), containerd 2.2.1, runc 1.3.4, overlay2, cgroup v2, at unix:///s"
    )


@pytest.mark.parametrize(
    ("facts", "ends"),
    [
        (FACTS, True),
        (replace(FACTS, live_restore=True), False),
        (replace(FACTS, swarm=True), False),
        (replace(FACTS, rootless=True), False),
    ],
)
def test_live_restore_is_advised_where_it_can_be_had(facts: Facts, ends: bool) -> None:
    assert engine.ends_functions(facts) is ends


@pytest.mark.parametrize("promise", [Promise.MEMORY, Promise.CPU, Promise.PROCESSES])
def test_a_limit_that_an_engine_does_not_keep_comes_with_what_helps_there(tmp_path: Path, promise: Promise) -> None:
    class Lacking(DockerDriver):
        promises = frozenset(Promise) - {promise}

    asked = Engine(f"unix://{tmp_path}/none")
    lacking = Lacking(tmp_path, asked, Images(asked, "1234", tmp_path))

    def cure() -> str:
        (warning,) = [one for one in driver.driver_findings(lacking) if one.state is State.WARNING]
        assert warning.found == f"{promise.value}: does not hold here"
        return warning.cure

    asked.facts = FACTS
    assert "kernel" in cure()
    asked.facts = replace(FACTS, rootless=True)
    assert "Delegate=cpu memory pids" in cure()


async def test_a_driver_that_is_passed_over_is_named_with_its_cure() -> None:
    both = FirstDriver(
        [MemoryDriver(name="sandbox", unavailable="it is forbidden. Cure: allow it"), MemoryDriver(name="docker")]
    )
    await both.open()
    assert Finding("sandbox", State.OK, "cannot run here: it is forbidden", "allow it") in driver.driver_findings(both)
    await both.close()


async def test_where_no_engine_is_there_it_is_said_that_none_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    fake = as_driver(FakeDriver(frozenset(Promise)))
    assert await engine.of(fake) == [
        Finding("docker", State.OK, f"no engine at unix://{tmp_path}/none (none is needed)")
    ]
    assert (await engine.unused()).found == f"no engine at unix://{tmp_path}/none"


async def test_an_engine_that_cannot_be_used_is_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    assert (await engine.unused()).found == (
        "DOCKER_HOST names tcp://192.0.2.1:2375, and functions need an engine on this machine"
    )


def all_of(private: PrivateEngine) -> list[list[str]]:
    """Every container, network and name of an image."""
    names = private.docker("images", "--all", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    return [private.docker("ps", "--all", "--quiet"), private.docker("network", "ls", "--quiet"), names]


@pytest.mark.slow
async def test_the_engine_and_the_base_image_are_shown_and_nothing_is_left_behind(
    functions_engine: PrivateEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", functions_engine.url)
    before = all_of(functions_engine)

    findings = await examine(Config(tmp_path / "data", runtime="docker"), make_driver)

    assert all_of(functions_engine) == before
    assert not (tmp_path / "data").exists()
    found = {finding.name: finding for finding in findings}
    shown, advice = [finding for finding in findings if finding.name == "docker"]
    assert shown.found.startswith("Engine ")
    assert shown.found.endswith(f", at {functions_engine.url}")
    assert "runc " in shown.found and "overlay2, cgroup v" in shown.found
    assert (advice.state, advice.cure) == (State.OK, engine.LIVE_RESTORE)
    image = functions_engine.docker("images", "--quiet", "clowdy-base:local")[0]
    assert found["base image"].found.startswith(f"clowdy-base:local, {image}, Python 3.")
    assert found["base image"].found.endswith(" MB")
    assert found["runtime"].found.startswith("docker, ")


@pytest.mark.slow
async def test_an_engine_that_is_not_used_is_told_and_left_alone(
    functions_engine: PrivateEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", functions_engine.url)
    before = all_of(functions_engine)
    (finding,) = await engine.of(as_driver(FakeDriver(frozenset(Promise))))
    assert finding.found.endswith(f", at {functions_engine.url}, not used: functions run in sandbox")
    assert all_of(functions_engine) == before


@pytest.mark.slow
async def test_a_base_image_that_is_not_there_is_named_and_not_pulled(
    functions_engine: PrivateEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", functions_engine.url)
    config = Config(tmp_path / "data", runtime="docker", docker_image="clowdy-tests/none:1")

    findings = await examine(config, make_driver)

    (missing,) = [finding for finding in findings if finding.state is State.MISSING]
    assert missing.found == "the base image clowdy-tests/none:1 is not there; a server pulls it at its start"
    assert "docker pull clowdy-tests/none:1" in missing.cure
