"""The command line against a real server, as its users run it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.harness import CLOWDY, Server

DECLARES = "functions: {hello: {}}\nroutes:\n  GET /: hello\nenv:\n  KEY: {secret: true}\n"
PRESET = "my own tökén: with blanks"
TELLS = 'import os\n\n\ndef handler(event):\n    print("told")\n    return {"key": os.environ["KEY"]}\n'


class User:
    """Somebody with an empty home."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.here = folder / "here"
        self.here.mkdir()
        self.environment = {
            "PATH": f"{CLOWDY.parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C.UTF-8",
            **variables,
        }

    def run(self, *command: str, stdin: str = "", fails: int = 0) -> str:
        """What a command prints, of both kinds."""
        done = subprocess.run(
            command,
            cwd=self.here,
            env=self.environment,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == fails, f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}"
        return done.stdout

    def into(self, folder: str) -> None:
        self.here = self.here / folder

    def commit(self, files: dict[str, str], message: str = "A change") -> None:
        for name, content in files.items():
            (self.here / name).write_text(content)
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=Ana", "-c", "user.email=ana@example.com", "commit", "-qm", message)


@pytest.fixture
def ana(server: Server, tmp_path: Path) -> Iterator[User]:
    """Ana, signed in with a token that was made on the machine itself."""
    user = User(tmp_path)
    made = user.run("clowdy", "token", "create", "ana", "--data-dir", str(server.data), "--json").splitlines()[-1]
    user.run("clowdy", "login", server.url, stdin=json.loads(made)["token"])
    yield user
    user.run("clowdy", "token", "revoke", json.loads(made)["id"], "--data-dir", str(server.data))


def test_from_nothing_to_an_answer_and_back(server: Server, ana: User, name: str) -> None:
    said = ana.run("clowdy", "init", name)
    assert f"curl {server.url}/api/gateway/{name}/" in said
    ana.into(name)
    assert f"created project {name}" in ana.run("git", "push", "clowdy", "main")
    assert server.call(name).json() == {"message": "Hello, world!"}

    handler = (ana.here / "functions" / "hello.py").read_text()
    ana.commit({"functions/hello.py": handler.replace("Hello", "Good day")})
    assert "v1→v2" in ana.run("clowdy", "plan")
    assert server.call(name).json() == {"message": "Hello, world!"}
    assert "deploy/2 is live" in ana.run("clowdy", "deploy")
    assert server.call(name).json() == {"message": "Good day, world!"}

    assert "deploy/1 is live" in ana.run("clowdy", "rollback", "-m", "too formal")
    assert server.call(name).json() == {"message": "Hello, world!"}
    releases = [json.loads(line) for line in ana.run("clowdy", "releases", "--json").splitlines()]
    assert [(one["tag"], one["state"], one["who"]) for one in releases] == [
        ("deploy/2", "ready", "ana"),
        ("deploy/1", "live", "ana"),
    ]
    assert "clowdy_" not in (ana.here / ".git" / "config").read_text()


def test_a_mistake_is_said_alike_by_validate_plan_and_push(server: Server, ana: User, name: str) -> None:
    ana.run("clowdy", "init", name)
    ana.into(name)
    ana.run("git", "push", "clowdy", "main")
    manifest = (ana.here / "clowdy.yaml").read_text()
    ana.commit({"clowdy.yaml": manifest.replace("GET /: hello", "GET /: helo\n  GET /a/:x: hello\n  GET /a/:y: hello")})

    found = [line for line in ana.run("clowdy", "validate", fails=1).splitlines() if not line.startswith("clowdy: ")]
    assert len([line for line in found if "error[" in line]) == 2
    planned = ana.run("clowdy", "plan", fails=1)
    pushed = ana.run("git", "push", "clowdy", "main", fails=1)
    for line in found:
        assert f"\n{line}\n" in f"\n{planned}"
        assert f"remote: {line}" in pushed


def test_a_secret_reaches_what_runs_from_anywhere(server: Server, ana: User, name: str) -> None:
    ana.run("clowdy", "init", name)
    ana.into(name)
    ana.run("clowdy", "secret", "set", "KEY", stdin="one\n")
    ana.commit({"clowdy.yaml": DECLARES, "functions/hello.py": TELLS})
    ana.run("git", "push", "clowdy", "main")
    assert server.call(name).json() == {"key": "one"}

    ana.run("clowdy", "secret", "set", "KEY", stdin="two\n")
    assert server.call(name).json() == {"key": "two"}

    said = ana.run("clowdy", "secret", "set", "KEY", "--data-dir", str(server.data), stdin="three\n")
    assert said == "Set KEY. 1 instance that had the old value is replaced.\n"
    assert server.call(name).json() == {"key": "three"}

    assert "--force" in ana.run("clowdy", "secret", "rm", "KEY", "--data-dir", str(server.data), fails=1)
    assert "KEY" in ana.run("clowdy", "secret", "list", "--data-dir", str(server.data))
    tokens = ana.run("clowdy", "token", "list", "--data-dir", str(server.data), "--json").splitlines()
    assert sum(json.loads(line)["name"] == "admin" for line in tokens) == 1


def test_a_token_made_beside_the_server_works_at_once_and_ends_soon(
    server: Server, ana: User, tmp_path: Path, name: str
) -> None:
    text = ana.run("clowdy", "token", "create", "ci", "--data-dir", str(server.data)).splitlines()[-1]
    assert server.api("GET", "/api/me", text).json()["name"] == "ci"

    ana.run("clowdy", "token", "revoke", "ci", "--data-dir", str(server.data))
    deadline = time.monotonic() + 10
    while server.api("GET", "/api/me", text).status_code != 401:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_calls_are_seen_as_they_come(server: Server, ana: User, name: str) -> None:
    ana.run("clowdy", "init", name)
    ana.into(name)
    ana.run("git", "push", "clowdy", "main")
    assert json.loads(ana.run("clowdy", "invoke", "hello", '{"name": "Ada"}')) == {"message": "Hello, Ada!"}
    with subprocess.Popen(
        ["clowdy", "logs", "-f", "-n", "1", "--json"],
        cwd=ana.here,
        env=ana.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["trigger"] == "direct"
        answer = server.call(name, "/?name=Bob")
        seen = json.loads(following.stdout.readline())
        following.terminate()

    assert seen["id"] == answer.headers["X-Request-Id"]
    assert (seen["trigger"], seen["http_status"], seen["status"], seen["release"]) == ("gateway", 200, "success", 1)
    assert seen["log"] == "greeting Bob\n"
    assert "greeting Bob" in ana.run("clowdy", "logs", seen["id"])


def test_ci_needs_two_variables_and_no_set_up(server: Server, ana: User, tmp_path: Path, name: str) -> None:
    ana.run("clowdy", "init", name)
    ana.into(name)
    ana.run("git", "push", "clowdy", "main")
    token = ana.run("clowdy", "token", "create", "ci", "--project", name).splitlines()[-1]
    (tmp_path / "ci").mkdir()
    machine = User(tmp_path / "ci", CLOWDY_URL=server.url, CLOWDY_TOKEN=token)
    machine.run("git", "clone", "-q", str(ana.here), "checkout")
    machine.into("checkout")
    machine.commit({"note.txt": "from ci"})
    machine.run("clowdy", "deploy", "-p", name)

    newest = json.loads(machine.run("clowdy", "releases", "-p", name, "--json").splitlines()[0])
    assert (newest["tag"], newest["who"]) == ("deploy/2", "ci")
    assert not (machine.home / ".config").exists()
    assert token not in (machine.here / ".git" / "config").read_text()
    machine.run("clowdy", "token", "list", fails=1)


def test_a_preset_admin_token_may_have_any_form(
    tmp_path: Path, runtime: str, surroundings: Mapping[str, str], name: str
) -> None:
    (tmp_path / "server").mkdir()
    environment = {**surroundings, "CLOWDY_ADMIN_TOKEN": PRESET}
    server = Server(tmp_path / "server", runtime=runtime, environment=environment).start()
    try:
        kept = User(tmp_path)
        kept.run("clowdy", "login", server.url, stdin=f"{PRESET}\n")
        kept.run("clowdy", "init", name)
        kept.into(name)
        kept.run("git", "push", "clowdy", "main")
        assert server.call(name).json() == {"message": "Hello, world!"}

        (tmp_path / "ci").mkdir()
        given = User(tmp_path / "ci", CLOWDY_URL=server.url, CLOWDY_TOKEN=PRESET)
        given.run("git", "clone", "-q", str(kept.here), "checkout")
        given.into("checkout")
        given.commit({"note.txt": "from ci"})
        assert "deploy/2 is live" in given.run("clowdy", "deploy", "-p", name)
        assert PRESET not in server.log
    finally:
        assert server.stop() == 0, server.log
