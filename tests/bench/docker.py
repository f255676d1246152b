"""Containers: cold starts against `docker run`, and warm calls against `docker exec` for each of them."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker as sdk

from tests.bench.caller import Caller
from tests.bench.processes import clowdy
from tests.bench.starts import deploy, path_of
from tests.bench.table import Figure, middle
from tests.engine import PrivateEngine, make_base_image

COLD = 16
WARM = 300
EXECUTED = 12
STANDBYS = 2


def docker(folder: Path) -> Iterator[Figure]:
    """First calls of versions that nobody called, and calls of one that is warm."""
    engine = PrivateEngine().start()
    try:
        make_base_image(engine)
        options = ("--runtime", "docker")
        with clowdy(folder, options=options, DOCKER_HOST=engine.url, CLOWDY_STANDBYS=str(STANDBYS)) as server:
            deploy(server, folder / "work", COLD)
            client = sdk.APIClient(engine.url, version="auto")
            image = _functions_image(client)
            cold: list[float] = []
            run: list[float] = []
            with Caller(server.port) as caller:
                for number in range(COLD):
                    _settled(client, STANDBYS + number)
                    run.append(_run(engine, image))
                    cold.append(caller.milliseconds(path_of(number)))
                warm = [caller.milliseconds(path_of(COLD - 1)) for _ in range(WARM)]
            with _kept(client, image) as container:
                executed = [_execute(client, container) for _ in range(EXECUTED)]
            client.close()
    finally:
        engine.stop()
    yield Figure(
        "docker",
        "cold start p50, a standby at hand",
        "docker run to its answer",
        middle(cold) / middle(run),
        0.1,
        f"{middle(cold):.1f} ms and {middle(run):.0f} ms",
    )
    yield Figure(
        "docker",
        "a warm call, through the gateway and logged",
        "docker exec for each call",
        middle(warm) / middle(executed),
        None,
        f"{middle(warm):.2f} ms and {middle(executed):.0f} ms",
    )


def _functions_image(client: sdk.APIClient) -> str:
    """What the instances of the server run."""
    found = client.containers(filters={"label": "clowdy.instance"})
    return str(found[0]["ImageID"])


def _settled(client: sdk.APIClient, wanted: int) -> None:
    deadline = time.monotonic() + 30
    while len(client.containers(filters={"label": "clowdy.instance"})) < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not {wanted} instances after 30 s")
        time.sleep(0.02)
    # What started last is still importing.
    time.sleep(0.3)


def _run(engine: PrivateEngine, image: str) -> float:
    """Milliseconds from `docker run` to the first line of the program in it."""
    program = ["python3", "-I", "-S", "-c", "print('{}', flush=True)"]
    command = [str(shutil.which("docker")), "--host", engine.url, "run", "--rm", "--network", "none", image, *program]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "{}\n":
            raise RuntimeError("docker run did not answer")
        return (time.perf_counter() - began) * 1000


@contextmanager
def _kept(client: sdk.APIClient, image: str) -> Iterator[str]:
    """A container that sleeps, as the flow of `docker exec` keeps them."""
    limits = client.create_host_config(mem_limit="128m", nano_cpus=500_000_000, network_mode="none")
    program = ["python3", "-I", "-S", "-c", "import signal; signal.pause()"]
    container = str(client.create_container(image, program, host_config=limits)["Id"])
    try:
        client.start(container)
        yield container
    finally:
        client.remove_container(container, force=True)


def _execute(client: sdk.APIClient, container: str) -> float:
    """Milliseconds of a call that is an interpreter of its own: event in, answer out."""
    program = ["python3", "-c", "import json, os; print(json.dumps(json.loads(os.environ['EVENT'])))"]
    began = time.perf_counter()
    identity = client.exec_create(container, program, environment={"EVENT": '{"message": "Hello"}'})["Id"]
    said = client.exec_start(identity)
    if client.exec_inspect(identity)["ExitCode"] != 0:
        raise RuntimeError(said.decode(errors="replace"))
    return (time.perf_counter() - began) * 1000
