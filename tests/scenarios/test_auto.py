"""The runtime `auto`: the sandbox where it can run, else Docker as soon as there is an engine."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine import PrivateEngine
from tests.harness import CLOWDY, Server

FORBIDDEN = "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"


def until(holds: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def runtime_of(server: Server) -> str:
    found: str = json.loads((server.data / "runtime.json").read_text())["driver"]
    return found


def test_where_the_sandbox_is_forbidden_functions_wait_for_an_engine_and_go_back_when_it_is_not(
    start_engine: Callable[..., PrivateEngine], tmp_path: Path, name: str, runtime: str
) -> None:
    engine = start_engine()
    environment = {**os.environ, "DOCKER_HOST": engine.url}
    subprocess.run([CLOWDY, "doctor", "--make-base-image"], env=environment, check=True, capture_output=True)
    engine.kill()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "bwrap").write_text(FORBIDDEN)
    (programs / "bwrap").chmod(0o755)
    folder = tmp_path / "server"
    folder.mkdir()
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    server = Server(folder, runtime="auto", environment={"DOCKER_HOST": engine.url, **path}).start()
    try:
        client = server.client(tmp_path / "work", name)
        client.hello()
        refused = client.push(fails=True)
        assert "no function can run here: sandbox: " in refused
        assert f"docker: the Docker Engine at {engine.url} does not answer" in refused

        engine.restart()
        until(lambda: "functions can run: docker" in server.log)
        assert "main -> live" in client.push()
        assert server.call(name).json() == {"message": "Hello"}
        assert runtime_of(server) == "docker"
        assert server.stop() == 0, server.log

        said = "clowdy: functions run in docker, since the sandbox cannot: "
        assert said not in server.log
        server.start()
        until(lambda: said in server.log)
    finally:
        assert server.stop() == 0, server.log

    if runtime != "sandbox":
        pytest.skip("no sandbox here to go back to")
    server.environment = {"DOCKER_HOST": engine.url}
    server.start()
    try:
        assert "functions have another runtime: sandbox (before: docker)" in server.log
        answer = server.call(name)
        assert (answer.json(), answer.headers["X-Clowdy-Release"]) == ({"message": "Hello"}, "1")
        assert runtime_of(server) == "sandbox"
    finally:
        assert server.stop() == 0, server.log
