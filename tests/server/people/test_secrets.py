from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from clowdy.server.errors import Invalid, NotFound
from clowdy.server.people.keys import Keyring
from clowdy.server.people.secrets import Secrets, before_project
from clowdy.server.store import audit, projects
from clowdy.server.store import secrets as stored
from clowdy.server.store.engine import Store
from clowdy.server.store.projects import Project

SHOP = Project("0123456789ab", "shop", "shop", "", "ana", None, (), 1.0)
KEYRING = Keyring([b"k" * 32])


@pytest.fixture
def secrets(store: Store) -> Secrets:
    return Secrets(store, KEYRING, clock=lambda: 5.0)


async def add_project(store: Store) -> None:
    async with store.writing() as connection:
        await projects.add(connection, SHOP)


async def test_a_value_comes_back_and_its_repr_shows_nothing(secrets: Secrets) -> None:
    await secrets.set("p", "STRIPE_KEY", "sk_live_123", by="ana")

    values = await secrets.values("p")

    assert values == {"STRIPE_KEY": "sk_live_123"}
    assert "sk_live" not in repr(values)
    assert await secrets.values("other") == {}


async def test_what_is_listed_and_audited_has_no_value(secrets: Secrets, store: Store, tmp_path: Path) -> None:
    await secrets.set("p", "KEY", "sk_live_123", by="ana")

    (info,) = await secrets.every("p")
    assert (info.name, info.updated_at, info.updated_by) == ("KEY", 5.0, "ana")
    async with store.reading() as connection:
        (entry,) = await audit.every(connection)
    assert (entry.who, entry.what, entry.project_id, entry.detail) == ("ana", "secret.set", "p", "KEY")
    assert all(b"sk_live_123" not in file.read_bytes() for file in tmp_path.glob("clowdy.db*"))


async def test_whether_a_value_changed_is_told(secrets: Secrets) -> None:
    assert await secrets.set("p", "KEY", "one", by="ana")
    assert not await secrets.set("p", "KEY", "one", by="ana")
    assert await secrets.set("p", "KEY", "two", by="ana")


async def test_a_secret_that_came_before_its_project_goes_to_it(secrets: Secrets, store: Store) -> None:
    await secrets.set(before_project("shop"), "KEY", "value", by="ana")
    await secrets.set(before_project("other"), "KEY", "other value", by="ana")
    await add_project(store)

    assert await secrets.adopt("shop", SHOP.id) == ["KEY"]

    assert await secrets.values(SHOP.id) == {"KEY": "value"}
    assert await secrets.values(before_project("shop")) == {}
    assert await secrets.values(before_project("other")) == {"KEY": "other value"}
    assert await secrets.adopt("shop", SHOP.id) == []


async def test_an_adoption_that_was_cut_off_is_finished_at_the_next_start(secrets: Secrets, store: Store) -> None:
    await secrets.set(before_project("shop"), "KEY", "value", by="ana")
    await add_project(store)

    await secrets.open()

    assert await secrets.values(SHOP.id) == {"KEY": "value"}


async def test_a_row_that_was_moved_to_another_project_does_not_open_there(
    secrets: Secrets, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await secrets.set("p", "KEY", "value", by="ana")
    async with store.writing() as connection:
        row = await stored.find(connection, "p", "KEY")
        assert row is not None
        await stored.put(connection, replace(row, project_id="q"))

    with caplog.at_level(logging.WARNING):
        assert await secrets.values("q") == {}
    assert "sealed for another project or name" in caplog.text


async def test_a_new_key_seals_everything_anew_at_the_next_start(secrets: Secrets, store: Store) -> None:
    await secrets.set("p", "KEY", "value", by="ana")

    await Secrets(store, Keyring([b"n" * 32, b"k" * 32])).open()

    assert await Secrets(store, Keyring([b"n" * 32])).values("p") == {"KEY": "value"}
    assert await secrets.values("p") == {}


async def test_without_its_key_a_secret_has_no_value_and_is_kept(secrets: Secrets, store: Store) -> None:
    await secrets.set("p", "KEY", "value", by="ana")
    other = Secrets(store, Keyring([b"x" * 32]))

    await other.open()

    assert await other.values("p") == {}
    assert await secrets.values("p") == {"KEY": "value"}


async def test_a_removed_secret_is_gone_and_a_missing_one_is_named(secrets: Secrets) -> None:
    await secrets.set("p", "KEY", "value", by="ana")

    await secrets.remove("p", "KEY", by="ben")

    assert await secrets.values("p") == {}
    with pytest.raises(NotFound, match="Secret 'KEY' not found"):
        await secrets.remove("p", "KEY", by="ben")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("1KEY", "value", "not a name for an environment variable"),
        ("A B", "value", "not a name for an environment variable"),
        ("PATH", "value", "reserved name"),
        ("LD_PRELOAD", "value", "reserved name"),
        ("KEY", "", "is empty"),
        ("KEY", "x" * 4097, r"a value may have 4,096 \(4 KB\)$"),
        ("KEY", "é" * 2049, "a value may have 4,096"),
        ("KEY", "a\0b", "NUL"),
        ("KEY", "\ud800", "not text in UTF-8"),
    ],
)
async def test_what_no_function_can_be_given_is_refused(secrets: Secrets, name: str, value: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        await secrets.set("p", name, value, by="ana")


async def test_four_kilobytes_are_kept(secrets: Secrets) -> None:
    await secrets.set("p", "KEY", "x" * 4096, by="ana")

    assert await secrets.values("p") == {"KEY": "x" * 4096}


async def test_values_are_masked_old_ones_too_since_instances_may_still_run_with_them(secrets: Secrets) -> None:
    assert secrets.redact("p", "first value") == "first value"
    await secrets.set("p", "KEY", "first value", by="ana")
    await secrets.set("p", "KEY", "second value", by="ana")

    assert secrets.redact("p", "first value, second value") == "********, ********"
    assert secrets.redact("q", "first value") == "first value"


async def test_a_new_server_masks_from_its_start(secrets: Secrets, store: Store) -> None:
    await secrets.set("p", "KEY", "first value", by="ana")
    other = Secrets(store, KEYRING)
    await other.open()

    assert other.redact("p", "first value") == "********"


async def test_bytes_are_masked_too(secrets: Secrets) -> None:
    assert secrets.mask_of("p") is None
    await secrets.set("p", "SHORT", "abc", by="ana")
    assert secrets.mask_of("p") is None
    await secrets.set("p", "KEY", "first value", by="ana")

    mask = secrets.mask_of("p")
    assert mask is not None
    assert mask(b"a first value") == b"a ********"
    innocent = b"innocent"
    assert mask(innocent) is innocent


async def test_what_is_masked_is_bounded(secrets: Secrets) -> None:
    for number in range(80):
        await secrets.set("p", "KEY", f"value {number}", by="ana")

    assert secrets.redact("p", "value 79") == "********"
    assert secrets.redact("p", "value 1!") == "value 1!"


@pytest.mark.parametrize("name", ["", "Shop", "a/b", "x" * 41, "name:shop"])
def test_only_what_could_be_a_project_can_have_secrets_before_it_exists(name: str) -> None:
    with pytest.raises(Invalid, match="is not a project's name"):
        before_project(name)
