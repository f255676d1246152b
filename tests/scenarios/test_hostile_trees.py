"""Repositories that are broken or mean harm: a clear refusal, and the old version serves on."""

from __future__ import annotations

import subprocess

import pytest

from tests.harness import HELLO, MANIFEST, Client, Server


@pytest.fixture
def pushed(client: Client) -> Client:
    client.hello()
    client.push()
    return client


@pytest.mark.parametrize(
    ("manifest", "shows"),
    [
        (b"", "clowdy.yaml:1:1"),
        (b"\xff\xfea\x00", "UTF-8"),
        (b"functions: &a\n  hello: {}\nenv: *a\n", "anchor"),
        (b"functions:\n  hello: {}\n  hello: {}\n", "duplicate key"),
        (b"[" * 50_000, "clowdy.yaml:"),
        (b"a: " + b"x" * 300_000, "256 KB"),
        (b"functions:\n  hello: {network: database}\n", "not available in this version"),
        (b"functions:\n  hello: {}\ndatabase: postgres\n", "not available in this version"),
        (b"functions:\n  hello: {handler: ../etc/passwd.py:x}\n", "clowdy.yaml:2:"),
        (b"functions:\n  hello: {handler: functions/none.py:handler}\n", "functions/none.py"),
        (b"functions:\n  hello: {handler: functions/hello.py:other}\n", "other"),
    ],
)
def test_a_bad_manifest_is_refused_with_its_place(
    server: Server, pushed: Client, name: str, manifest: bytes, shows: str
) -> None:
    pushed.commit({"clowdy.yaml": manifest})
    output = pushed.push(fails=True)
    assert shows in output
    assert "remote rejected" in output
    assert server.call(name).json() == {"message": "Hello"}


def test_a_byte_order_mark_is_skipped(server: Server, client: Client, name: str) -> None:
    client.commit({"clowdy.yaml": b"\xef\xbb\xbf" + MANIFEST.encode(), "functions/hello.py": HELLO})
    client.push()
    assert server.call(name).status_code == 200


def test_a_missing_manifest_says_what_to_write(client: Client) -> None:
    client.commit({"README.md": "x"})
    output = client.push(fails=True)
    assert "clowdy.yaml:1:1" in output
    assert "functions:" in output


def test_a_manifest_that_is_a_link_or_a_folder_is_refused(server: Server, pushed: Client, name: str) -> None:
    (pushed.folder / "clowdy.yaml").unlink()
    (pushed.folder / "clowdy.yaml").symlink_to("/etc/passwd")
    pushed.commit({})
    assert "clowdy.yaml:1:1" in pushed.push(fails=True)
    (pushed.folder / "clowdy.yaml").unlink()
    pushed.commit({"clowdy.yaml/x": "y"})
    assert "clowdy.yaml:1:1" in pushed.push(fails=True)
    assert server.call(name).json() == {"message": "Hello"}


def test_links_in_the_source_are_refused(server: Server, pushed: Client, name: str) -> None:
    (pushed.folder / "functions" / "passwd").symlink_to("/etc/passwd")
    pushed.commit({})
    assert "functions/passwd:1:1" in pushed.push(fails=True)
    assert server.call(name).json() == {"message": "Hello"}


@pytest.mark.parametrize(
    "text", [b"def handler(event)\n    x\n", b"def handler(event):\n    return 1\x00\n", b"\xff\xfe"]
)
def test_python_that_cannot_be_parsed_is_refused(server: Server, pushed: Client, name: str, text: bytes) -> None:
    pushed.commit({"functions/hello.py": text})
    assert "error[syntax]" in pushed.push(fails=True)
    assert server.call(name).json() == {"message": "Hello"}


def test_odd_file_names_are_carried(server: Server, pushed: Client, name: str) -> None:
    odd = {"functions/with space.txt": "1", "functions/häßlich.txt": "2", "functions/-dash": "3", "functions/a\nb": "4"}
    pushed.commit(odd)
    pushed.push()
    assert server.call(name).status_code == 200


def test_hostile_tree_entries_are_refused(server: Server, pushed: Client, name: str) -> None:
    blob = pushed.git("hash-object", "-w", "clowdy.yaml").strip()
    inner = subprocess.run(
        ["git", "mktree"],
        cwd=pushed.folder,
        input=f"100644 blob {blob}\tconfig\n",
        capture_output=True,
        text=True,
        check=True,
        env=pushed.environment,
    ).stdout.strip()
    raw = b"40000 .git\0" + bytes.fromhex(inner)
    tree = (
        subprocess.run(
            ["git", "hash-object", "-w", "-t", "tree", "--literally", "--stdin"],
            cwd=pushed.folder,
            input=raw,
            capture_output=True,
            check=True,
            env=pushed.environment,
        )
        .stdout.decode()
        .strip()
    )
    commit = pushed.git("commit-tree", "-m", "hostile", tree).strip()
    output = pushed.push(f"{commit}:refs/heads/hostile", fails=True)
    assert "rejected" in output or "error" in output
    assert server.call(name).json() == {"message": "Hello"}


def test_twenty_thousand_files_push_and_serve(server: Server, client: Client, name: str) -> None:
    client.commit(
        {
            "clowdy.yaml": "functions:\n  hello: {source: api, handler: hello.py:handler}\nroutes: {GET /: hello}\n",
            "api/hello.py": HELLO,
        }
        | {f"data/{folder}/{number}.txt": f"{folder} {number}" for folder in range(200) for number in range(100)}
    )
    client.push()
    assert server.call(name).status_code == 200
