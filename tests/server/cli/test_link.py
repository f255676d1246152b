from __future__ import annotations

from clowdy.server.cli import accounts
from tests.server.cli.conftest import TOKEN, Terminal
from tests.server.cli.small_server import SmallServer


def test_a_repository_gets_a_remote_without_a_token(signed_in: Terminal, server: SmallServer) -> None:
    folder = signed_in.repository(("origin", "https://github.com/ana/shop.git"))
    result = signed_in.run("link", "shop", folder=folder)

    assert result.code == 0
    assert "\n  git push clowdy main\n" in result.out
    assert signed_in.git("remote", "get-url", "clowdy", folder=folder) == f"{server.url}/git/shop.git\n"
    assert TOKEN not in (folder / ".git" / "config").read_text()
    assert "main -> main" in signed_in.git("push", "clowdy", "main", folder=folder)


def test_beside_a_repository_elsewhere_tags_have_their_own_names(signed_in: Terminal, server: SmallServer) -> None:
    folder = signed_in.repository(("origin", "https://github.com/ana/shop.git"))
    signed_in.run("link", "shop", folder=folder)
    signed_in.git("--git-dir", str(_served(server, folder, signed_in)), "tag", "deploy/1", "main")
    signed_in.git("fetch", "clowdy", folder=folder)

    assert signed_in.git("tag", folder=folder) == "deploy/1\n"


def test_a_second_servers_tags_stand_apart(signed_in: Terminal, server: SmallServer) -> None:
    folder = signed_in.repository(("clowdy", "http://127.0.0.1:1/git/shop.git"))
    signed_in.git("tag", "deploy/1", folder=folder)
    result = signed_in.run("link", f"{server.url}/git/shop.git", "--remote", "staging", folder=folder)
    assert result.code == 0

    bare = _served(server, folder, signed_in)
    signed_in.commit(folder, {"more": "x"})
    signed_in.git("push", str(bare), "main:refs/heads/other", folder=folder, fails=False)
    signed_in.git("--git-dir", str(bare), "update-ref", "refs/tags/deploy/1", "refs/heads/other")
    signed_in.git("--git-dir", str(bare), "update-ref", "refs/tags/v1", "refs/heads/other")
    signed_in.git("fetch", "staging", folder=folder)

    assert signed_in.git("tag", folder=folder).split() == ["deploy/1", "staging/deploy/1"]
    assert signed_in.git("rev-parse", "deploy/1", folder=folder) != signed_in.git(
        "rev-parse", "staging/deploy/1", folder=folder
    )


def test_linking_again_changes_nothing(signed_in: Terminal, server: SmallServer) -> None:
    folder = signed_in.repository()
    signed_in.run("link", "shop", folder=folder)
    before = (folder / ".git" / "config").read_text()
    result = signed_in.run("link", "shop", folder=folder)

    assert result.code == 0
    assert (folder / ".git" / "config").read_text() == before


def test_a_remote_that_points_elsewhere_stays(signed_in: Terminal) -> None:
    folder = signed_in.repository(("clowdy", "http://me:hidden@other.example/git/shop.git"))
    before = (folder / ".git" / "config").read_text()
    result = signed_in.run("link", "shop", folder=folder)

    assert result.code == 1
    assert "points to http://other.example/git/shop.git: choose another with --remote NAME" in result.err
    assert "hidden" not in result.err
    assert (folder / ".git" / "config").read_text() == before


def test_the_name_comes_from_another_remote_or_the_folder(signed_in: Terminal, server: SmallServer) -> None:
    folder = signed_in.repository()
    signed_in.run("link", folder=folder)
    assert signed_in.git("remote", "get-url", "clowdy", folder=folder) == f"{server.url}/git/work.git\n"

    signed_in.git("remote", "set-url", "clowdy", "http://127.0.0.1:1/git/shop.git", folder=folder)
    signed_in.run("link", "--remote", "staging", folder=folder)
    assert signed_in.git("remote", "get-url", "staging", folder=folder) == f"{server.url}/git/shop.git\n"


def test_outside_of_a_repository_it_says_so(signed_in: Terminal) -> None:
    result = signed_in.run("link", "shop")

    assert (result.code, result.err) == (
        1,
        "clowdy: not in a git repository: go into one, or start with clowdy init NAME\n",
    )


def test_what_is_no_project_is_refused(signed_in: Terminal) -> None:
    folder = signed_in.repository()

    assert signed_in.run("link", "Shop", folder=folder).code == 2
    assert signed_in.run("link", "https://github.com/ana/shop.git", folder=folder).code == 2
    assert signed_in.run("link", "shop", "--remote", "a b", folder=folder).code == 1


def test_nobody_has_to_be_signed_in(terminal: Terminal) -> None:
    folder = terminal.repository()
    result = terminal.run("link", "shop", folder=folder)

    assert result.code == 0
    assert "run clowdy login" in result.err
    assert accounts.load().servers == {}


def _served(server: SmallServer, folder: object, terminal: Terminal) -> object:
    bare = server.repository("shop")
    terminal.git("--git-dir", str(bare), "config", "--unset", "receive.procReceiveRefs")
    terminal.git("push", str(bare), "main", folder=terminal.folder / "work")
    return bare
