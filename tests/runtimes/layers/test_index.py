"""Where packages come from, read from uv's and pip's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from clowdy.runtimes.layers.index import Certificates, Index, read_index
from clowdy.runtimes.layers.pip_settings import pip_files, read_pip_settings


def test_settings_of_pip_fill_what_those_of_uv_leave_open() -> None:
    pip = {
        "index-url": "https://pip.example/simple",
        "extra-index-url": "https://extra.example/simple\nhttps://more.example/simple",
        "cert": "/pip/ca.pem",
        "proxy": "proxy.example:3128",
        "trusted-host": "pip.example",
    }
    environ = {"UV_DEFAULT_INDEX": "https://uv.example/simple", "https_proxy": "http://other.example:1"}
    index = read_index(environ, pip)
    assert index.default == "https://uv.example/simple"
    assert index.extra == ("https://extra.example/simple", "https://more.example/simple")
    assert index.proxies == {"HTTP_PROXY": "http://proxy.example:3128", "HTTPS_PROXY": "http://other.example:1"}
    told = index.environment(Certificates(file="/build/ca.pem"))
    assert told["UV_DEFAULT_INDEX"] == "https://uv.example/simple"
    assert told["UV_INDEX"] == "https://extra.example/simple https://more.example/simple"
    assert told["UV_INSECURE_HOST"] == "pip.example"
    assert told["SSL_CERT_FILE"] == "/build/ca.pem"
    assert "UV_FIND_LINKS" not in told


def test_nothing_else_of_the_environment_is_passed_on() -> None:
    environ = {
        "UV_PUBLISH_TOKEN": "x",
        "UV_CONFIG_FILE": "/x",
        "PIP_CONSTRAINT": "/x",
        "CLOWDY_SECRET_KEY": "x",
        "A": "1",
    }
    assert read_index(environ, {}).environment(Certificates()) == {}


def test_the_environment_of_pip_is_over_its_files_and_a_later_file_over_an_earlier_one(tmp_path: Path) -> None:
    first, second, broken = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    first.write_text("[global]\nindex-url = https://one\ncert = /one\nextra-index-url = https://x/%7Ea\n  https://y\n")
    second.write_text("[global]\nindex-url = https://two\n[install]\nindex-url = https://three\n[list]\nproxy = no\n")
    broken.write_bytes(b"[global\n\xff")
    found = read_pip_settings({"PIP_CERT": "/env", "PIP_INDEX_URL": ""}, [first, second, broken, tmp_path / "none"])
    assert found == {"index-url": "https://three", "cert": "/env", "extra-index-url": "https://x/%7Ea\nhttps://y"}


def test_pip_looks_where_it_is_told_and_nowhere_with_the_null_device() -> None:
    files = pip_files({"HOME": "/h", "XDG_CONFIG_DIRS": "/a:/b", "PIP_CONFIG_FILE": "/c/pip.conf"}, "/venv")
    assert [str(file) for file in files] == [
        "/b/pip/pip.conf", "/a/pip/pip.conf", "/etc/pip.conf", "/h/.pip/pip.conf", "/h/.config/pip/pip.conf",
        "/venv/pip.conf", "/c/pip.conf",
    ]  # fmt: skip
    assert pip_files({"HOME": "/h", "PIP_CONFIG_FILE": "/dev/null"}) == []


def test_folders_are_found_and_those_that_are_not_there_passed_over(tmp_path: Path) -> None:
    (tmp_path / "simple").mkdir()
    index = read_index(
        {"UV_NO_INDEX": "1"},
        {"find-links": f"{tmp_path}/simple file://{tmp_path}/simple /not/there file:///not/there"},
    )
    assert index.folders == (tmp_path / "simple", tmp_path / "simple")
    assert not index.needs_network
    assert index.hosts == ()


@pytest.mark.parametrize(
    ("index", "needs"),
    [
        (Index(), True),
        (Index(no_index=True), False),
        (Index(no_index=True, extra=("https://x/simple",)), False),
        (Index(no_index=True, find_links=("https://x/links",)), True),
        (Index(default="file:///tmp"), False),
        (Index(default="file:///tmp", extra=("local=file:///tmp",)), False),
        (Index(default="file:///tmp", extra=("far=https://x/simple",)), True),
        (Index(find_links=("/tmp",)), True),
    ],
)
def test_a_network_is_needed_unless_everything_lies_in_folders(index: Index, needs: bool) -> None:
    assert index.needs_network is needs


def test_hosts_are_those_of_indexes_and_proxies() -> None:
    index = Index(
        default="https://u:p@one.example/simple",
        extra=("name=http://two.example:8080/simple",),
        find_links=("/folder", "https://one.example/links"),
        proxies={"HTTPS_PROXY": "http://three.example:3128", "ALL_PROXY": "four.example:1", "NO_PROXY": "five.example"},
    )
    assert index.hosts == (
        ("one.example", 443), ("two.example", 8080), ("three.example", 3128), ("four.example", 1),
    )  # fmt: skip


def test_credentials_are_hidden_wherever_they_could_be_shown() -> None:
    index = Index(
        default="https://reader:p%40ss-word@one.example/simple",
        extra=("private=https://token-alone@two.example/simple",),
        credentials={"UV_INDEX_PRIVATE_PASSWORD": "third-secret"},
        proxies={"HTTPS_PROXY": "http://me:proxy-secret@three.example:3128"},
    )
    text = (
        "failed: https://reader:p%40ss-word@one.example/simple/x p@ss-word token-alone third-secret proxy-secret "
        "http://who:else@four.example"
    )
    hidden = index.hide(text)
    for secret in ("p%40ss-word", "p@ss-word", "token-alone", "third-secret", "proxy-secret", "else"):
        assert secret not in hidden
        assert secret not in repr(index)
        assert secret not in "".join(index.asked)
    assert "https://****@one.example/simple/x" in hidden


@pytest.mark.parametrize(
    ("index", "asked"),
    [
        (Index(find_links=("/srv/wheels", "file:///srv/more")), ("the public package index",)),
        (
            Index(extra=("ours=https://a:secret@two.example/simple", "file:///srv/simple")),
            ("the public package index", "https://****@two.example/simple"),
        ),
        (Index(default="https://one.example/simple", find_links=("/srv/wheels",)), ("https://one.example/simple",)),
        (Index(default="file:///srv/simple"), ()),
        (Index(no_index=True, find_links=("/srv/wheels", "https://x.example/links")), ("https://x.example/links",)),
        (Index(no_index=True, find_links=("/srv/wheels",)), ()),
    ],
)
def test_what_is_asked_over_the_network_is_named_and_no_folder(index: Index, asked: tuple[str, ...]) -> None:
    assert index.asked == asked


def test_a_new_password_is_no_new_index() -> None:
    one = Index(default="https://a:b@one.example/simple")
    assert one.digest == Index(default="https://c:d@one.example/simple").digest
    assert one.digest != Index(default="https://two.example/simple").digest
    assert one.digest != Index(extra=("https://one.example/simple",)).digest
    assert Index().digest != Index(no_index=True).digest


@pytest.mark.parametrize("url", ["http://[bad/simple", "http://one.example:port/simple", "http://one.example:99999/"])
def test_what_is_no_url_is_left_to_uv(url: str) -> None:
    index = read_index({"UV_DEFAULT_INDEX": url, "HTTPS_PROXY": url}, {"find-links": url})
    assert index.hosts == ()
    assert index.needs_network
    assert index.hide(url) == url
    assert len(index.digest) == 64
