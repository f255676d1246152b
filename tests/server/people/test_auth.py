from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from clowdy.server.errors import NotAllowed, NotAuthenticated, NotFound
from clowdy.server.people.auth import Authorizer, Right
from clowdy.server.people.limits import ATTEMPTS, TooManyAttempts
from clowdy.server.people.tokens import Principal, Scope, Tokens, new_token
from clowdy.server.store import tokens as stored
from clowdy.server.store.engine import Store
from tests.server.clocks import Clock

SHOP = "0123456789ab"
OTHER = "ba9876543210"
PRESET = "the preset admin token"


@dataclass(frozen=True)
class World:
    tokens: Tokens
    authorizer: Authorizer
    clock: Clock


@pytest_asyncio.fixture
async def world(store: Store) -> AsyncIterator[World]:
    tokens, clock = Tokens(store), Clock()
    await tokens.open(PRESET)
    yield World(tokens, Authorizer(tokens, clock), clock)
    await tokens.close()


def basic(password: str, user: str = "anyone") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def test_a_token_is_taken_as_bearer_and_as_the_password_of_any_user(world: World) -> None:
    _, text = await world.tokens.create("ci", Scope.READ)

    for header in (f"Bearer {text}", f"bearer  {text} ", basic(text), basic(text, "")):
        assert (await world.authorizer.identify(header)).name == "ci"


async def test_a_preset_token_with_colons_and_letters_of_any_alphabet_is_a_password(store: Store) -> None:
    tokens = Tokens(store)
    await tokens.open("übergroß:geheim:lang")
    principal = await Authorizer(tokens).identify(basic("übergroß:geheim:lang"))
    await tokens.close()

    assert principal.name == "admin"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Token x", "Basic !!!", "Basic " + "=" * 3, "Bearer " + "x" * 5000]
)
async def test_without_a_token_the_answer_is_that_it_is_missing(world: World, header: str | None) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        await world.authorizer.identify(header)

    assert caught.value.message == "Missing auth token"


async def test_basic_is_no_way_in_where_it_is_not_allowed(world: World) -> None:
    with pytest.raises(NotAuthenticated, match="Missing auth token"):
        await world.authorizer.identify(basic(PRESET), basic=False)


async def test_unknown_wrong_and_revoked_tokens_get_the_same_answer(world: World) -> None:
    token, revoked = await world.tokens.create("old")
    await world.tokens.revoke(token.id)
    _, text = await world.tokens.create("ci")
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")

    for bad in ("clowdy_000000000000_00", wrong, revoked, "guess"):
        with pytest.raises(NotAuthenticated) as caught:
            await world.authorizer.identify(f"Bearer {bad}")
        assert caught.value.message == "Invalid token"
        assert type(caught.value) is NotAuthenticated


async def test_a_token_that_was_just_made_on_the_machine_itself_is_known(world: World, store: Store) -> None:
    token, text = new_token("local", Scope.READ, None, 1.0)
    async with store.writing() as connection:
        await stored.add(connection, token)

    assert (await world.authorizer.identify(f"Bearer {text}")).name == "local"


async def test_an_address_that_guesses_is_stopped_and_others_are_not(world: World) -> None:
    for number in range(ATTEMPTS):
        with pytest.raises(NotAuthenticated, match="Invalid token"):
            await world.authorizer.identify(f"Bearer guess {number}", address="192.0.2.1")

    with pytest.raises(TooManyAttempts):
        await world.authorizer.identify("Bearer guess", address="192.0.2.1")
    # A preset token might be found by trying, so the right one is not told from wrong ones meanwhile.
    with pytest.raises(TooManyAttempts):
        await world.authorizer.identify(f"Bearer {PRESET}", address="192.0.2.1")
    assert (await world.authorizer.identify(f"Bearer {PRESET}", address="192.0.2.2")).name == "admin"

    world.clock.forward(60)
    assert (await world.authorizer.identify(f"Bearer {PRESET}", address="192.0.2.1")).name == "admin"


async def test_a_random_token_is_let_in_while_its_address_is_stopped(world: World) -> None:
    _, text = await world.tokens.create("ci")
    for _ in range(ATTEMPTS + 1):
        with pytest.raises(NotAuthenticated):
            await world.authorizer.identify("Bearer guess", address="192.0.2.1")

    assert (await world.authorizer.identify(f"Bearer {text}", address="192.0.2.1")).name == "ci"


async def test_asking_without_a_token_is_no_wrong_try(world: World) -> None:
    for _ in range(2 * ATTEMPTS):
        with pytest.raises(NotAuthenticated, match="Missing auth token"):
            await world.authorizer.identify(None, address="192.0.2.1")

    assert (await world.authorizer.identify(f"Bearer {PRESET}", address="192.0.2.1")).name == "admin"


ALLOWED = {
    Scope.READ: {Right.READ},
    Scope.DEPLOY: {Right.READ, Right.DEPLOY},
    Scope.ADMIN: {Right.READ, Right.DEPLOY, Right.ADMIN},
}


def test_a_refusal_says_what_was_wanted_and_what_it_takes(store: Store) -> None:
    authorizer = Authorizer(Tokens(store))
    reader = Principal("ci", Scope.READ, None, "t")

    with pytest.raises(NotAllowed, match="scope read: to push, to go back or to cancel takes scope deploy"):
        authorizer.authorize(reader, Right.DEPLOY, SHOP)
    with pytest.raises(NotAllowed, match="scope read: to make a project takes scope admin"):
        authorizer.authorize(reader, Right.CREATE)


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("project_id", [None, SHOP])
def test_a_scope_holds_in_its_project(store: Store, scope: Scope, project_id: str | None) -> None:
    authorizer = Authorizer(Tokens(store))
    principal = Principal("ci", scope, project_id, "t")

    for right in (Right.READ, Right.DEPLOY, Right.ADMIN):
        if right in ALLOWED[scope]:
            authorizer.authorize(principal, right, SHOP)
        else:
            with pytest.raises(NotAllowed, match=f"this token has scope {scope}"):
                authorizer.authorize(principal, right, SHOP)


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("right", [Right.READ, Right.DEPLOY, Right.ADMIN])
def test_another_project_looks_as_if_it_were_not_there(store: Store, scope: Scope, right: Right) -> None:
    authorizer = Authorizer(Tokens(store))

    with pytest.raises(NotFound, match=r"^Project not found$"):
        authorizer.authorize(Principal("ci", scope, SHOP, "t"), right, OTHER)
    assert not authorizer.sees(Principal("ci", scope, SHOP, "t"), OTHER)


@pytest.mark.parametrize("right", [Right.CREATE, Right.SERVER])
def test_only_an_admin_token_of_no_project_acts_on_the_server_itself(store: Store, right: Right) -> None:
    authorizer = Authorizer(Tokens(store))

    authorizer.authorize(Principal("admin", Scope.ADMIN, None, "t"), right)
    assert authorizer.may(Principal("admin", Scope.ADMIN, None, "t"), right)
    for principal in (
        Principal("ci", Scope.DEPLOY, None, "t"),
        Principal("ci", Scope.READ, None, "t"),
        Principal("ci", Scope.ADMIN, SHOP, "t"),
    ):
        with pytest.raises(NotAllowed):
            authorizer.authorize(principal, right)
        assert not authorizer.may(principal, right)


async def test_whose_token_may_read_a_projects_logs_is_known_at_once(world: World) -> None:
    _, mine = await world.tokens.create("mine", Scope.READ, SHOP)
    _, other = await world.tokens.create("other", Scope.ADMIN, OTHER)
    may = world.authorizer.may_read_logs

    assert may(f"Bearer {mine}", SHOP)
    assert may(basic(mine), SHOP)
    assert may(f"Bearer {PRESET}", SHOP)
    assert not may(f"Bearer {other}", SHOP)
    assert not may(f"Bearer {mine}0", SHOP)
    assert not may(None, SHOP)


async def test_the_gateway_is_no_place_to_try_tokens_at(world: World) -> None:
    for _ in range(ATTEMPTS):
        assert not world.authorizer.may_read_logs("Bearer clowdy_guess", SHOP, "192.0.2.1")

    assert not world.authorizer.may_read_logs(f"Bearer {PRESET}", SHOP, "192.0.2.1")
    with pytest.raises(TooManyAttempts):
        await world.authorizer.identify("Bearer guess", address="192.0.2.1")


async def test_a_token_of_somebody_else_is_not_ours(world: World) -> None:
    assert not world.authorizer.is_own_token("eyJhbGciOiJSUzI1NiJ9.e30.x")
    assert world.authorizer.is_own_token(PRESET)
    assert world.authorizer.is_own_token("clowdy_anything")


async def test_the_gateway_is_no_place_to_try_preset_tokens_at_either(world: World) -> None:
    _, mine = await world.tokens.create("mine", Scope.READ, SHOP)
    for number in range(ATTEMPTS):
        assert not world.authorizer.may_read_logs(f"Bearer guess {number}", SHOP, "192.0.2.1")

    assert not world.authorizer.may_read_logs(f"Bearer {PRESET}", SHOP, "192.0.2.1")
    assert world.authorizer.may_read_logs(f"Bearer {PRESET}", SHOP, "192.0.2.2")
    # Nobody finds a random one by trying; and an application's own tokens are no reason to shut an address out.
    assert world.authorizer.may_read_logs(f"Bearer {mine}", SHOP, "192.0.2.1")
    assert (await world.authorizer.identify(f"Bearer {PRESET}", address="192.0.2.1")).name == "admin"
