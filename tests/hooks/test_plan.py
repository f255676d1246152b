"""What a push changes, row by row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from clowdy.hooks.differences import LineCount, count_lines
from clowdy.hooks.ignore import Ignore
from clowdy.hooks.plan import Plan, Row, Side, Since, ago, make_plan
from clowdy.schema.manifest import Auth, CheckSpec, FunctionSpec, Manifest, Network, RouteSpec
from clowdy.schema.release import FunctionVersion

MEGABYTE = 1024 * 1024
HELLO = FunctionSpec("hello", "functions/hello.py")
USERS = FunctionSpec("get_user", "users.py", attribute="get", sources=("api",))


def side(
    *functions: FunctionSpec,
    numbers: dict[str, int] | None = None,
    codes: dict[str, str] | None = None,
    release: int | None = None,
    commit: str = "e81d0b3" + "0" * 33,
    pinned: tuple[str, ...] = (),
    **manifest: Any,
) -> Side:
    """One side of a plan; a version's digest follows from its number."""
    numbers = numbers or {}
    return Side(
        commit,
        Manifest({function.name: function for function in functions}, **manifest),
        {
            function.name: FunctionVersion(
                f"id-{function.name}",
                function.name,
                numbers.get(function.name, 1),
                f"{function.name}-{numbers.get(function.name, 1)}",
                function.name in pinned,
            )
            for function in functions
        },
        codes or {function.name: "code" for function in functions},
        release,
    )


def rows(plan: Plan) -> list[tuple[str, ...]]:
    return [(row.sign, row.kind, row.name, row.text, row.warning) for row in plan.rows]


def test_a_first_push_adds_everything() -> None:
    plan = make_plan(
        None,
        side(
            HELLO,
            replace(USERS, network=Network.ON, env={"LEVEL": "debug", "STAGE": "prod"}),
            routes=(RouteSpec("GET", "/", "hello"), RouteSpec("POST", "/users", "get_user", Auth.KEY)),
            env={"STAGE": "prod"},
            secrets=frozenset({"KEY"}),
            checks=(CheckSpec("GET", "/", 200),),
        ),
    )

    assert rows(plan) == [
        ("+", "function", "hello", "v1, functions/hello.py:handler", ""),
        ("+", "function", "get_user", "v1, api/users.py:get", ""),
        ("+", "route", "GET /", "hello", ""),
        ("+", "route", "POST /users", "get_user, auth key", ""),
        ("+", "env", "STAGE", "prod", ""),
        ("+", "env", "LEVEL", "debug in get_user", ""),
        ("+", "secret", "KEY", "declared", ""),
        ("+", "network", "get_user", "true", "widened"),
        ("+", "check", "GET /", "status 200", ""),
    ]
    assert plan.counts() == "9 to add, 0 to change, 0 to remove"


def test_a_changed_function_says_what_changed_and_its_versions() -> None:
    before = side(HELLO, numbers={"hello": 11}, codes={"hello": "old"}, release=43)
    after = side(
        replace(HELLO, memory_bytes=256 * MEGABYTE, timeout_seconds=0.5, cpu=1.0, min_warm=2, env={"A": "1"}),
        numbers={"hello": 12},
        codes={"hello": "new"},
    )

    plan = make_plan(before, after, lines={"hello": LineCount(12, 3)})

    assert rows(plan)[0] == (
        "~",
        "function",
        "hello",
        "v11→v12 code +12 −3, memory 128→256 MB, timeout 30→0.5 s, cpu 0.5→1, min_warm 0→2, env",
        "",
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory_bytes": 1024 * MEGABYTE}, "memory 128 MB→1 GB"),
        ({"memory_bytes": 1536 * MEGABYTE}, "memory 128 MB→1.5 GB"),
        ({"memory_bytes": 1100 * MEGABYTE}, "memory 128→1100 MB"),
        ({"file": "a.py", "attribute": "b"}, "handler functions/hello.py:handler→a.py:b"),
        ({"sources": ("api", "lib")}, "source .→api, lib"),
        ({"parallel": 4}, "parallel 1→4"),
        ({"concurrency": 32}, "concurrency 16→32"),
        ({"secrets": frozenset({"A"})}, "secrets"),
        ({"description": "x"}, "description"),
    ],
)
def test_each_setting_has_its_words(change: dict[str, Any], said: str) -> None:
    plan = make_plan(side(HELLO), side(replace(HELLO, **change), numbers={"hello": 2}))

    assert plan.rows[0] == Row("~", "function", "hello", f"v1→v2 {said}")


def test_what_only_the_release_decides_keeps_the_version() -> None:
    plan = make_plan(side(HELLO, release=1), side(replace(HELLO, min_warm=1)))

    assert plan.rows[0].text == "v1 min_warm 0→1"


def test_a_push_that_changes_nothing_is_one_summed_row() -> None:
    same = side(HELLO, USERS, routes=(RouteSpec("GET", "/", "hello"),), env={"A": "1"}, secrets=frozenset({"K"}))

    plan = make_plan(replace(same, release=3), same)

    assert plan.rows == (Row("=", "", "2 functions, 1 route, 1 env, 1 secret", "unchanged, instances stay warm"),)
    assert plan.changes == ()
    assert plan.counts() == "0 to add, 0 to change, 0 to remove"


def test_routes_come_go_and_change_their_target() -> None:
    plan = make_plan(
        side(
            HELLO,
            routes=(
                RouteSpec("GET", "/beta", "hello"),
                RouteSpec("GET", "/a", "hello", Auth.KEY),
                RouteSpec("GET", "/same", "hello"),
            ),
        ),
        side(
            HELLO,
            routes=(
                RouteSpec("GET", "/a", "hello"),
                RouteSpec("POST", "/refund", "hello"),
                RouteSpec("GET", "/same", "hello"),
            ),
        ),
    )

    assert rows(plan) == [
        ("~", "route", "GET /a", "hello, auth key → hello", "widened"),
        ("+", "route", "POST /refund", "hello", ""),
        ("-", "route", "GET /beta", "hello", ""),
        ("=", "", "1 function, 1 route", "unchanged, instances stay warm", ""),
    ]


def test_env_shows_values_and_secrets_show_names_alone() -> None:
    plan = make_plan(
        side(HELLO, env={"LOG": "info", "OLD": "x"}, secrets=frozenset({"GONE"})),
        side(HELLO, env={"LOG": "debug", "LONG": "y" * 100, "EMPTY": ""}, secrets=frozenset({"STRIPE_KEY"})),
    )

    assert rows(plan)[:-1] == [
        ("+", "env", "EMPTY", '""', ""),
        ("~", "env", "LOG", "info→debug", ""),
        ("+", "env", "LONG", "y" * 39 + "…", ""),
        ("-", "env", "OLD", "x", ""),
        ("-", "secret", "GONE", "not declared now", ""),
        ("+", "secret", "STRIPE_KEY", "declared", ""),
    ]


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        (Network.OFF, Network.ON, "widened"),
        (Network.OFF, Network.DATABASE, "widened"),
        (Network.DATABASE, Network.ON, "widened"),
        (Network.ON, Network.OFF, ""),
    ],
)
def test_every_widening_of_the_network_is_marked(old: Network, new: Network, warning: str) -> None:
    plan = make_plan(side(replace(HELLO, network=old)), side(replace(HELLO, network=new), numbers={"hello": 2}))

    assert rows(plan) == [
        ("~", "function", "hello", "v1→v2 network", ""),
        ("~", "network", "hello", f"{old.value} → {new.value}", warning),
    ]


def test_a_function_that_becomes_public_is_marked() -> None:
    plan = make_plan(side(replace(HELLO, public=False)), side(HELLO))

    assert Row("~", "public", "hello", "false → true", "widened") in plan.rows


def test_checks_and_origins() -> None:
    plan = make_plan(
        side(
            checks=(CheckSpec("GET", "/a", 200), CheckSpec("GET", "/b"), CheckSpec("GET", "/c")),
            cors=("https://a.example",),
        ),
        side(
            checks=(CheckSpec("GET", "/a", 404), CheckSpec("GET", "/c", line=9), CheckSpec("GET", "/d")),
            cors=("*",),
        ),
    )

    assert rows(plan) == [
        ("~", "check", "GET /a", "status 200 → 404", ""),
        ("+", "check", "GET /d", "status 200", ""),
        ("-", "check", "GET /b", "", ""),
        ("~", "cors", "origins", "https://a.example → *", "widened"),
        ("=", "", "1 check", "unchanged", ""),
    ]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((), ("*",), [("+", "*", "")]),
        (("*",), (), [("-", "*", "")]),
        (("*",), ("https://a", "https://b"), [("~", "* → https://a, https://b", "with cookies")]),
        (("https://a",), ("*",), [("~", "https://a → *", "widened")]),
        (("https://a",), ("https://a", "https://b"), [("~", "https://a → https://a, https://b", "widened")]),
        (("https://a", "https://b"), ("https://b",), [("~", "https://a, https://b → https://b", "")]),
        (("https://a", "https://b"), ("https://b", "https://a"), []),
        (("https://a", "https://a"), ("https://a",), []),
    ],
)
def test_origins_are_widened_by_those_that_could_not_call_before(
    before: tuple[str, ...], after: tuple[str, ...], expected: list[tuple[str, str, str]]
) -> None:
    plan = make_plan(side(cors=before), side(cors=after))

    assert [(row.sign, row.text, row.warning) for row in plan.rows if row.kind == "cors"] == expected


OLD = {"flask": "3.0", "h11": "0.14", "httpx": "0.27"}
NEW = {"h11": "0.14", "h2": "4.1", "httpx": "0.28"}


def locked(lock: str | None, packages: Mapping[str, str], number: int = 1) -> Side:
    return replace(side(HELLO, numbers={"hello": number}), lock=lock, packages=packages)


def test_first_requirements_are_listed() -> None:
    plan = make_plan(locked(None, {}), locked("b", NEW, 2))

    assert rows(plan) == [
        ("~", "function", "hello", "v1→v2 requirements", ""),
        ("+", "image", "requirements", "3 packages: h11 0.14, h2 4.1, httpx 0.28", ""),
    ]


def test_of_requirements_that_change_the_versions_are_shown() -> None:
    plan = make_plan(locked("a", OLD), locked("b", NEW, 2))

    assert ("~", "image", "requirements", "httpx 0.27→0.28, + h2 4.1, - flask 3.0", "") in rows(plan)
    assert plan.summary() == ("hello v2", "~ image requirements")


def test_requirements_of_the_same_versions_and_other_files_are_told_apart() -> None:
    plan = make_plan(locked("a", OLD), locked("b", OLD, 2))

    assert ("~", "image", "requirements", "the same versions, other files", "") in rows(plan)


def test_a_long_list_of_packages_is_cut() -> None:
    many = {f"p{number:02}": "1" for number in range(40)}
    row = make_plan(locked(None, {}), locked("b", many, 2)).rows[1]

    assert row.text.startswith("40 packages: p00 1, p01 1, ")
    assert row.text.endswith(", p11 1, 28 more")


def test_requirements_that_go_and_those_that_stay() -> None:
    assert ("-", "image", "requirements", "3 packages", "") in rows(make_plan(locked("a", OLD), locked(None, {}, 2)))
    assert rows(make_plan(locked("a", OLD), locked("a", OLD))) == [
        ("=", "", "1 function, image", "unchanged, instances stay warm", "")
    ]


def test_going_back_says_what_stays() -> None:
    plan = make_plan(
        side(HELLO, USERS, numbers={"get_user": 12}, routes=(RouteSpec("GET", "/beta", "hello"),), release=43),
        side(HELLO, USERS, numbers={"get_user": 11}, release=41),
    )

    assert rows(plan) == [
        ("~", "function", "get_user", "v12→v11 code", ""),
        ("-", "route", "GET /beta", "hello", ""),
        ("=", "env", "", "secrets and data are not rolled back", ""),
        ("=", "", "1 function", "unchanged, instances stay warm", ""),
    ]
    assert (plan.release, plan.live) == (41, 43)


def test_a_plan_after_a_rollback_begins_with_what_it_brings_back() -> None:
    since = Since(41, "ana", "rollback", 2 * 3600 + 50, ("get_user v12", "+ route GET /beta"))

    plan = make_plan(side(HELLO, release=41), side(HELLO), since=since)

    assert plan.since == (
        "live is at deploy/41 since ana's rollback 2 h ago; this push also brings back: get_user v12, + route GET /beta"
    )
    assert str(replace(since, brings_back=())) == "live is at deploy/41 since ana's rollback 2 h ago"


def test_the_whole_repository_as_source_is_told_with_how_to_narrow_it() -> None:
    other = replace(HELLO, name="other")

    plan = make_plan(
        side(HELLO, other, USERS, release=1),
        side(
            HELLO,
            other,
            USERS,
            numbers={"hello": 2, "other": 2},
            codes={"hello": "n", "other": "n", "get_user": "code"},
        ),
    )

    assert plan.notes == (
        "source is the whole repository for hello, other: any change is a change of every function; to narrow it, "
        "name its folders in clowdy.yaml (source: api), or leave files out by .clowdyignore",
    )


def test_there_is_no_such_note_when_the_source_is_narrow_or_nothing_changed() -> None:
    other = replace(HELLO, name="other")

    unchanged = make_plan(side(HELLO, other, release=1), side(HELLO, other))
    narrow = make_plan(
        side(USERS, HELLO, release=1),
        side(USERS, HELLO, numbers={"get_user": 2}, codes={"get_user": "n", "hello": "code"}),
    )

    assert unchanged.notes == ()
    assert narrow.notes == ()


def test_a_cleared_pin_is_told() -> None:
    plan = make_plan(
        side(HELLO, numbers={"hello": 9}, pinned=("hello",), release=44), side(HELLO, numbers={"hello": 12})
    )

    assert plan.notes == ("pin cleared: hello was pinned to v9",)


def test_a_plan_survives_being_stored() -> None:
    plan = make_plan(side(HELLO, release=41), side(replace(HELLO, memory_bytes=1), numbers={"hello": 2}))

    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan
    with pytest.raises(ValueError, match="not a plan"):
        Plan.from_json({"commit": "x"})


def test_a_summary_is_a_few_words_of_each_change() -> None:
    plan = make_plan(
        side(HELLO, routes=(RouteSpec("GET", "/old", "hello"),), release=1),
        side(HELLO, USERS, numbers={"hello": 12}, routes=tuple(RouteSpec("GET", f"/{n}", "hello") for n in range(5))),
    )

    assert plan.summary(3) == ("hello v12", "+ function get_user", "+ route GET /0", "5 more")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (7200, "2 h ago"),
        (86400, "1 day ago"),
        (9e5, "10 days ago"),
    ],
)
def test_how_long_ago(seconds: float, said: str) -> None:
    assert ago(seconds) == said


def test_lines_are_counted_in_each_functions_code_alone() -> None:
    changes = {
        "api/users.py": LineCount(10, 2),
        "lib/db.py": LineCount(5, 0),
        "README.md": LineCount(99, 99),
    }

    counts = count_lines(changes, [HELLO, USERS], Ignore.parse(b"*.md"))

    assert counts == {"hello": LineCount(15, 2), "get_user": LineCount(10, 2)}
