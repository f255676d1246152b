from __future__ import annotations

import pytest

from clowdy.server.errors import Invalid
from clowdy.server.git.refs import RefUpdate, transaction
from clowdy.server.releases.targets import target_of_object, target_of_text, what_served_before
from clowdy.server.store import releases

from .world import World


async def number(made: World, text: str) -> int | None:
    """The release that a text means, None for a commit without one."""
    project = await made.project()
    target = await target_of_text(made.context, project.id, await made.repository(), text)
    return target.release.number if target.release is not None else None


async def test_a_text_means_a_release_by_every_name_it_has(made: World) -> None:
    first = await made.deploy("one")
    second = await made.deploy("two", (first,))
    repository = await made.repository()
    annotated = repository.write_tag("v1", first, "first", "ana", 1.0)
    await transaction(repository, [RefUpdate("refs/tags/v1", None, annotated)])
    for text in ("deploy/1", "1", "refs/tags/deploy/1", first, first[:7], "v1", "refs/tags/v1"):
        assert await number(made, text) == 1
    assert await number(made, "main") == 2
    assert await number(made, second[:7]) == 2


async def test_a_commit_means_its_newest_release_and_a_tag_exactly_its_own(made: World) -> None:
    first = await made.deploy("one")
    second = await made.deploy("two", (first,))
    repository = await made.repository()
    (verdict,) = await made.push({"refs/heads/main": first})
    assert verdict.accepted
    assert await number(made, first) == 3
    assert await number(made, "deploy/1") == 1
    assert await number(made, second) == 2
    project = await made.project()
    tag = repository.ref("refs/tags/deploy/1") or ""
    target = await target_of_object(made.context, project.id, repository, tag)
    assert target.release is not None
    assert target.release.number == 1


async def test_a_tag_object_that_only_looks_like_a_release_is_peeled(made: World) -> None:
    first = await made.deploy("one")
    await made.deploy("two", (first,))
    repository = await made.repository()
    project = await made.project()
    forged = repository.write_tag("deploy/2", first, "deploy/2: forged\n", "eve", 1.0)
    target = await target_of_object(made.context, project.id, repository, forged)
    assert target.release is not None
    assert target.release.number == 1


@pytest.mark.parametrize("text", ["", "deploy/9", "../../etc/passwd", "HEAD", "g" * 40, "a" * 40, "1e3"])
async def test_what_is_not_here_is_refused(made: World, text: str) -> None:
    await made.deploy("one")
    with pytest.raises(Invalid, match="there is no release"):
        await number(made, text)


async def test_a_beginning_of_two_commits_is_not_guessed(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = await made.deploy("one")
    other = f"{commit[:8]}{'0' * 32}"

    async def two(*_: object) -> list[str]:
        return [commit, other]

    monkeypatch.setattr(releases, "starting_with", two)
    with pytest.raises(Invalid, match="begins more than one commit"):
        await number(made, commit[:8])


async def test_what_served_before_is_another_release(made: World) -> None:
    project = await made.project()
    with pytest.raises(Invalid, match="nothing is live"):
        await what_served_before(made.context, project.id)
    first = await made.deploy("one")
    with pytest.raises(Invalid, match="nothing served before deploy/1"):
        await what_served_before(made.context, project.id)
    await made.deploy("two", (first,))
    await made.push({"refs/heads/live": first}, options=("redeploy",))
    await made.push({"refs/heads/live": first}, options=("redeploy",))
    assert (await what_served_before(made.context, project.id)).number == 2
