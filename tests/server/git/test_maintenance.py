"""Maintenance keeps what is named, and what is young; a sweep takes what was left behind."""

from __future__ import annotations

import os
import time

from clowdy.server.git.maintenance import MANY_PACKS, maintain, sweep, wants_maintenance
from clowdy.server.git.refs import RefUpdate, transaction
from clowdy.server.git.repos import Repository

DAY = 86400


async def test_loose_objects_are_packed_and_old_unnamed_ones_go(repository: Repository) -> None:
    named = repository.write_commit({"a": b"1"}, [], "named", "ana", 1.0)
    await transaction(repository, [RefUpdate("refs/clowdy/history", None, named)])
    old, young = repository.write_blob(b"old"), repository.write_blob(b"young")
    for oid, days in ((named, 30), (old, 15), (young, 13)):
        moment = time.time() - days * DAY
        os.utime(repository.path / "objects" / oid[:2] / oid[2:], (moment, moment))
    await maintain(repository)
    assert len(list(repository.path.glob("objects/pack/*.pack"))) == 1
    assert not list(repository.path.glob(f"objects/{named[:2]}/{named[2:]}"))
    assert repository.commit(named).subject == "named"
    assert repository.ref("refs/clowdy/history") == named
    assert repository.objects.has(young)
    assert not repository.objects.has(old)


async def test_a_repository_that_grew_asks_for_it(repository: Repository) -> None:
    assert not wants_maintenance(repository)
    for number in range(MANY_PACKS + 1):
        (repository.path / "objects" / "pack" / f"pack-{number}.pack").touch()
    assert wants_maintenance(repository)


async def test_many_loose_objects_ask_for_it(repository: Repository) -> None:
    folder = repository.path / "objects" / "17"
    folder.mkdir()
    for number in range(17):
        (folder / f"{number:038x}").touch()
    assert wants_maintenance(repository)


async def test_a_sweep_takes_what_killed_processes_left_and_nothing_else(repository: Repository) -> None:
    named = repository.write_commit({"a": b"1"}, [], "named", "ana", 1.0)
    await transaction(repository, [RefUpdate("refs/heads/main", None, named)])
    objects = repository.path / "objects"
    (objects / "tmp_objdir-incoming-x" / "pack").mkdir(parents=True)
    (objects / "pack" / "tmp_pack_x").touch()
    (objects / named[:2] / "tmp_obj_x").touch()
    (repository.path / "refs" / "heads" / "main.lock").touch()
    (repository.path / "HEAD.lock").touch()
    assert sweep(repository.path) == [
        "HEAD.lock",
        f"objects/{named[:2]}/tmp_obj_x",
        "objects/pack/tmp_pack_x",
        "objects/tmp_objdir-incoming-x",
        "refs/heads/main.lock",
    ]
    assert sweep(repository.path) == []
    assert repository.commit(named).subject == "named"
    assert repository.ref("refs/heads/main") == named
