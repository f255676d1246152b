from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clowdy.runtimes.runner import find_python
from tests.engine import PrivateEngine
from tests.server.cli.conftest import Terminal


@pytest.mark.slow
def test_the_image_is_made_on_the_engine_that_docker_host_names(
    terminal: Terminal, engine: PrivateEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    python = find_python(None, for_any_user=False)
    made = terminal.run("doctor", "--make-base-image", "--json")
    again = terminal.run("doctor", "--make-base-image")

    assert made.code == 0, made.err
    image = json.loads(made.out)
    assert (image["name"], image["python"], image["executable"]) == ("clowdy-base:local", *python[1::-1])
    assert image["id"].startswith("sha256:")
    assert image["size_bytes"] > 10_000_000
    assert again.code == 0, again.err
    assert f"clowdy-base:local has Python {python.version} ({python.executable}), " in again.out
    assert "--runtime docker uses it" in again.out


def test_without_an_engine_it_says_what_to_do(tmp_path: Path) -> None:
    # A program of its own: the SDK leaves the socket open that it could not connect.
    result = subprocess.run(
        [Path(sys.executable).with_name("clowdy"), "doctor", "--make-base-image", "--json"],
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"clowdy: the Docker Engine at unix://{tmp_path}/none does not answer: ")
    assert "Cure: apt-get install docker.io" in result.stderr
