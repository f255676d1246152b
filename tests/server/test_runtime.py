from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.driver import DockerDriver
from clowdy.runtimes.docker.engine import Engine
from clowdy.runtimes.docker.images import Images
from clowdy.runtimes.first import FirstDriver
from clowdy.server import runtime
from clowdy.server.config import Config
from tests.runtimes.memory_driver import MemoryDriver

OLD, NEW = f"sha256:{'a1' * 32}", f"sha256:{'b2' * 32}"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data_dir=tmp_path)


def recorded(config: Config) -> Mapping[str, str]:
    found: Mapping[str, str] = json.loads((config.data_dir / runtime.FILE).read_text())
    return found


def test_what_functions_run_in_is_recorded(config: Config) -> None:
    runtime.note(config, MemoryDriver(name="docker", python="3.12.1", base=NEW))
    assert recorded(config) == {"driver": "docker", "python": "3.12.1", "base": NEW}


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (
            MemoryDriver(python="3.11.2"),
            MemoryDriver(python="3.12.1"),
            "functions have another Python: 3.12.1 (before: 3.11.2): live",
        ),
        (
            MemoryDriver(name="docker", base=OLD),
            MemoryDriver(name="docker", base=NEW),
            "functions have another base image: b2b2b2b2b2b2 (before: a1a1a1a1a1a1): live",
        ),
        (
            MemoryDriver(name="sandbox", python="3.11.2"),
            MemoryDriver(name="docker", python="3.12.1", base=NEW),
            "functions have another runtime: docker (before: sandbox), another Python: 3.12.1 (before: 3.11.2), "
            "another base image: b2b2b2b2b2b2 (before: none): live",
        ),
        (
            MemoryDriver(name="docker", base=OLD),
            MemoryDriver(name="sandbox"),
            "another base image: none (before: a1a1a1a1a1a1): live",
        ),
    ],
)
def test_a_change_is_noticed_once_and_said_in_words(
    config: Config, before: MemoryDriver, now: MemoryDriver, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not runtime.changed(config, before)
    runtime.note(config, before)
    assert not runtime.changed(config, before)
    with caplog.at_level(logging.WARNING):
        assert runtime.changed(config, now)
    assert said in caplog.text
    runtime.note(config, now)
    assert not runtime.changed(config, now)


def test_a_record_of_before_there_were_base_images_is_none_of_a_change(config: Config) -> None:
    (config.data_dir / runtime.FILE).write_text('{"driver": "sandbox", "python": "3.11.2"}\n')
    assert not runtime.changed(config, MemoryDriver(name="sandbox", python="3.11.2"))


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_record_that_cannot_be_read_is_none(config: Config, content: str) -> None:
    (config.data_dir / runtime.FILE).write_text(content)
    assert not runtime.changed(config, MemoryDriver())


async def test_where_neither_sandbox_nor_engine_is_there_both_are_named_and_looked_for_again(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    driver = runtime.make_driver(config)
    with pytest.raises(DriverUnavailable) as refusal:
        await driver.open()
    reason, _, cure = str(refusal.value).partition(" Cure: ")
    assert reason.startswith("sandbox: bubblewrap is not installed; docker: the Docker Engine at ")
    assert "sandbox: apt-get install bubblewrap" in cure
    assert "docker: apt-get install docker.io" in cure
    assert "--runtime process" in cure
    assert refusal.value.passing
    await driver.close()


async def test_nothing_installs_requirements_before_it_is_known_where_functions_run(config: Config) -> None:
    driver = runtime.make_driver(config)
    async with runtime.open_packages(config, driver) as packages:
        assert packages.python == ""


def test_without_isolation_only_in_so_many_words(config: Config) -> None:
    names = {name: runtime.make_driver(Config(data_dir=config.data_dir, runtime=name)).name for name in RUNTIMES}
    assert names == {"auto": "auto", "sandbox": "sandbox", "docker": "docker", "process": "process"}


RUNTIMES = ("auto", "sandbox", "docker", "process")


async def test_why_functions_run_in_what_comes_second_is_one_line() -> None:
    sandbox = MemoryDriver(name="sandbox", unavailable="bubblewrap is not installed. Cure: install it")
    driver = FirstDriver([sandbox, MemoryDriver(name="docker")])
    assert runtime.second_choice(driver) is None
    await driver.open()
    said = "functions run in docker, since the sandbox cannot: bubblewrap is not installed"
    assert runtime.second_choice(driver) == said
    await driver.close()
    sandbox.unavailable = ""
    await driver.open()
    assert runtime.second_choice(driver) is None
    await driver.close()
    assert runtime.second_choice(MemoryDriver()) is None


async def test_syntax_is_read_before_the_engine_of_another_python_has_answered(tmp_path: Path) -> None:
    engine = Engine(f"unix://{tmp_path}/none")
    known = {"name": "x", "id": "sha256:x", "root": "sha256:x", "python": ["/python3", "3.99.1", "/"], "platform": "p"}
    (tmp_path / "base.json").write_text(json.dumps(known))
    driver = DockerDriver(tmp_path, engine, Images(engine, "server", tmp_path))
    assert driver.python == "3.99.1"
    async with runtime.syntax_child(driver) as syntax:
        assert syntax.version.startswith("3.")
        assert not syntax.version.startswith("3.99")
