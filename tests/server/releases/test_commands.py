import pytest

from clowdy.server.git.refnames import NULL
from clowdy.server.releases.commands import Options, Wish, classify, deploy_branches_of, parse_options, short

ONE, TWO = "1" * 40, "2" * 40
MAIN, LIVE = "refs/heads/main", "refs/heads/live"


def same(one: str, other: str) -> bool:
    return one == other


def wishes(refs: list[tuple[str, str, str]], branch: str | None = MAIN) -> list[tuple[Wish, str]]:
    return [(command.wish, command.reason) for command in classify(refs, branch, same)]


@pytest.mark.parametrize(
    ("ref", "wish"),
    [
        (MAIN, Wish.DEPLOY),
        (LIVE, Wish.LIVE),
        ("refs/tags/live", Wish.LIVE),
        ("refs/heads/feature/x", Wish.STORE),
        ("refs/tags/v1", Wish.STORE),
    ],
)
def test_a_ref_asks_for_what_its_name_means(ref: str, wish: Wish) -> None:
    assert wishes([(NULL, ONE, ref)]) == [(wish, "")]


@pytest.mark.parametrize(
    "ref",
    ["refs/tags/deploy/7", "refs/notes/deploys", "refs/clowdy/live", "refs/replace/" + ONE, "refs/changes/1"],
)
def test_what_the_server_owns_is_refused_alone(ref: str) -> None:
    (refused, reason), (main, _) = wishes([(NULL, ONE, ref), (NULL, ONE, MAIN)])
    assert refused is Wish.REFUSED
    assert reason
    assert main is Wish.DEPLOY


def test_neither_live_nor_the_deploy_branch_can_be_deleted() -> None:
    assert [wish for wish, _ in wishes([(ONE, NULL, MAIN), (ONE, NULL, LIVE)])] == [Wish.REFUSED, Wish.REFUSED]
    assert wishes([(ONE, NULL, "refs/heads/old")]) == [(Wish.DELETE, "")]


def test_main_and_live_in_one_push_must_name_one_commit() -> None:
    assert [wish for wish, _ in wishes([(NULL, ONE, MAIN), (NULL, ONE, LIVE)])] == [Wish.DEPLOY, Wish.LIVE]
    apart = wishes([(NULL, ONE, MAIN), (NULL, TWO, LIVE)])
    assert apart == [(Wish.REFUSED, "main and live name different commits: push one of them")] * 2


def test_the_first_push_chooses_the_deploy_branch() -> None:
    assert deploy_branches_of([(NULL, ONE, "refs/heads/trunk")]) == ["refs/heads/trunk"]
    assert deploy_branches_of([(NULL, ONE, "refs/heads/b"), (NULL, ONE, "refs/heads/a"), (NULL, ONE, MAIN)]) == [
        MAIN,
        "refs/heads/b",
        "refs/heads/a",
    ]
    assert deploy_branches_of([(NULL, ONE, LIVE), (NULL, ONE, "refs/tags/v1"), (ONE, NULL, MAIN)]) == []


def test_options_are_a_fixed_list() -> None:
    assert parse_options(["plan", "format=json"]) == Options(plan=True, json=True)
    unknown = parse_options(["paln"])
    assert isinstance(unknown, str)
    assert "plan, redeploy, upgrade, format=json" in unknown
    assert parse_options(["upgrade", "redeploy"]) == Options(upgrade=True, redeploy=True)


def test_refs_are_shown_as_people_write_them() -> None:
    assert [short(ref) for ref in (MAIN, "refs/tags/v1", "refs/notes/x")] == ["main", "v1", "refs/notes/x"]
