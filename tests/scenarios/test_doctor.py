"""`clowdy doctor` beside a server whose functions run in Docker."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clowdy.runtimes.docker.driver import server_name
from tests.engine import PrivateEngine
from tests.harness import CLOWDY, Server


@pytest.fixture
def docker_server(functions_engine: PrivateEngine, tmp_path: Path) -> Iterator[Server]:
    """A server whose data directory says what functions run in."""
    folder = tmp_path / "server"
    (folder / "data").mkdir(parents=True, mode=0o700)
    (folder / "data" / "clowdy.toml").write_text('runtime = "docker"\n')
    server = Server(folder, runtime="docker", environment={"DOCKER_HOST": functions_engine.url}).start()
    yield server
    assert server.stop() == 0, server.log


def test_it_follows_the_settings_of_the_server_and_disturbs_nothing(
    docker_server: Server, functions_engine: PrivateEngine, tmp_path: Path, name: str
) -> None:
    client = docker_server.client(tmp_path / "work", name)
    client.commit(
        {
            "clowdy.yaml": "functions:\n  hello: {network: true}\nroutes:\n  GET /: hello\n",
            "functions/hello.py": "import uuid\nME = str(uuid.uuid4())\ndef handler(event):\n    return ME\n",
        }
    )
    client.push()
    me = docker_server.call(name).text
    labels = ("ps", "--all", "--format", '{{.Label "clowdy.server"}}')
    images = ("images", "--all", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    networks = ("network", "ls", "--format", "{{.ID}} {{.Name}}")
    # What has no container, as requirements of a release that does not serve.
    idle = f"clowdy-{server_name(docker_server.data)}:packages-idle"
    functions_engine.docker("tag", "clowdy-base:local", idle)
    before = [set(functions_engine.docker(*question)) for question in (labels, images, networks)]

    done = subprocess.run(
        [str(CLOWDY), "doctor", "--json", "--data-dir", str(docker_server.data)],
        env={**os.environ, "DOCKER_HOST": functions_engine.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    findings = {finding["name"]: finding["found"] for finding in json.loads(done.stdout)["findings"]}
    assert findings["runtime"].startswith("docker, functions get Python ")
    assert findings["network"] == "network: true can be had"
    assert "in use by process" in findings["data directory"]
    assert [set(functions_engine.docker(*question)) for question in (labels, images, networks)] == before
    functions_engine.docker("rmi", idle)
    assert docker_server.call(name).text == me
    shown = docker_server.api("GET", "/api/doctor").json()["findings"]
    assert findings["base image"] in [finding["found"] for finding in shown if finding["name"] == "base image"]
