from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from clowdy.server.errors import Conflict, Invalid, NotFound
from clowdy.server.people.tokens import Scope, Tokens, new_token
from clowdy.server.store import audit
from clowdy.server.store import tokens as stored
from clowdy.server.store.engine import Store


@pytest_asyncio.fixture
async def tokens(store: Store) -> AsyncIterator[Tokens]:
    tokens = Tokens(store)
    await tokens.open()
    yield tokens
    await tokens.close()


async def reopened(store: Store, preset: str | None = None) -> tuple[Tokens, str | None]:
    tokens = Tokens(store)
    text = await tokens.open(preset)
    await tokens.close()
    return tokens, text


async def test_the_first_start_makes_an_admin_token_and_shows_it_once(store: Store) -> None:
    _, text = await reopened(store)
    again, nothing = await reopened(store)

    assert text is not None
    assert re.fullmatch(r"clowdy_[0-9a-f]{12}_[0-9a-f]{64}", text)
    assert nothing is None
    principal = again.match(text)
    assert principal is not None
    assert (principal.name, principal.scope, principal.project_id) == ("admin", Scope.ADMIN, None)


async def test_a_token_that_was_made_before_the_first_start_does_not_stand_for_the_admin_token(store: Store) -> None:
    await Tokens(store).create("early", Scope.ADMIN)

    assert (await reopened(store))[1] is not None


async def test_the_database_holds_the_digest_and_never_the_text(store: Store, tmp_path: Path) -> None:
    tokens, admin = await reopened(store)
    _, text = await tokens.create("ci", Scope.DEPLOY)
    async with store.reading() as connection:
        kept = {token.digest for token in await stored.every(connection)}
    await store.close()

    assert admin is not None
    assert kept == {hashlib.sha256(value.encode()).hexdigest() for value in (admin, text)}
    for file in tmp_path.glob("clowdy.db*"):
        content = file.read_bytes()
        assert text.rpartition("_")[2].encode() not in content
        assert admin.rpartition("_")[2].encode() not in content


@pytest.mark.parametrize("preset", ["any form will do", "clowdy_looks_like-ours", "pässword über 16"])
async def test_a_preset_text_is_the_admin_token_in_whatever_form(store: Store, preset: str) -> None:
    tokens, text = await reopened(store, preset)

    assert text is None
    principal = tokens.match(preset)
    assert principal is not None
    assert (principal.name, principal.scope) == ("admin", Scope.ADMIN)
    assert tokens.is_own(preset)
    assert tokens.match(preset + "x") is None
    assert tokens.match(preset[:-1]) is None


async def test_a_preset_token_replaces_the_admin_token_of_before_and_is_replaced_by_the_next(store: Store) -> None:
    _, first = await reopened(store)
    with_preset, _ = await reopened(store, "the second admin token")
    with_other, _ = await reopened(store, "the third admin token!")
    without, nothing = await reopened(store)

    assert first is not None
    assert with_preset.match(first) is None
    assert with_other.match("the second admin token") is None
    assert nothing is None
    assert without.match("the third admin token!") is not None


async def test_a_start_with_the_same_preset_token_writes_nothing(store: Store) -> None:
    await reopened(store, "the same admin token")
    async with store.reading() as connection:
        before = await audit.every(connection)
    await reopened(store, "the same admin token")

    async with store.reading() as connection:
        assert await audit.every(connection) == before


async def test_a_preset_token_that_was_removed_can_be_set_again(store: Store) -> None:
    for preset in ("first admin token", "second admin token", "first admin token"):
        tokens, _ = await reopened(store, preset)
        assert tokens.match(preset) is not None


async def test_a_revoked_token_stops_at_once(tokens: Tokens) -> None:
    token, text = await tokens.create("ci", Scope.READ)
    assert tokens.match(text) is not None

    await tokens.revoke(token.id, by="ana")

    assert tokens.match(text) is None
    assert tokens.is_own(text)
    assert [token.name for token in await tokens.every()] == ["admin"]
    with pytest.raises(NotFound, match="Token not found"):
        await tokens.revoke(token.id)


async def test_the_last_way_in_cannot_be_revoked(tokens: Tokens) -> None:
    admin = (await tokens.every())[0]
    await tokens.create("one project", Scope.ADMIN, "0123456789ab")
    with pytest.raises(Conflict, match="last admin token"):
        await tokens.revoke(admin.id)

    await tokens.create("other admin", Scope.ADMIN)
    await tokens.revoke(admin.id)


async def test_a_token_that_another_process_made_counts_after_a_refresh(tokens: Tokens, store: Store) -> None:
    token, text = new_token("other process", Scope.READ, None, 1.0)
    async with store.writing() as connection:
        await stored.add(connection, token)
    assert tokens.match(text) is None

    await tokens.refresh()

    assert tokens.match(text) is not None


@pytest.mark.parametrize(
    "text", ["", "clowdy_", "clowdy__", "clowdy_preset_", "clowdy_000000000000_" + "0" * 64, "x" * 3000, "\udcff"]
)
async def test_nobody_else_is_known(tokens: Tokens, text: str) -> None:
    assert tokens.match(text) is None


async def test_the_right_id_with_the_wrong_secret_is_nobody(tokens: Tokens) -> None:
    _, text = await tokens.create("ci")
    other = text[:-1] + ("0" if text[-1] != "0" else "1")

    assert tokens.match(other) is None


@pytest.mark.parametrize("name", ["", " ci", "a\nb", "a<b", "x" * 65, "admin", "\N{RIGHT-TO-LEFT OVERRIDE}ana"])
async def test_a_name_that_records_cannot_carry_is_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(Invalid):
        await tokens.create(name)


async def test_creating_and_revoking_are_in_the_audit_log_without_the_text(tokens: Tokens, store: Store) -> None:
    token, text = await tokens.create("ci", Scope.DEPLOY, by="ana")
    await tokens.revoke(token.id, by="ben")

    async with store.reading() as connection:
        entries = await audit.every(connection)
    assert [(entry.who, entry.what) for entry in entries[:2]] == [("ben", "token.revoke"), ("ana", "token.create")]
    assert all(text.rpartition("_")[2] not in entry.detail for entry in entries)


async def test_when_a_token_was_used_is_written_down(store: Store) -> None:
    tokens = Tokens(store, clock=lambda: 77.0)
    await tokens.open()
    token, text = await tokens.create("ci")
    tokens.match(text)
    await tokens.close()

    async with store.reading() as connection:
        found = await stored.find(connection, token.id)
    assert found is not None
    assert found.last_used_at == 77.0


async def test_a_digest_is_not_in_a_repr() -> None:
    token, _ = new_token("ci", Scope.READ, None, 1.0)

    assert token.digest not in repr(token)
