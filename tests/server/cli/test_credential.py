from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clowdy.server.cli import accounts, credential
from tests.server.cli.conftest import PRESET, TOKEN, Terminal
from tests.server.cli.small_server import SmallServer

ASKED = "protocol=http\nhost=127.0.0.1:8000\npath=git/shop.git\n\n"
SERVER = "http://127.0.0.1:8000"


def test_git_is_given_the_kept_token(terminal: Terminal) -> None:
    accounts.remember(SERVER, "kept")

    assert terminal.run("credential", "get", stdin=ASKED).out == "username=clowdy\npassword=kept\n"


def test_a_token_of_any_form_is_one_line_in_utf8_whatever_the_locale(tmp_path: Path, terminal: Terminal) -> None:
    accounts.remember(SERVER, PRESET)
    done = subprocess.run(
        [sys.executable, "-m", "clowdy.server.cli.main", "credential", "get"],
        input=f"username=añá\n{ASKED}".encode(),
        capture_output=True,
        env={"HOME": str(terminal.config.parents[2]), "LC_ALL": "en_US.ISO-8859-1", "PYTHONIOENCODING": "latin-1"},
        check=True,
    )

    assert done.stdout.decode() == f"username=añá\npassword={PRESET}\n"


def test_a_broken_token_is_not_given_to_git(terminal: Terminal) -> None:
    accounts.remember(SERVER, "one\rtwo")

    result = terminal.run("credential", "get", stdin=ASKED)
    assert (result.code, result.out) == (1, "")
    assert f"run clowdy login {SERVER}" in result.err


def test_what_git_was_given_in_another_encoding_is_not_kept(terminal: Terminal) -> None:
    assert terminal.run("credential", "store", stdin=b"password=t\xf6k\n" + ASKED.encode()).code == 0

    assert not terminal.config.exists()


def test_git_signs_in_with_a_token_of_any_form(terminal: Terminal, server: SmallServer) -> None:
    server.token = PRESET
    assert terminal.run("login", server.url, stdin=f"{PRESET}\n").code == 0
    terminal.run("init", "shop")

    assert "main -> main" in terminal.git("push", "clowdy", "main", folder=terminal.folder / "shop")


def test_a_user_that_git_names_stays(terminal: Terminal) -> None:
    accounts.remember(SERVER, "kept")

    result = terminal.run("credential", "get", stdin=f"username=ana\n{ASKED}")
    assert result.out == "username=ana\npassword=kept\n"


def test_another_server_gets_nothing_but_the_way_to_sign_in(terminal: Terminal) -> None:
    accounts.remember(SERVER, "kept")

    result = terminal.run("credential", "get", stdin=ASKED.replace("8000", "9999"))
    assert result.out == ""
    assert result.err == "clowdy: no token for http://127.0.0.1:9999: run clowdy login http://127.0.0.1:9999\n"


def test_two_servers_on_one_host_are_told_apart_by_their_paths(terminal: Terminal) -> None:
    accounts.remember("https://host/one", "first")
    accounts.remember("https://host/two", "second")

    asked = "protocol=https\nhost=host\npath=two/git/shop.git\n"
    assert "password=second\n" in terminal.run("credential", "get", stdin=asked).out


def test_a_path_that_is_no_project_of_a_server_is_given_nothing(terminal: Terminal) -> None:
    accounts.remember("https://host", "kept")

    assert terminal.run("credential", "get", stdin="protocol=https\nhost=host\npath=elsewhere.git\n").out == ""


def test_the_environment_wins_for_the_server_that_it_names(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts.remember(SERVER, "kept")
    monkeypatch.setenv("CLOWDY_TOKEN", "from the environment")
    monkeypatch.setenv("CLOWDY_URL", f"{SERVER}/")
    assert "password=from the environment\n" in terminal.run("credential", "get", stdin=ASKED).out

    monkeypatch.setenv("CLOWDY_URL", "https://elsewhere.example")
    assert "password=kept\n" in terminal.run("credential", "get", stdin=ASKED).out


def test_a_token_that_git_asked_for_is_kept_and_forgotten_again(terminal: Terminal) -> None:
    terminal.run("credential", "store", stdin=f"username=x\npassword=typed\n{ASKED}")
    assert accounts.load().token(SERVER) == "typed"

    terminal.run("credential", "erase", stdin=f"username=x\npassword=typed\n{ASKED}")
    assert accounts.load().token(SERVER) is None


def test_a_login_outlives_a_refusal_which_is_explained(terminal: Terminal) -> None:
    accounts.remember(SERVER, "kept")

    result = terminal.run("credential", "erase", stdin=f"password=kept\n{ASKED}")
    assert accounts.load().token(SERVER) == "kept"
    assert f"run clowdy login {SERVER}" in result.err


def test_the_environments_token_is_not_written_down(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOWDY_TOKEN", "of this job alone")
    terminal.run("credential", "store", stdin=f"password=of this job alone\n{ASKED}")

    assert not terminal.config.exists()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["get", "more"]])
def test_people_are_told_that_it_is_gits(terminal: Terminal, arguments: list[str]) -> None:
    result = terminal.run("credential", *arguments)

    assert result.code == 2
    assert "credential is for git" in result.err


def test_an_operation_of_a_later_git_is_ignored(terminal: Terminal) -> None:
    assert terminal.run("credential", "capability").code == 0


def test_git_does_not_wait_for_click_or_httpx(tmp_path: Path) -> None:
    code = (
        "import sys; from clowdy.server.cli.main import main; main(['credential', 'get']);"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'click', 'httpx', 'yaml', 'jsonschema'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=ASKED,
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path)},
        check=True,
    )

    assert done.stdout == "[]\n"


def test_the_helper_is_this_installation_whatever_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "a folder's"
    folder.mkdir()
    (folder / "clowdy").write_text('#!/bin/sh\necho "called $@"\n')
    (folder / "clowdy").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))

    helper = f"{credential.command()} credential get"
    assert subprocess.run(["sh", "-c", helper], capture_output=True, text=True, check=True).stdout == (
        "called credential get\n"
    )


def test_without_a_script_nothing_is_imported_from_where_git_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "clowdy").mkdir()
    (tmp_path / "clowdy" / "__init__.py").write_text("raise SystemExit('a stranger was imported')")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    helper = f"{credential.command()} credential"
    done = subprocess.run(["sh", "-c", helper], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "credential is for git" in done.stderr


def test_git_asks_this_helper_alone(signed_in: Terminal, server: SmallServer) -> None:
    leak = signed_in.folder / "leak"
    signed_in.git("config", "--global", "credential.helper", f"!f() {{ cat >> '{leak}'; echo >> '{leak}'; }}; f")
    signed_in.run("init", "shop")
    project = signed_in.folder / "shop"
    output = signed_in.git("push", "clowdy", "main", folder=project)

    assert "main -> main" in output
    assert not leak.exists()
    assert TOKEN not in (project / ".git" / "config").read_text()
    assert server.asked[-1].authorization is not None


def test_a_token_that_is_typed_for_git_is_kept(
    terminal: Terminal, server: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_ASKPASS", str(_askpass(terminal.folder)))
    folder = terminal.repository()
    terminal.run("link", f"{server.url}/git/shop.git", folder=folder)
    terminal.git("push", "clowdy", "main", folder=folder)

    assert accounts.load().servers[server.url] == accounts.Account(TOKEN, from_git=True)


def _askpass(folder: Path) -> Path:
    script = folder / "askpass"
    script.write_text(f"#!/bin/sh\necho {TOKEN}\n")
    script.chmod(0o755)
    return script
