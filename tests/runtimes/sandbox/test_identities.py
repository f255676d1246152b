from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from clowdy.runtimes.sandbox.identities import Identities, choose_build_identities, choose_identities

WHOLE = "         0          0 4294967295\n"


def test_an_id_comes_back_as_late_as_possible() -> None:
    identities = Identities(1000, 3)
    first, second, third = (identities.take() for _ in range(3))
    assert {first, second, third} == {1000, 1001, 1002}
    identities.give_back(second)
    identities.give_back(first)
    assert [identities.take(), identities.take()] == [second, first]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives ids")
def test_ids_lie_where_no_distribution_gives_any(tmp_path: Path) -> None:
    identities = choose_identities(tmp_path, WHOLE)
    assert identities is not None
    assert 0x70000000 <= identities.first < 2**31 - 16384
    again = choose_identities(tmp_path, WHOLE)
    assert again is not None
    assert again.first == identities.first


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives ids")
def test_in_a_container_they_lie_among_those_it_has(tmp_path: Path) -> None:
    identities = choose_identities(tmp_path, "0 100000 65536\n")
    assert identities is not None
    assert 1000 < identities.first < 65536 - 20000
    assert choose_identities(tmp_path, "0 1000 1\n") is None


def everything(identities: Identities) -> set[int]:
    found = set()
    with contextlib.suppress(IndexError):
        while True:
            found.add(identities.take())
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives ids")
@pytest.mark.parametrize("uid_map", [WHOLE, "0 100000 65536\n"])
def test_no_build_has_the_id_of_an_instance(tmp_path: Path, uid_map: str) -> None:
    instances, builds = choose_identities(tmp_path, uid_map), choose_build_identities(tmp_path, uid_map)
    assert instances is not None
    assert builds is not None
    assert len(given := everything(builds)) == 64
    assert not given & everything(instances)


def test_an_ordinary_user_gives_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert choose_identities(tmp_path, WHOLE) is None
