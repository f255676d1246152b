from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest

from clowdy.server.errors import StartError
from clowdy.server.people.keys import FILE, CannotOpen, Keyring, load_keyring

OLD, NEW = b"o" * 32, b"n" * 32


def write_keys(data_dir: Path, *keys: bytes, mode: int = 0o600) -> Path:
    path = data_dir / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(base64.b64encode(key) + b"\n" for key in keys))
    path.chmod(mode)
    return path


def test_what_is_sealed_is_opened_for_its_project_and_name_alone() -> None:
    keyring = Keyring([NEW])
    sealed = keyring.seal(b"value", "p1", "KEY")

    assert keyring.open(sealed, "p1", "KEY") == b"value"
    for project, name in (("p2", "KEY"), ("p1", "YEK"), ("p1K", "EY")):
        with pytest.raises(CannotOpen, match="another project or name"):
            keyring.open(sealed, project, name)


def test_the_same_value_is_never_sealed_alike() -> None:
    keyring = Keyring([NEW])

    assert keyring.seal(b"value", "p", "K") != keyring.seal(b"value", "p", "K")


@pytest.mark.parametrize("position", [0, 1, 5, 17, -1])
def test_a_changed_byte_is_noticed(position: int) -> None:
    keyring = Keyring([NEW])
    sealed = bytearray(keyring.seal(b"value", "p", "K"))
    sealed[position] ^= 1

    with pytest.raises(CannotOpen):
        keyring.open(bytes(sealed), "p", "K")


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01" + b"x" * 10])
def test_what_was_never_sealed_is_not_opened(sealed: bytes) -> None:
    with pytest.raises(CannotOpen):
        Keyring([NEW]).open(sealed, "p", "K")


def test_an_older_key_still_opens_and_the_first_one_seals() -> None:
    sealed = Keyring([OLD]).seal(b"value", "p", "K")
    both = Keyring([NEW, OLD])

    assert both.open(sealed, "p", "K") == b"value"
    assert not both.is_current(sealed)
    assert both.is_current(both.seal(b"value", "p", "K"))
    with pytest.raises(CannotOpen, match="key that this server does not have"):
        Keyring([NEW]).open(sealed, "p", "K")


def test_the_first_start_makes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    sealed = load_keyring(tmp_path).seal(b"value", "p", "K")

    path = tmp_path / FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert load_keyring(tmp_path).open(sealed, "p", "K") == b"value"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    write_keys(tmp_path, NEW, mode=mode)

    with pytest.raises(StartError, match="chmod 600"):
        load_keyring(tmp_path)


@pytest.mark.parametrize("content", [b"", b"short\n", b"!!!\n", base64.b64encode(b"x" * 31)])
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    write_keys(tmp_path).write_bytes(content)

    with pytest.raises(StartError, match="does not hold a key"):
        load_keyring(tmp_path)


def test_a_key_from_the_environment_seals_and_writes_no_file(tmp_path: Path) -> None:
    load_keyring(tmp_path, NEW)
    assert not (tmp_path / FILE).exists()

    write_keys(tmp_path, OLD)
    keyring = load_keyring(tmp_path, NEW)
    assert keyring.is_current(keyring.seal(b"value", "p", "K"))
    assert keyring.open(Keyring([OLD]).seal(b"value", "p", "K"), "p", "K") == b"value"


def test_of_two_processes_that_make_the_key_at_once_one_takes_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def second(source: Path, target: Path) -> None:
        write_keys(tmp_path, OLD)
        link(source, target)

    monkeypatch.setattr(os, "link", second)

    keyring = load_keyring(tmp_path)

    assert keyring.open(Keyring([OLD]).seal(b"value", "p", "K"), "p", "K") == b"value"
    assert [entry.name for entry in (tmp_path / FILE).parent.iterdir()] == [FILE.name]
