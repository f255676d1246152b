from __future__ import annotations

import pytest

from clowdy.server.cli.address import ProjectAddress, normal, project_address, without_password


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("HTTPS://Clowdy.Example:443/", "https://clowdy.example"),
        ("http://clowdy.example:80", "http://clowdy.example"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("localhost:8000", "http://localhost:8000"),
        ("clowdy.example", "https://clowdy.example"),
        ("https://example.com/clowdy/", "https://example.com/clowdy"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_has_one_spelling(given: str, expected: str) -> None:
    assert normal(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        "",
        "ssh://host",
        "http://",
        "http://user:pw@host",
        "http://host/?q",
        "http://host/#x",
        "http://ho st",
        "http://h:x",
    ],
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normal(given)


def test_a_refused_address_does_not_show_its_password() -> None:
    with pytest.raises(ValueError, match="is not an http") as caught:
        normal("ftp://user:hidden@host")

    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000/git/shop.git", ProjectAddress("http://127.0.0.1:8000", "shop")),
        ("http://127.0.0.1:8000/git/shop", ProjectAddress("http://127.0.0.1:8000", "shop")),
        ("http://any:p%40ss@host/git/shop.git/", ProjectAddress("http://host", "shop", "p@ss")),
        ("https://example.com/clowdy/git/shop.git", ProjectAddress("https://example.com/clowdy", "shop")),
        ("https://github.com/ana/shop.git", None),
        ("http://host/git/Shop.git", None),
        ("http://host/git/a/b.git", None),
        ("git@host:git/shop.git", None),
        ("/srv/git/shop.git", None),
        ("http://host:port/git/shop.git", None),
    ],
)
def test_a_remote_names_a_project_or_something_else(url: str, expected: ProjectAddress | None) -> None:
    assert project_address(url) == expected


def test_a_password_is_in_no_url_and_no_repr() -> None:
    address = project_address("http://any:hidden@host/git/shop.git")

    assert address is not None
    assert address.git_url == "http://host/git/shop.git"
    assert "hidden" not in repr(address)
    assert without_password("http://any:hidden@host/x") == "http://host/x"
