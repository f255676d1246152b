from __future__ import annotations

import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from clowdy.server.cli import accounts
from clowdy.server.cli.accounts import Account, forget_from_git, load, remember, remember_from_git
from clowdy.server.cli.failure import Failure

A, B = "http://127.0.0.1:8000", "https://clowdy.example"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / ".config" / "clowdy" / "config.toml"


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    remember(A, "one", path=path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_closed_by_the_next_write(path: Path) -> None:
    remember(A, "one", path=path)
    path.chmod(0o644)
    remember(B, "two", path=path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_first_server_becomes_the_default_and_a_second_one_does_not(path: Path) -> None:
    remember(A, "one", path=path)
    remember(B, "two", path=path)

    kept = load(path)
    assert kept.default == A
    assert (kept.token(A), kept.token(B)) == ("one", "two")


def test_signing_in_makes_the_default(path: Path) -> None:
    remember(A, "one", path=path)
    remember(B, "two", default=True, path=path)

    assert load(path).default == B


def test_any_text_survives_as_toml(path: Path) -> None:
    token = 'quotes " and \\ and \x7f and \x01 and é and 🜁'
    remember(A, token, path=path)

    assert tomllib.loads(path.read_text())["servers"][A]["token"] == token
    assert load(path).token(A) == token


def test_no_token_is_shown_by_repr(path: Path) -> None:
    remember(A, "very-secret", path=path)

    assert "very-secret" not in repr(load(path))


def test_a_broken_file_is_named_with_what_to_do(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("servers = [")

    with pytest.raises(Failure, match=f"cannot read {path}"):
        load(path)


def test_a_broken_file_is_not_overwritten(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("servers = [")

    with pytest.raises(Failure):
        remember(A, "one", path=path)

    assert path.read_text() == "servers = ["


def test_a_link_into_a_collection_of_settings_stays_a_link(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "collection" / "clowdy.toml"
    real.parent.mkdir()
    path.parent.mkdir(parents=True)
    path.symlink_to(real)

    remember(A, "one", path=path)

    assert path.is_symlink()
    assert load(real).token(A) == "one"


def test_nothing_is_left_beside_the_file(path: Path) -> None:
    remember(A, "one", path=path)

    assert sorted(item.name for item in path.parent.iterdir()) == [".lock", "config.toml"]


def test_writers_at_the_same_time_lose_nothing(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from clowdy.server.cli.accounts import remember;"
        "remember(sys.argv[1], 'token', path=Path(sys.argv[2]))"
    )
    servers = [f"http://127.0.0.1:{port}" for port in range(8000, 8006)]
    running = [subprocess.Popen([sys.executable, "-c", code, server, str(path)]) for server in servers]
    assert [process.wait(30) for process in running] == [0] * len(servers)

    assert sorted(load(path).servers) == servers


def test_what_git_asked_for_never_replaces_a_login(path: Path) -> None:
    remember(A, "login", path=path)
    remember_from_git(A, "typed", path=path)

    assert load(path).servers[A] == Account("login")


def test_git_may_take_back_what_it_gave_and_nothing_else(path: Path) -> None:
    remember(A, "login", path=path)
    remember_from_git(B, "typed", path=path)

    assert not forget_from_git(A, "login", path=path)
    assert not forget_from_git(B, "other", path=path)
    assert forget_from_git(B, "typed", path=path)
    assert load(path).servers == {A: Account("login")}


def test_the_default_goes_with_its_server(path: Path) -> None:
    remember_from_git(B, "typed", path=path)
    assert load(path).default == B
    forget_from_git(B, "typed", path=path)

    assert load(path).default is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CONFIG_HOME": "/etc/me", "HOME": "/home/me"}, "/etc/me/clowdy/config.toml"),
        ({"XDG_CONFIG_HOME": "relative", "HOME": "/home/me"}, "/home/me/.config/clowdy/config.toml"),
        ({"HOME": "/home/me"}, "/home/me/.config/clowdy/config.toml"),
    ],
)
def test_the_folder_follows_the_convention(environment: dict[str, str], expected: str) -> None:
    assert str(accounts.location(environment)) == expected
