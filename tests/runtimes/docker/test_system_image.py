"""The container tests run what was made on a real engine, as functions are run: without network, root or rights."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from operator import methodcaller
from pathlib import Path

import docker
import pytest
import uv

from clowdy.runtimes.docker.base import LOCAL
from clowdy.runtimes.docker.engine import Engine, Missing, raise_errors
from clowdy.runtimes.docker.system_image import LABEL, make, pack
from clowdy.runtimes.layers.index import Certificates
from clowdy.runtimes.layers.pip_settings import find_index
from clowdy.runtimes.runner import Python, find_python
from tests.engine import PrivateEngine

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def python() -> Python:
    return find_python(None, for_any_user=False)


@pytest.fixture(scope="module")
def packed(python: Python) -> tuple[str, bytes]:
    """The digest and the tar."""
    target = io.BytesIO()
    return pack(python, target), target.getvalue()


@pytest.fixture(scope="module")
def names(packed: tuple[str, bytes]) -> set[str]:
    """Every path in the tar."""
    with tarfile.open(fileobj=io.BytesIO(packed[1])) as archive:
        return set(archive.getnames())


@pytest.fixture(scope="module")
def links(packed: tuple[str, bytes]) -> set[str]:
    """Those of the paths that are links."""
    with tarfile.open(fileobj=io.BytesIO(packed[1])) as archive:
        return {member.name for member in archive if member.issym()}


def below(names: set[str], folder: str) -> set[str]:
    return {name for name in names if name.startswith(f"{folder}/")}


def test_two_packs_are_equal_byte_for_byte(python: Python, packed: tuple[str, bytes]) -> None:
    again = io.BytesIO()

    assert pack(python, again) == packed[0] == hashlib.sha256(packed[1]).hexdigest()
    assert again.getvalue() == packed[1]


def test_of_this_machine_it_has_what_is_named_alone(python: Python, names: set[str]) -> None:
    certificates = {"etc/ssl", "etc/ssl/certs", "etc/ssl/certs/ca-certificates.crt"}

    assert below(names, "etc") == {"etc/passwd", "etc/group", "etc/nsswitch.conf", *certificates}
    for folder in ("home", "root", "opt", "srv", "var", "run", "boot", "dev", "proc", "sys", "tmp", "app"):
        inside = {Path("/", name) for name in below(names, folder)}
        prefix = Path(python.prefix)
        assert all(path.is_relative_to(prefix) or path in prefix.parents for path in inside), folder
    assert not any("dist-packages" in name or "site-packages" in name for name in names)
    assert "usr/share/zoneinfo/localtime" not in names


def test_users_in_it_are_none_of_this_machine(packed: tuple[str, bytes]) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed[1])) as archive:
        content = archive.extractfile("etc/passwd")
        assert content is not None
        users = [line.split(b":")[0] for line in content.read().splitlines()]

    assert users == [b"root", b"function", b"nobody"]


def test_each_module_of_the_standard_library_is_there_compiled_and_no_test_is(names: set[str], links: set[str]) -> None:
    # A link has what it leads to.
    modules = {name.removesuffix(".py") for name in names if name.endswith(".py") and name not in links}
    compiled = {re.sub(r"__pycache__/(.*)\.[^.]+\.pyc$", r"\1", name) for name in names if name.endswith(".pyc")}

    assert compiled == modules
    assert {"os", "ssl", "decimal"} <= {name.rpartition("/")[2] for name in modules}
    assert not any("/test/" in name or "/idlelib/" in name or "/_tkinter." in name for name in names)


@pytest.fixture
async def client(engine: PrivateEngine) -> AsyncIterator[Engine]:
    """Our side of the engine."""
    opened = Engine(engine.url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def image(client: Engine, python: Python) -> str:
    return await make(client, python)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that any user may pass, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def run(engine: Engine, image: str, command: Sequence[str], folder: Path | None = None) -> str:
    """What a command says that ends well in a container; `folder` is seen at /folder."""

    def in_container(client: docker.APIClient) -> tuple[int, str]:
        settings = client.create_host_config(
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            tmpfs={"/tmp": "mode=1777"},
            binds=[f"{folder}:/folder:ro"] if folder else [],
        )
        made = client.create_container(image, list(command), user="65534:65534", host_config=settings)["Id"]
        try:
            client.start(made)
            status = client.wait(made)["StatusCode"]
            return status, client.logs(made).decode()
        finally:
            client.remove_container(made, force=True)

    status, said = await engine.in_thread(in_container)
    assert status == 0, said
    return said


PROGRAM = """
import asyncio, bz2, ctypes, decimal, email, getpass, hashlib, http.client, lzma, multiprocessing, os, socket, sqlite3
import ssl, subprocess, threading, uuid, venv, xml.etree.ElementTree, zlib, zoneinfo

assert len(ssl.create_default_context().get_ca_certs()) > 10
assert sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
assert ctypes.CDLL("libc.so.6").getpid() == os.getpid()
if os.path.exists("/usr/share/zoneinfo"):
    assert zoneinfo.ZoneInfo("Europe/Berlin").key in zoneinfo.available_timezones()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1]) == [1]
subprocess.run(["/bin/sh", "-c", "true"], check=True)
subprocess.run("ls / | cat && env python3 -V && python -V && sleep 0", shell=True, check=True)
assert socket.getaddrinfo("localhost", 80, socket.AF_INET)[0][4][0] == "127.0.0.1"
assert getpass.getuser() == "nobody"
# Its end loads libgcc_s.
thread = threading.Thread(target=print)
thread.start()
thread.join()
"""


@slow
async def test_python_in_it_does_what_it_does_outside(client: Engine, image: str) -> None:
    await run(client, image, ["python3", "-c", PROGRAM])


@slow
async def test_it_is_the_python_of_this_machine_and_needs_to_compile_nothing(
    client: Engine, image: str, python: Python
) -> None:
    said = await run(client, image, ["python3", "-v", "-c", "import sys, json; print(sys.version.split()[0])"])

    assert python.version in said.splitlines()
    assert re.search(r"^# code object from '/\S+/json/__pycache__/__init__\S+\.pyc'$", said, re.MULTILINE)
    assert not re.search(r"^# code object from \S+\.py$", said, re.MULTILINE)


@slow
async def test_wheels_that_rely_on_system_libraries_run_in_it(client: Engine, image: str, place: Path) -> None:
    index = find_index(os.environ)
    certificates = Certificates(index.certificates, index.certificate_folder)
    command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--only-binary", ":all:"]
    installed = subprocess.run(
        [*command, "--python", find_python(None, for_any_user=False).executable, "--target", place, "numpy"],
        env={**os.environ, **index.environment(certificates)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert installed.returncode == 0, installed.stderr
    program = "import sys; sys.path.insert(0, '/folder'); import numpy; print((numpy.ones((9, 9)) @ numpy.ones(9))[0])"

    assert await run(client, image, ["python3", "-c", program], place) == "9.0\n"


@slow
async def test_what_is_there_already_is_named_again_and_not_made_anew(
    client: Engine, image: str, python: Python
) -> None:
    container = await client.ask(lambda api: api.create_container(image, ["x"])["Id"])
    # It has the label of what it is built on.
    await client.ask(lambda api: api.commit(container, "built"))
    await client.ask(lambda api: api.remove_container(container))
    await client.ask(lambda api: api.remove_image(LOCAL))
    try:
        assert await make(client, python) == image
        assert (await client.ask(methodcaller("inspect_image", LOCAL)))["Id"] == image
    finally:
        await client.ask(lambda api: api.remove_image("built"))


async def bring(engine: Engine, content: str) -> str:
    """An image of other content, as one that was made by an earlier call."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        info = tarfile.TarInfo(content)
        archive.addfile(info)
    changes = [f"LABEL {LABEL}={content}"]
    said = await engine.ask(
        lambda api: api.import_image_from_data(target.getvalue(), *LOCAL.split(":"), changes=changes)
    )
    return str(raise_errors(map(json.loads, said.splitlines()))["status"])


@slow
async def test_earlier_ones_go_unless_something_is_built_on_them(client: Engine, python: Python) -> None:
    unused = await bring(client, "unused")
    used = await bring(client, "used")
    container = await client.ask(lambda api: api.create_container(used, ["x"])["Id"])
    built = (await client.ask(lambda api: api.commit(container, "built")))["Id"]
    await client.ask(lambda api: api.remove_container(container))
    try:
        await make(client, python)

        with pytest.raises(Missing):
            await client.ask(methodcaller("inspect_image", unused))
        assert (await client.ask(methodcaller("inspect_image", built)))["Parent"] == used
    finally:
        await client.ask(lambda api: api.remove_image("built", force=True))
