from __future__ import annotations

import asyncio
import json

import pytest

from clowdy.server.git.hook_messages import Verdict
from clowdy.server.git.refnames import NULL
from clowdy.server.store import pushes
from clowdy.server.store.pushes import State
from tests.runtimes.memory_driver import Behaviour

from .world import World, files

pytestmark = pytest.mark.slow

MAIN, LIVE = "refs/heads/main", "refs/heads/live"


def hold(made: World) -> asyncio.Event:
    """Every trial start from now on waits for the event."""
    gate = asyncio.Event()
    made.driver.behaviours["hello"] = Behaviour(held=gate)
    return gate


async def at_work(made: World, count: int = 1) -> None:
    """Returns when so many pushes run, all of them as far as they come."""
    project = await made.project()
    async with asyncio.timeout(10):
        while len(made.releases.pushes.running(project.id)) < count:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)


async def kept(made: World) -> list[pushes.Push]:
    async with made.context.store.reading() as connection:
        return await pushes.every(connection, (await made.project()).id)


async def test_a_push_has_an_end(made: World) -> None:
    first = await made.deploy("one")
    made.releases.pushes._limit_seconds = 0.2
    hold(made)
    commit = await made.commit(files("two"), (first,))
    (verdict,) = await made.push({MAIN: commit})
    assert verdict == Verdict(MAIN, accepted=False, reason="stopped after 0 minutes")
    assert made.faults == []
    made.releases.pushes._limit_seconds = 60
    made.driver.behaviours.clear()
    (verdict,) = await made.push({MAIN: commit})
    assert verdict.accepted


async def test_a_timeout_inside_is_not_taken_for_the_limit(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(*_: object, **__: object) -> None:
        raise TimeoutError("a socket")

    await made.deploy("one")
    monkeypatch.setattr("clowdy.server.releases.work.prepare", slow)
    (verdict,) = await made.push({MAIN: await made.commit(files("two"))})
    assert verdict.reason == "the server failed: see its log, nothing was deployed"
    assert "a socket" in made.faults[0]


async def test_the_same_push_again_follows_and_ends_with_its_result(made: World) -> None:
    gate = hold(made)
    commit = await made.commit(files("one"))
    first = asyncio.create_task(made.push({MAIN: commit}, options=("format=json",)))
    await at_work(made)
    second = asyncio.create_task(made.push({MAIN: commit}, options=("format=json",)))
    await asyncio.sleep(0.05)
    gate.set()
    assert await first == await second
    said = [json.loads(line) for line in made.said]
    assert "following" in said[0]["text"]
    assert said[-1]["type"] == "done"
    assert said[-2]["text"] == "already live: finished while you waited"
    assert [push.state for push in await kept(made)] == [State.LIVE]


async def test_a_cancelled_push_is_judged_anew(made: World) -> None:
    gate = hold(made)
    commit = await made.commit(files("one"))
    push = asyncio.create_task(made.push({MAIN: commit}))
    await at_work(made)
    row = await made.releases.cancel(await made.project(), None, "bob")
    assert (row.state, row.reason) == (State.CANCELLED, "cancelled by bob")
    assert (await push)[0].reason == "cancelled by bob"
    gate.set()
    (verdict,) = await made.push({MAIN: commit})
    assert verdict.accepted


async def test_who_waits_is_told_for_whom_and_a_commit_on_top_goes_on(made: World) -> None:
    base = await made.deploy("base")
    gate = hold(made)
    one = await made.commit(files("one"), (base,))
    on_top = await made.commit(files("two"), (one,))
    beside = await made.commit(files("three"), (base,))
    first = asyncio.create_task(made.push({MAIN: one}, who="ana"))
    await at_work(made)
    second = asyncio.create_task(made.push({MAIN: on_top}, who="bob", force={MAIN: base}))
    await at_work(made, 2)
    third = asyncio.create_task(made.push({MAIN: beside}, who="eve", force={MAIN: base}))
    await at_work(made, 3)
    gate.set()
    assert (await first)[0].accepted
    assert (await second)[0].accepted
    assert (await third)[0].reason == "fetch first: main moved while you waited for bob"
    outputs = {push.who: push.output for push in await kept(made)}
    assert "waiting for ana: another push of this project is at work" in outputs["bob"]


async def test_the_moves_of_main_are_three(made: World) -> None:
    commit = await made.commit(files("one"))
    (verdict,) = await made.push({MAIN: commit})
    repository = await made.repository()
    assert [(move.ref, move.old, repository.peel(move.new).commit) for move in verdict.moves] == [
        (MAIN, NULL, commit),
        (LIVE, NULL, commit),
        ("refs/tags/deploy/1", NULL, commit),
    ]


async def test_what_went_live_is_not_called_refused_whatever_fails_after(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("clowdy.server.releases.work._tag_move", fault)
    (verdict,) = await made.push({MAIN: await made.commit(files("one"))})
    assert verdict.accepted
    assert "deploy/1 is live" in "\n".join(made.said)
    assert [push.state for push in await kept(made)] == [State.LIVE]
    assert "ours" in made.faults[0]


async def test_the_branch_is_named_as_it_is_called(made: World) -> None:
    await made.push({"refs/heads/trunk": await made.commit(files("one"))})
    project = await made.project()
    assert made.table[project.id].record.how == "push to trunk"
    assert project.deploy_branch == "refs/heads/trunk"


async def test_what_was_overtaken_by_a_rollback_is_refused_and_its_start_kept(made: World) -> None:
    first = await made.deploy("one")
    second = await made.deploy("two", (first,))
    gate = hold(made)
    third = await made.commit(files("three"), (second,))
    push = asyncio.create_task(made.push({MAIN: third}))
    await at_work(made)
    await made.releases.rollback(await made.project(), "deploy/1", "bob")
    gate.set()
    reason = "live moved to deploy/1 (bob, rollback) while this was building; push again to replace it"
    assert (await push)[0].reason == reason
    started = made.driver.started
    (verdict,) = await made.push({MAIN: third})
    assert verdict.accepted
    assert made.driver.started == started


async def test_a_new_secret_value_overtakes_nothing(made: World) -> None:
    made.secrets["KEY"] = "one"
    more = "env: {KEY: {secret: true}}\n"
    first = await made.commit(files("one", more=more))
    await made.push({MAIN: first})
    gate = hold(made)
    push = asyncio.create_task(made.push({MAIN: await made.commit(files("two", more=more), (first,))}))
    await at_work(made)
    project = await made.project()
    made.secrets["KEY"] = "two"
    await made.releases.secret_changed(project, "KEY", "ana")
    assert made.table[project.id].applications["hello"].env["KEY"] == "two"
    gate.set()
    assert (await push)[0].accepted
    serving = made.table[project.id]
    assert (serving.number, serving.applications["hello"].env["KEY"]) == (2, "two")


async def test_a_flood_of_problems_leaves_room_for_the_last_word(made: World) -> None:
    routes = "".join(f"  GET /{'r' * 120}{number}: nowhere\n" for number in range(1500))
    head = "functions:\n  hello: {handler: 'code.py:handler'}\nroutes:\n"
    broken = {**files("one"), "clowdy.yaml": f"{head}{routes}".encode()}
    for options in ((), ("format=json",)):
        (verdict,) = await made.push({MAIN: await made.commit(broken)}, options=options)
        assert not verdict.accepted
        assert "nothing was deployed" in made.said[-1]
        assert sum(map(len, made.said)) < 1_200_000
        if options:
            assert all(json.loads(line) for line in made.said)


async def test_a_project_that_is_deleted_ends_its_pushes(made: World) -> None:
    first = await made.deploy("one")
    hold(made)
    push = asyncio.create_task(made.push({MAIN: await made.commit(files("two"), (first,))}))
    await at_work(made)
    await made.releases.projects.delete(await made.project(), "ana")
    assert (await push)[0].reason == "project shop was deleted"
    assert made.table == {}


async def test_the_first_branch_that_is_accepted_becomes_the_deploy_branch(made: World) -> None:
    broken = await made.commit({"clowdy.yaml": b"functions: 1\n"})
    good = await made.commit(files("two"))
    other = await made.commit(files("three"))
    verdicts = await made.push({"refs/heads/z": good, MAIN: broken, "refs/heads/a": other})
    assert [verdict.accepted for verdict in verdicts] == [True, False, True]
    assert (await made.project()).deploy_branch == "refs/heads/z"
    repository = await made.repository()
    assert repository.ref(LIVE) == good
    assert repository.ref("refs/heads/a") == other


async def test_a_first_push_that_only_plans_makes_no_deploy_branch(made: World) -> None:
    commit = await made.commit(files("one"))
    verdicts = await made.push({MAIN: commit, "refs/heads/dev": commit}, options=("plan",))
    assert {verdict.reason for verdict in verdicts} == {"plan only, nothing changed"}
    assert (await made.project()).deploy_branch is None


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("refs/tags/deploy", "deploy/* tags are made by the server"),
        ("refs/heads/live/x", "live/* would stand where live has to"),
        ("refs/heads/main/x", "main/x would stand where main has to"),
        ("refs/heads/refs/heads/main", "a branch cannot be called refs/…"),
    ],
)
async def test_a_ref_in_the_way_of_one_that_serves_is_refused(made: World, ref: str, reason: str) -> None:
    commit = await made.commit(files("one"))
    verdicts = await made.push({ref: commit, MAIN: commit})
    assert [(verdict.accepted, verdict.reason) for verdict in verdicts] == [(False, reason), (True, "")]


async def test_refs_that_cannot_stand_beside_each_other_are_told_in_our_words(made: World) -> None:
    commit = await made.deploy("one")
    await made.push({"refs/heads/a": commit})
    (verdict,) = await made.push({"refs/heads/a/b": commit})
    assert verdict.reason == "refs/heads/a/b cannot stand beside refs/heads/a: one name is a folder of the other"


async def test_what_a_tag_leads_to_is_looked_at_as_a_branch_is(made: World) -> None:
    first = await made.deploy("one")
    broken = await made.commit({"clowdy.yaml": b"functions: 1\n"}, (first,))
    (verdict,) = await made.push({"refs/tags/v1": broken})
    assert verdict.accepted
    assert any("clowdy.yaml:1:12: warning[" in line for line in made.said), made.said
    assert "v1 is stored; a push of it to the deploy branch would be refused" in made.said[-1]


async def test_a_mirror_of_many_tags_is_not_looked_at_to_its_end(made: World) -> None:
    first = await made.deploy("one")
    tags = {
        f"refs/tags/v{number}": await made.commit({"clowdy.yaml": b"functions: 1\n"}, (first,), f"Change {number}")
        for number in range(25)
    }
    await made.push(tags)
    assert sum("is stored; a push of it" in line for line in made.said) == 20


async def test_what_a_push_brings_back_is_what_it_contains(made: World) -> None:
    commits = [await made.deploy("change 0")]
    for number in range(1, 9):
        commits.append(await made.deploy(f"change {number}", (commits[-1],)))
    project = await made.project()
    await made.releases.rollback(project, "deploy/1", "ana")

    async def since(commit: str) -> str:
        await made.push({LIVE: commit}, options=("plan",))
        return next((line for line in made.said if line.startswith("live is at deploy/1 since ana's rollback")), "")

    ahead = await since(await made.commit(files("next"), (commits[-1],)))
    assert f"this push also brings back: {commits[8][:7]} change 8, " in ahead
    assert ahead.endswith(f"{commits[4][:7]} change 4 (+3 more)")
    beside = await since(await made.commit(files("beside"), (commits[2],)))
    assert beside.endswith(f"brings back: {commits[2][:7]} change 2, {commits[1][:7]} change 1")
    orphan = await since(await made.commit(files("orphan")))
    assert orphan
    assert "brings back" not in orphan


async def test_redeploy_does_not_say_that_instances_stay_warm(made: World) -> None:
    await made.deploy("one")
    await made.push({LIVE: (await made.repository()).ref(MAIN) or ""}, options=("redeploy",))
    assert any("unchanged, instances start again" in line for line in made.said), made.said


async def test_what_serves_already_is_the_last_word_too(made: World) -> None:
    commit = await made.deploy("one")
    await made.push({LIVE: commit}, options=("format=json",))
    assert json.loads(made.said[-1])["text"] == "deploy/1 serves already: nothing to change"
