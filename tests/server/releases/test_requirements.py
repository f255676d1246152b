"""Requirements from a push to its lock and layer: resolved once, built once, kept in git, brought back from there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clowdy.runtimes.layers.api import BuildFailed
from clowdy.schema.locks import Lock
from clowdy.server.errors import Invalid
from clowdy.server.git.hook_messages import Verdict
from clowdy.server.releases.layers import sweep
from clowdy.server.releases.locks import REF, find_any_lock
from tests.runtimes.memory_driver import MemoryDriver
from tests.runtimes.memory_packages import MemoryPackages

from .world import World, files, world

pytestmark = pytest.mark.slow

MAIN, LIVE = "refs/heads/main", "refs/heads/live"
HTTPX = "requirements: [httpx]\n"
DAY = 86_400


async def push(
    made: World, text: str = "one", more: str = HTTPX, name: str = "shop", options: tuple[str, ...] = ()
) -> Verdict:
    repository = await made.repository(name)
    parent = repository.ref(MAIN)
    commit = await made.commit(files(text, more=more), (parent,) if parent else (), text, name)
    (verdict,) = await made.push({MAIN: commit}, name, options=options)
    return verdict


async def serving_layer(made: World, name: str = "shop") -> str | None:
    serving = made.table[(await made.project(name)).id]
    (layer,) = {application.layer for application in serving.applications.values()}
    return layer


async def lock_of(made: World, name: str = "shop") -> Lock:
    record = made.table[(await made.project(name)).id].record
    assert record.lock is not None
    lock = find_any_lock(await made.repository(name), record.lock)
    assert lock is not None
    return lock


async def test_a_push_resolves_builds_and_says_so(made: World) -> None:
    verdict = await push(made)

    assert verdict.accepted, made.said
    lock = await lock_of(made)
    assert dict(lock.versions) == {"h11": "0.14", "httpx": "0.28"}
    assert await serving_layer(made) == lock.digest
    assert made.packages.built == [lock.digest]
    said = "\n".join(made.said)
    assert " + image    requirements  2 packages: h11 0.14, httpx 0.28" in said
    assert said.index("resolving 1 requirements") < said.index("Plan for") < said.index("installing 2 packages")
    assert said.index("installing 2 packages") < said.index("switched to deploy/1")


async def test_a_push_that_changes_only_code_builds_nothing_and_keeps_the_lock(made: World) -> None:
    await push(made)
    tip = (await made.repository()).ref(REF)
    first = made.table[(await made.project()).id].record
    made.packages.versions["httpx"].append("0.29")
    verdict = await push(made, "two")

    assert verdict.accepted
    assert (len(made.packages.resolved), len(made.packages.built)) == (1, 1)
    second = made.table[(await made.project()).id].record
    assert (second.number, second.lock, second.locks) == (2, first.lock, None)
    assert (await made.repository()).ref(REF) == tip
    assert not [line for line in made.said if "resolving" in line or "installing" in line]


async def test_the_same_text_in_another_order_is_the_same(made: World) -> None:
    await push(made, more="requirements: [httpx, numpy]\n")
    await push(made, more="requirements: [numpy,  'HTTPX']\n")
    assert len(made.packages.resolved) == 1


async def test_a_text_that_changes_keeps_the_versions_that_still_fit(made: World) -> None:
    await push(made)
    made.packages.versions["httpx"].append("0.29")
    await push(made, "two", "requirements: [httpx, numpy]\n")

    assert (await lock_of(made)).versions == {"h11": "0.14", "httpx": "0.28", "numpy": "2.1"}
    assert " ~ image    requirements  + numpy 2.1" in made.said


async def test_versions_of_functions_follow_the_lock(made: World) -> None:
    await push(made)
    await push(made, "one", "requirements: [httpx==0.27]\n")
    assert made.table[(await made.project()).id].record.functions["hello"].number == 2
    await push(made, "one")
    assert made.table[(await made.project()).id].record.functions["hello"].number == 1


async def test_an_upgrade_resolves_anew_and_prints_the_difference(made: World) -> None:
    await push(made)
    made.packages.versions["httpx"].append("0.29")
    commit = (await made.repository()).ref(MAIN)
    assert commit is not None
    (planned,) = await made.push({LIVE: commit}, options=("upgrade", "plan"))
    assert not planned.accepted
    assert " ~ image    requirements  httpx 0.28→0.29" in made.said
    assert (await lock_of(made)).versions["httpx"] == "0.28"

    (verdict,) = await made.push({LIVE: commit}, options=("upgrade",))
    assert verdict.accepted, made.said
    assert " ~ image    requirements  httpx 0.28→0.29" in made.said
    assert (await lock_of(made)).versions["httpx"] == "0.29"
    await push(made, "two")
    assert (await lock_of(made)).versions["httpx"] == "0.29"


async def test_an_upgrade_with_nothing_new_says_that_nothing_changes(made: World) -> None:
    await push(made)
    tip = (await made.repository()).ref(REF)
    verdict = await push(made, "one", options=("upgrade",))
    assert verdict.accepted
    assert not [line for line in made.said if " ~ image" in line]
    assert (await made.repository()).ref(REF) == tip


async def test_what_cannot_be_resolved_refuses_the_push_with_the_reason(made: World) -> None:
    await push(made)
    verdict = await push(made, "two", "requirements: [nothing-of-this-name]\n")

    assert not verdict.accepted
    reason = "Because nothing-of-this-name was not found in the package registry"
    assert reason in verdict.reason
    assert verdict.reason.startswith("clowdy.yaml:5:1 ")
    assert any(line.startswith(f"clowdy.yaml:5:1: error[requirements] {reason}") for line in made.said)
    assert made.said[-1] == "1 problem, nothing was deployed. live stays at deploy/1."
    assert await serving_layer(made) == (await lock_of(made)).digest


async def test_what_cannot_be_installed_refuses_the_push_and_the_lock_is_kept_for_the_next(made: World) -> None:
    made.packages.fails = "no space left on the disk"
    verdict = await push(made)
    assert not verdict.accepted
    assert "no space left on the disk" in verdict.reason
    made.packages.fails = ""
    verdict = await push(made, "two")
    assert verdict.accepted
    assert len(made.packages.resolved) == 1


async def test_where_nothing_can_be_built_the_cure_is_said(made: World) -> None:
    made.packages.unavailable = "bubblewrap is not installed. Cure: apt-get install bubblewrap"
    verdict = await push(made)
    assert not verdict.accepted
    assert verdict.reason == (
        "requirements cannot be installed here: bubblewrap is not installed. Cure: apt-get install bubblewrap"
    )


async def test_a_plan_resolves_and_installs_nothing(made: World) -> None:
    verdict = await push(made, options=("plan",))
    assert not verdict.accepted
    assert made.packages.built == []
    assert (await made.repository()).ref(REF) is None


async def test_two_projects_with_one_lock_share_a_layer_that_is_built_once(made: World) -> None:
    await made.releases.projects.create("blog", "ana")
    made.packages.gate = asyncio.Event()
    pushes = [asyncio.ensure_future(push(made, name=name)) for name in ("shop", "blog")]
    while len(made.packages.resolved) < 2:
        await asyncio.sleep(0.01)
    made.packages.gate.set()
    assert all(verdict.accepted for verdict in await asyncio.gather(*pushes))
    assert len(made.packages.built) == 1
    assert await serving_layer(made) == await serving_layer(made, "blog")


async def test_going_back_to_a_release_whose_layer_is_gone_builds_it_from_its_lock(made: World) -> None:
    await push(made)
    old = await lock_of(made)
    await push(made, "two", "requirements: [numpy]\n")
    await made.packages.remove([old.digest])
    made.packages.versions["httpx"].append("0.29")
    outcome = await made.releases.rollback(await made.project(), "deploy/1", "ana")

    assert outcome.release == 1
    assert outcome.lines[0].endswith("its requirements are installed first")
    assert made.packages.has(old.digest)
    assert await serving_layer(made) == old.digest
    assert len(made.packages.resolved) == 2


async def test_going_back_without_a_layer_changes_nothing_when_it_cannot_be_built(made: World) -> None:
    await push(made)
    old = await lock_of(made)
    await push(made, "two", "requirements: [numpy]\n")
    await made.packages.remove([old.digest])
    made.packages.fails = "the index is gone"
    with pytest.raises(Invalid, match="the requirements of deploy/1 cannot be installed: the index is gone"):
        await made.releases.rollback(await made.project(), "deploy/1", "ana")
    assert made.table[(await made.project()).id].number == 2


async def test_a_start_installs_what_serves_and_is_gone(tmp_path: Path) -> None:
    packages = MemoryPackages()
    async with world(tmp_path / "data", packages=packages) as made:
        await made.releases.projects.create("shop", "ana")
        await push(made)
    (layer,) = packages.built
    await packages.remove([layer])
    async with world(tmp_path / "data", packages=packages) as made:
        assert await serving_layer(made) == layer
        while not packages.has(layer):
            await asyncio.sleep(0.01)
        assert made.faults == []


async def test_everything_is_rebuilt_from_git_alone(tmp_path: Path) -> None:
    async with world(tmp_path / "data") as made:
        await made.releases.projects.create("shop", "ana")
        await push(made)
        await push(made, "two", "requirements: [numpy]\n")
    (tmp_path / "data" / "clowdy.db").unlink()
    packages = MemoryPackages()
    async with world(tmp_path / "data", packages=packages) as made:
        await made.releases.rebuild()
        lock = await lock_of(made)
        assert await serving_layer(made) == lock.digest
        while not packages.has(lock.digest):
            await asyncio.sleep(0.01)
        verdict = await push(made, "three", "requirements: [numpy]\n")
        assert verdict.accepted
        assert packages.resolved == []


async def test_another_python_gets_a_lock_of_the_old_versions_and_no_new_version(tmp_path: Path) -> None:
    packages = MemoryPackages()
    async with world(tmp_path / "data", packages=packages) as made:
        await made.releases.projects.create("shop", "ana")
        await push(made)
        before = made.table[(await made.project()).id]
    packages = MemoryPackages(python="3.12")
    packages.versions["httpx"].append("0.29")
    async with world(tmp_path / "data", packages=packages) as made:
        project = await made.project()
        assert await made.releases.renew() == []
        serving = made.table[project.id]
        assert serving.record == before.record
        assert serving.problems == {}
        layer = await serving_layer(made)
        assert layer != before.applications["hello"].layer
        assert layer is not None
        assert packages.layers[layer].versions == {"h11": "0.14", "httpx": "0.28"}
        assert packages.layers[layer].python == "3.12"

        resolved = len(packages.resolved)
        await push(made, "two")
        after = made.table[project.id]
        assert after.record.lock == before.record.lock
        assert await serving_layer(made) == layer
        assert len(packages.resolved) == resolved


async def test_what_another_python_cannot_have_answers_with_the_reason(tmp_path: Path) -> None:
    async with world(tmp_path / "data") as made:
        await made.releases.projects.create("shop", "ana")
        await push(made)
    packages = MemoryPackages(python="3.12", versions={})
    async with world(tmp_path / "data", packages=packages) as made:
        (line,) = await made.releases.renew()
        assert "the requirements of deploy/1 cannot be installed: Because httpx was not found" in line
        assert made.table[(await made.project()).id].problems["hello"] == line


async def test_what_could_not_be_looked_for_at_the_start_serves_once_everything_can_run(tmp_path: Path) -> None:
    async with world(tmp_path / "data") as made:
        await made.releases.projects.create("shop", "ana")
        await push(made)
        installed = dict(made.packages.layers)
    driver = MemoryDriver(unavailable="the engine is down", passing=True)
    packages = MemoryPackages(python="", layers=installed, unavailable="the engine is down")
    async with world(tmp_path / "data", driver=driver, packages=packages) as made:
        project = await made.project()
        assert "not installed for this Python" in made.table[project.id].problems["hello"]
        await made.releases.bring_back()
        assert made.faults == []

        driver.unavailable, packages.unavailable, packages.python = "", "", "3.11"
        async with asyncio.timeout(10):
            while made.context.pool.unavailable is not None:
                await asyncio.sleep(0.01)
        await made.releases.bring_back()
        serving = made.table[project.id]
        assert serving.problems == {}
        assert serving.applications["hello"].layer in installed
        assert packages.built == []
        assert made.faults == []


async def test_layers_go_when_no_release_needs_them_any_more(made: World) -> None:
    await push(made)
    old = await serving_layer(made)
    await push(made, "two", "requirements: [numpy]\n")
    new = await serving_layer(made)
    assert await sweep(made.context) == []

    await made.releases.projects.delete(await made.project(), "ana")
    made.clock.forward(DAY + 1)
    assert await sweep(made.context) == sorted(filter(None, (old, new)))


async def test_what_the_last_releases_need_and_what_was_live_lately_is_kept(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    object.__setattr__(made.context.config, "keep_releases", 2)
    layers = []
    for number, wanted in enumerate(("httpx==0.27", "httpx==0.28", "numpy==1.26", "numpy==2.1")):
        await push(made, str(number), f"requirements: ['{wanted}']\n")
        layers.append(await serving_layer(made))
    made.clock.forward(29 * DAY)
    assert await sweep(made.context) == []
    made.clock.forward(2 * DAY)
    assert set(await sweep(made.context)) == set(layers[:2])
    assert set(made.packages.layers) == set(layers[2:])


async def test_a_layer_that_a_push_works_on_is_not_removed(made: World) -> None:
    made.driver.gate = asyncio.Event()
    pushing = asyncio.ensure_future(push(made))
    while not made.packages.built:
        await asyncio.sleep(0.01)
    assert await sweep(made.context) == []
    made.driver.gate.set()
    assert (await pushing).accepted


async def test_functions_without_requirements_have_no_layer(made: World) -> None:
    await push(made, more="")
    assert await serving_layer(made) is None
    assert made.packages.resolved == []
    assert (await made.repository()).ref(REF) is None


def test_failures_say_their_text() -> None:
    assert BuildFailed("why").text == "why"


async def test_a_lock_of_the_repository_is_taken_as_it_is(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "schema" / "locks" / "forks.uv.lock").read_bytes()
    async with world(tmp_path / "data", driver=MemoryDriver()) as made:
        await made.releases.projects.create("shop", "ana")
        commit = await made.commit({**files(more="requirements: uv.lock\n"), "uv.lock": text})
        (verdict,) = await made.push({MAIN: commit})
        assert verdict.accepted, made.said
        lock = await lock_of(made)
        assert lock.versions["numpy"] == "1.26.4"
        assert "colorama" not in lock.versions
