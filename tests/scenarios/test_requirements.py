"""Requirements that a push brings: installed once, imported by functions, refused with the resolver's own reason."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from clowdy.runtimes.docker.driver import server_name
from tests.harness import CLOWDY, Client, Server
from tests.runtimes.layers.wheels import make_source, make_wheel

FUNCTION = "import greeting\n\n\ndef handler(event):\n    return [greeting.VERSION, greeting.__file__]\n"
SETTINGS = re.compile(r"(UV|PIP|SSL)_\w+|(HTTPS?|ALL|NO)_PROXY|REQUESTS_CA_BUNDLE", re.IGNORECASE)


def files(requirements: str, text: str = "one", function: str = FUNCTION) -> dict[str, str]:
    return {
        "clowdy.yaml": f"functions:\n  hello: {{}}\nroutes:\n  GET /: hello\nrequirements: {requirements}\n",
        "functions/hello.py": f"# {text}\n{function}",
    }


@pytest.fixture(scope="module")
def wheels() -> Iterator[Path]:
    """An index that is a folder, which users of builds may pass: `greeting` needs `wording`."""
    folder = Path(tempfile.mkdtemp(prefix="clowdy-wheels-"))
    folder.chmod(0o755)
    make_wheel(folder, "wording", "1.0")
    for version in ("1.0", "1.1"):
        make_wheel(folder, "greeting", version, requires=["wording"])
    make_source(folder, "sources", "1.0")
    make_wheel(folder, "windows", "1.0", tag="py3-none-win_amd64")
    make_wheel(folder, "older", "1.0", requires=["greeting<1.1"])
    # Of one test each: an image that others use cannot be removed.
    make_wheel(folder, "lost", "1.0")
    make_wheel(folder, "removed", "1.0")
    for path in folder.iterdir():
        path.chmod(0o644)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def environment(surroundings: Mapping[str, str], wheels: Path) -> dict[str, str]:
    """That of a server whose packages come from `wheels` alone."""
    return {**surroundings, "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels)}


@pytest.fixture(scope="module")
def packaged(
    tmp_path_factory: pytest.TempPathFactory, runtime: str, environment: Mapping[str, str]
) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("packaged"), runtime=runtime, environment=environment).start()
    yield server
    assert server.stop() == 0, server.log


@pytest.fixture
def pusher(packaged: Server, name: str, tmp_path: Path) -> Client:
    return packaged.client(tmp_path / "work", name)


def docker(server: Server, *arguments: str) -> list[str]:
    command = ["docker", "--host", server.environment["DOCKER_HOST"], *arguments]
    # Without anything to remove it fails, as where an image went together with another.
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60).stdout.split()


def layers(server: Server) -> set[str]:
    if server.runtime == "docker":
        tags = docker(server, "images", "--format", "{{.Tag}}", f"clowdy-{server_name(server.data)}")
        return {tag for tag in tags if tag.startswith("packages-")}
    return {path.name for path in (server.data / "layers").iterdir() if re.fullmatch("[0-9a-f]{64}", path.name)}


def remove_layers(server: Server) -> None:
    """As a disk that was lost does, or somebody who tidies up; what is complete may be written by nobody."""
    if server.runtime == "docker":
        name = server_name(server.data)
        containers = ("ps", "--all", "--quiet", "--filter", f"label=clowdy.server={name}")
        images = ("images", "--quiet", "--filter", "label=clowdy.lock", "--filter", f"reference=clowdy-{name}")
        deadline = time.monotonic() + 20
        while layers(server) and time.monotonic() < deadline:
            # Images cannot go before their containers, and the server starts further ones meanwhile.
            docker(server, "rm", "--force", *docker(server, *containers))
            docker(server, "rmi", "--force", *docker(server, *images))
        assert layers(server) == set()
        return
    for path in (server.data / "layers").iterdir():
        for folder in (path, *(each for each in path.rglob("*") if each.is_dir())) if path.is_dir() else ():
            folder.chmod(0o755)
    shutil.rmtree(server.data / "layers")


def test_packages_are_installed_once_and_imported(packaged: Server, pusher: Client, name: str) -> None:
    pusher.commit(files("[greeting==1.0]"))
    first = pusher.push()
    assert " + image    requirements  2 packages: greeting 1.0, wording 1.0" in first
    assert re.search(r"remote: 2 packages installed, ", first), first
    version, file = packaged.call(name).json()
    assert version == "1.0"
    assert file.endswith("/greeting.py")
    there = layers(packaged)

    pusher.commit(files("[greeting==1.0]", "two"))
    second = pusher.push()
    assert "installed" not in second
    assert "image" in second
    assert "unchanged" in second
    assert layers(packaged) == there
    assert packaged.call(name).json()[0] == "1.0"


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("requirement-that-does-not-exist", "requirement-that-does-not-exist was not found"),
        ("greeting>=2", "only greeting<=1.1 is available and you require greeting>=2"),
        ("'greeting>=1.1', older", "all versions of older depend on greeting<1.1"),
        ("windows", "has no wheels with a matching platform tag"),
        ("sources", "has no usable wheels"),
    ],
)
def test_what_cannot_be_had_is_refused_in_the_resolvers_words_and_the_old_version_serves(
    packaged: Server, pusher: Client, name: str, requirement: str, reason: str
) -> None:
    pusher.commit(files("[greeting]"))
    pusher.push()
    pusher.commit(files(f"[{requirement}]", "two"))
    said = pusher.push(fails=True)
    lines = [line for line in said.splitlines() if "clowdy.yaml:5:" in line]
    assert lines[0].startswith("remote: clowdy.yaml:5:1: error[requirements] ")
    assert reason in lines[0], said
    assert "live stays at deploy/1." in said
    assert "[remote rejected]" in said
    assert packaged.call(name).json()[0] == "1.1"


@pytest.mark.parametrize("line", ["greeting @ file:///etc/passwd", "-r /etc/passwd", "--index-url http://x", "./local"])
def test_what_an_installer_would_act_on_never_reaches_it(pusher: Client, line: str) -> None:
    pusher.commit({**files("requirements.txt"), "requirements.txt": f"greeting\n{line}\n"})
    said = pusher.push(fails=True)
    assert "requirements.txt:2:1: error[requirements]" in said


def test_an_upgrade_moves_versions_and_nothing_else_does(
    packaged: Server, pusher: Client, name: str, wheels: Path
) -> None:
    pusher.commit(files("['wording>=1']", function="import wording\ndef handler(e): return [wording.VERSION]\n"))
    pusher.push()
    new = make_wheel(wheels, "wording", "1.5")
    new.chmod(0o644)
    try:
        pusher.commit({"other.txt": "something"})
        assert "wording 1.0" not in pusher.push()
        assert packaged.call(name).json() == ["1.0"]
        planned = pusher.git("push", "-o", "upgrade", "-o", "plan", "clowdy", "main:live", fails=True)
        assert " ~ image    requirements  wording 1.0→1.5" in planned
        assert packaged.call(name).json() == ["1.0"]
        upgraded = pusher.git("push", "-o", "upgrade", "clowdy", "main:live")
        assert " ~ image    requirements  wording 1.0→1.5" in upgraded
        assert packaged.call(name).json() == ["1.5"]
        pusher.git("fetch", "-q", "clowdy", "--tags")
        pusher.git("push", "clowdy", "deploy/2:live")
        assert packaged.call(name).json() == ["1.0"]
    finally:
        new.unlink()


def test_another_project_with_the_same_lock_installs_nothing(packaged: Server, pusher: Client, tmp_path: Path) -> None:
    pusher.commit(files("[greeting]"))
    pusher.push()
    there = layers(packaged)
    other = packaged.client(tmp_path / "other", f"p-{os.urandom(4).hex()}")
    other.commit(files("[greeting]", "another project"))
    said = other.push()
    assert " + image    requirements  2 packages: greeting 1.1, wording 1.0" in said
    assert "packages installed" not in said
    assert layers(packaged) == there


def test_a_layer_that_is_gone_comes_back_from_its_lock(
    tmp_path: Path, runtime: str, environment: Mapping[str, str], name: str
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder, runtime=runtime, environment=environment).start()
    try:
        pusher = server.client(tmp_path / "work", name)
        pusher.commit(files("[lost]", function="import lost\ndef handler(event): return [lost.VERSION]\n"))
        pusher.push()
        (layer,) = layers(server)
        server.kill()
        remove_layers(server)
        server.start()
        deadline = time.monotonic() + 30
        while server.call(name).status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert server.call(name).json() == ["1.0"]
        assert layers(server) == {layer}
    finally:
        assert server.stop() == 0, server.log


def test_an_image_that_is_removed_behind_the_servers_back_comes_back_when_it_is_needed(
    packaged: Server, pusher: Client, runtime: str, name: str
) -> None:
    if runtime != "docker":
        pytest.skip("no images here")
    pusher.commit(files("[removed]", function="import removed\ndef handler(event): return [removed.VERSION]\n"))
    pusher.push()
    assert packaged.call(name).json() == ["1.0"]
    remove_layers(packaged)
    refused = packaged.call(name)
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable"), refused.text
    assert int(refused.headers["Retry-After"]) > 0
    deadline = time.monotonic() + 30
    while packaged.call(name).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert packaged.call(name).json() == ["1.0"]


def test_real_packages_come_from_the_registry_that_this_machine_uses(
    tmp_path: Path, runtime: str, surroundings: Mapping[str, str], name: str
) -> None:
    """The settings are those of whoever runs the tests, as a server has those of whoever starts it."""
    folder = tmp_path / "server"
    folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if SETTINGS.fullmatch(key)} | dict(surroundings)
    server = Server(folder, runtime=runtime, environment=environment).start()
    try:
        pusher = server.client(tmp_path / "work", name)
        function = (
            "import idna, yaml\nfrom importlib.metadata import version\n\n\n"
            "def handler(event):\n"
            "    return [idna.encode('bücher.example').decode(), yaml.safe_load('a: [1]'), version('pyyaml')]\n"
        )
        pusher.commit({**files("requirements.txt", function=function), "requirements.txt": "idna>=3\nPyYAML>=6\n"})
        pusher.push()
        domain, loaded, version = server.call(name).json()
        assert (domain, loaded) == ("xn--bcher-kva.example", {"a": [1]})
        assert version.startswith("6.")
        pusher.commit({"requirements.txt": "idna>=3\nno-such-package-of-clowdys-tests\n"})
        said = pusher.push(fails=True)
        assert "no-such-package-of-clowdys-tests" in said
        assert "error[requirements]" in said
        assert server.call(name).json()[0] == "xn--bcher-kva.example"
    finally:
        assert server.stop() == 0, server.log


def test_the_plan_of_a_push_is_kept_with_its_packages(packaged: Server, pusher: Client, name: str) -> None:
    pusher.commit(files("[greeting]"))
    pusher.push()
    release = packaged.api("GET", f"/api/projects/{name}/releases/1").json()
    assert "greeting 1.1" in json.dumps(release["plan"])
    shown = packaged.api("GET", f"/api/projects/{name}/requirements").json()
    assert shown["requirements_txt"] == packaged.api("GET", f"/api/projects/{name}").json()["requirements_txt"]
    assert (shown["requirements_txt"], shown["has_custom_image"]) == ("greeting", True)
    assert re.fullmatch("[0-9a-f]{64}", shown["requirements_hash"])


def test_doctor_shows_what_is_installed_with_its_size(packaged: Server, pusher: Client, runtime: str) -> None:
    pusher.commit(files("[greeting]"))
    pusher.push()
    command = [str(CLOWDY), "doctor", "--json", "--data-dir", str(packaged.data)]
    own = {"PATH": os.environ["PATH"], "HOME": str(packaged.folder), "CLOWDY_RUNTIME": runtime}
    done = subprocess.run(command, env={**packaged.environment, **own}, capture_output=True)
    name = "image" if runtime == "docker" else "layer"
    found = [each["found"] for each in json.loads(done.stdout)["findings"] if each["name"] == name]
    assert any(re.search(r"^[0-9a-f]{12}, [\d.]+ KB: greeting 1.1, wording 1.0$", line) for line in found), found
