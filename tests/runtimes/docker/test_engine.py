"""The engine's address, what it says of itself, and its errors as ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.engine import (
    Engine,
    EngineDown,
    Missing,
    Refused,
    find_address,
    raise_errors,
    read_facts,
)
from tests.engine import PrivateEngine

VERSION = {
    "Version": "20.10.24",
    "ApiVersion": "1.41",
    "Components": [
        {"Name": "Engine", "Version": "20.10.24"},
        {"Name": "containerd", "Version": "1.6.20"},
        {"Name": "runc", "Version": "1.1.5"},
        {"Name": "docker-init", "Version": "0.19.0"},
    ],
}
INFO = {
    "OSType": "linux",
    "MemoryLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
    "SecurityOptions": ["name=seccomp,profile=default"],
    "InitBinary": "docker-init",
    "Driver": "overlay2",
    "CgroupVersion": "2",
    "DockerRootDir": "/var/lib/docker",
}


def test_docker_host_comes_first_and_an_empty_one_is_none(tmp_path: Path) -> None:
    assert find_address({"DOCKER_HOST": "unix:///x", "HOME": str(tmp_path)}) == "unix:///x"
    assert find_address({"DOCKER_HOST": "", "HOME": str(tmp_path)}) == "unix:///var/run/docker.sock"


def test_the_socket_of_colima_is_found(tmp_path: Path) -> None:
    path = tmp_path / ".colima" / "default" / "docker.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert find_address({"HOME": str(tmp_path)}) == f"unix://{path}"


def test_facts_say_which_limits_hold() -> None:
    facts = read_facts(VERSION, {**INFO, "PidsLimit": False})
    assert (facts.version, facts.api) == ("20.10.24", (1, 41))
    assert (facts.memory, facts.processes, facts.cpu, facts.init) == (True, False, True, True)
    assert not facts.maps_users
    assert read_facts(VERSION, {**INFO, "SecurityOptions": ["name=userns"]}).maps_users


def test_facts_name_what_starts_containers() -> None:
    facts = read_facts(VERSION, INFO)
    assert (facts.cgroups, facts.components, facts.rootless) == ("2", ("containerd 1.6.20", "runc 1.1.5"), False)
    rootless = read_facts(VERSION, {**INFO, "SecurityOptions": ["name=rootless"]})
    assert rootless.rootless and rootless.maps_users


@pytest.mark.parametrize(
    ("version", "info", "text"),
    [
        ({"Version": "19.03.1", "ApiVersion": "1.40"}, INFO, "Docker Engine 19.03.1 is too old"),
        (VERSION, {**INFO, "OSType": "windows"}, "windows containers"),
    ],
)
def test_an_engine_that_cannot_run_functions_is_named(
    version: Mapping[str, Any], info: Mapping[str, Any], text: str
) -> None:
    with pytest.raises(DriverUnavailable, match=text):
        read_facts(version, info)


def test_an_error_in_a_stream_is_raised() -> None:
    assert raise_errors([{"status": "a"}, {"status": "b"}]) == {"status": "b"}
    with pytest.raises(Refused, match="no space left on device"):
        raise_errors([{"status": "a"}, {"error": "no space left on device\n"}])


async def test_an_engine_elsewhere_is_refused() -> None:
    with pytest.raises(DriverUnavailable, match=r"DOCKER_HOST names tcp://192.0.2.1:2375"):
        await Engine("tcp://192.0.2.1:2375").open()


async def test_an_engine_that_is_not_there_may_come(tmp_path: Path) -> None:
    with pytest.raises(EngineDown, match="there is no such socket") as raised:
        await Engine(f"unix://{tmp_path}/none").open()
    assert raised.value.passing
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    with pytest.raises(EngineDown, match="nobody listens there"):
        await Engine(f"unix://{path}").open()


@pytest.mark.parametrize(
    ("answer", "words"),
    [(b"", "it broke off the connection"), (None, "it gave no answer for 15 s")],
)
async def test_what_went_wrong_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, words: str
) -> None:
    monkeypatch.setattr("clowdy.runtimes.docker.engine._SECONDS", 0.2)
    held: list[asyncio.StreamWriter] = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        if await reader.read(10) and answer is not None:
            writer.close()

    async with await asyncio.start_unix_server(answers, tmp_path / "s"):
        with pytest.raises(EngineDown, match=f"does not answer: {words}. Cure: "):
            await Engine(f"unix://{tmp_path}/s").open()
        for writer in held:
            writer.close()


@pytest.mark.slow
async def test_errors_are_told_apart(engine: PrivateEngine) -> None:
    asked = Engine(engine.url)
    facts = await asked.open()
    try:
        assert facts.memory and facts.processes and facts.cpu and facts.init
        with pytest.raises(Missing, match="No such container: nobody"):
            await asked.ask(lambda client: client.inspect_container("nobody"))
        with pytest.raises(Refused) as refused:
            await asked.ask(lambda client: client.create_container_from_config({}, name="???"))
        assert refused.value.status == 400
    finally:
        await asked.close()


@pytest.mark.slow
async def test_an_engine_that_ends_is_down_at_once_and_back_by_itself(start_engine: Any) -> None:
    engine: PrivateEngine = start_engine()
    asked = Engine(engine.url)
    await asked.open()
    back = asyncio.Event()
    asked.on_back = back.set
    try:
        engine.kill()
        with pytest.raises(EngineDown, match="Cure: "):
            await asked.ask(lambda client: client.ping())
        assert asked.down is not None
        await asyncio.to_thread(engine.restart)
        async with asyncio.timeout(10):
            await back.wait()
        assert asked.down is None
        assert await asked.ask(lambda client: client.ping())
    finally:
        await asked.close()
