"""What a newcomer types first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine import PrivateEngine

ROOT = Path(__file__).resolve().parents[2]


def demo(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "demo.py")]
    surroundings = {**os.environ, **environment}
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=170, check=False)


def assert_told(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in ("$ clowdy init hello", "created project hello", "remote rejected", "deploy/1 -> live"):
        assert shown in done.stdout


@pytest.mark.timeout(180)
def test_the_demo_does_what_it_says() -> None:
    assert_told(demo())


@pytest.mark.timeout(180)
def test_the_demo_in_docker_takes_its_images_with_it(functions_engine: PrivateEngine) -> None:
    def names() -> list[str]:
        return functions_engine.docker("images", "--all", "--format", "{{.Repository}}:{{.Tag}}")

    before = names()
    assert_told(demo(CLOWDY_RUNTIME="docker", DOCKER_HOST=functions_engine.url))
    assert names() == before


def test_where_no_function_can_run_the_demo_stops_with_the_cure(tmp_path: Path) -> None:
    done = demo(CLOWDY_RUNTIME="docker", DOCKER_HOST=f"unix://{tmp_path}/none")
    assert done.returncode == 1
    assert f"demo: functions cannot run: the Docker Engine at unix://{tmp_path}/none does not answer" in done.stderr
    assert "Cure: apt-get install docker.io" in done.stderr
    assert "clowdy init" not in done.stdout
