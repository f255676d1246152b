"""What the pusher reads, to the letter."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from clowdy.hooks.plan import Plan, Row
from clowdy.hooks.report import Reporter, Switched, plan_text, problem_text, short_reason
from clowdy.schema.problems import Problem

DUPLICATE = Problem(
    "clowdy.yaml",
    14,
    3,
    "route-duplicate",
    "GET /users/:user is the same route as GET /users/:id, line 9",
    source="  GET /users/:user: get_user",
    length=16,
)
MISSPELLED = Problem("clowdy.yaml", 22, 5, "unknown-key", 'unknown key "memroy"', 'did you mean "memory"?')
BACK = "back: clowdy rollback, or git fetch clowdy && git push clowdy deploy/43:live"


def test_a_problem_shows_its_line_and_a_caret() -> None:
    assert problem_text(DUPLICATE) == [
        "clowdy.yaml:14:3: error[route-duplicate] GET /users/:user is the same route as GET /users/:id, line 9",
        "   14 |   GET /users/:user: get_user",
        "      |   ^^^^^^^^^^^^^^^^",
    ]


def test_a_hint_follows_the_message_and_a_path_has_no_source_line() -> None:
    assert problem_text(MISSPELLED) == [
        'clowdy.yaml:22:5: error[unknown-key] unknown key "memroy": did you mean "memory"?'
    ]


@pytest.mark.parametrize(
    ("source", "column", "length", "under"),
    [
        ("日本: x", 5, 1, "      ^"),
        ("日本: x", 1, 2, "^^^^"),
        ("e\u0301: x", 5, 1, "   ^"),
        ("\tname: x", 2, 4, " ^^^^"),
        ("abc", 4, 1, "   ^"),
        ("abc", 9, 5, "   ^"),
    ],
)
def test_the_caret_stands_under_what_it_means(source: str, column: int, length: int, under: str) -> None:
    problem = Problem("a.py", 7, column, "syntax", "x", source=source, length=length)

    assert problem_text(problem)[2] == f"      | {under}"


def test_a_long_line_is_cut_around_the_caret() -> None:
    problem = Problem("a.py", 7, 301, "syntax", "x", source="a" * 300 + "?" + "b" * 300)

    _, shown, caret = problem_text(problem)

    assert len(shown) < 130
    assert shown[caret.index("^")] == "?"
    assert shown.startswith("    7 | …")
    assert shown.endswith("…")


def test_the_caret_stands_right_in_a_line_of_which_a_part_is_kept() -> None:
    problem = Problem("a.py", 7, 5001, "syntax", "x", source="a" * 250 + "?" + "b" * 9, skipped=4750)

    assert problem_text(problem)[1:] == [
        "    7 | …" + "a" * 40 + "?" + "b" * 9,
        "      |  " + " " * 40 + "^",
    ]


def test_a_cut_is_seen_where_what_is_kept_takes_no_columns() -> None:
    problem = Problem("a.py", 7, 5001, "syntax", "x", source="\u0301" * 250 + "?", skipped=4750)

    _, shown, caret = problem_text(problem)
    assert shown.startswith("    7 | …\u0301")
    assert caret == "      |  ^"


def test_a_blank_line_is_shown_as_well() -> None:
    assert problem_text(Problem("a.py", 7, 1, "syntax", "x", source=" "))[1:] == ["    7 |", "      | ^"]


def test_nothing_that_a_stranger_wrote_reaches_the_terminal_as_a_command() -> None:
    evil = "\x1b]0;x\x07\u202e\r"
    problem = Problem(f"a{evil}.py", 1, 1, "syntax", f"m{evil}", f"h{evil}", f"s{evil}")
    plan = Plan("c" * 40, (Row("+", "route", f"GET /{evil}", evil, evil),), since=evil, notes=(evil,))
    switched = Switched(1, "c" * 40, 1.0)
    texts: list[str] = [short_reason([problem])]
    for as_json in (False, True):
        reporter = Reporter(as_json=as_json)
        texts += reporter.problems([problem], None) + reporter.warnings(f"b{evil}", [problem])
        texts += reporter.plan(plan) + reporter.progress(evil, 1.0) + reporter.output(evil, evil + "\n" + evil)
        texts += reporter.refused(evil, 3) + reporter.switched(switched) + reporter.done(switched, [evil], 1.0)

    for text in texts:
        assert not set(text) & set("\x1b\x07\u202e\r\n"), text
        assert "\\u" not in text


def test_the_reason_in_gits_own_line_is_the_first_problem() -> None:
    twice = Problem("clowdy.yaml", 14, 11, "route-duplicate", "GET /users/:id is defined twice")

    assert short_reason([twice]) == "clowdy.yaml:14:11 GET /users/:id is defined twice"
    assert short_reason([twice] * 6) == "clowdy.yaml:14:11 GET /users/:id is defined twice (+5 more)"
    assert short_reason([]) == "refused"


def test_a_long_reason_keeps_the_number_of_the_others() -> None:
    reason = short_reason([Problem("clowdy.yaml", 1, 1, "x", "y" * 500)] * 3)

    assert len(reason) == 200
    assert reason.endswith("y… (+2 more)")


def test_problems_end_with_what_keeps_serving() -> None:
    reporter = Reporter()

    assert reporter.problems([MISSPELLED, MISSPELLED], 43)[-1] == (
        "2 problems, nothing was deployed. live stays at deploy/43."
    )
    assert reporter.problems([MISSPELLED], None)[-1] == "1 problem, nothing was deployed. nothing is live yet."


def test_thousands_of_problems_are_counted_and_not_all_printed() -> None:
    lines = Reporter().problems([MISSPELLED] * 1700, 1)

    assert lines[-2:] == ["… and 1,200 more", "1,700 problems, nothing was deployed. live stays at deploy/1."]
    assert len(lines) == 502


def test_the_plan_of_a_push() -> None:
    plan = Plan(
        "e81d0b3" + "0" * 33,
        (
            Row("~", "function", "checkout", "v8→v9 code +12 −3, memory 128→256 MB"),
            Row("+", "route", "POST /refund", "refund"),
            Row("~", "network", "checkout", "false → true", "widened"),
            Row("=", "", "8 functions, 10 routes", "unchanged, instances stay warm"),
        ),
        live=43,
        live_commit="9c1f2aa" + "0" * 33,
        notes=("pin cleared: hello was pinned to v9",),
    )

    assert plan_text(plan) == [
        "Plan for e81d0b3 (live is deploy/43, 9c1f2aa)",
        " ~ function checkout      v8→v9 code +12 −3, memory 128→256 MB",
        " + route    POST /refund  refund",
        " ~ network  checkout      false → true   ⚠ widened",
        " =          8 functions, 10 routes  unchanged, instances stay warm",
        "pin cleared: hello was pinned to v9",
    ]


def test_the_plan_of_a_first_push_and_of_one_after_a_rollback() -> None:
    first = Plan("e81d0b3" + "0" * 33, (Row("+", "function", "hello", "v1, functions/hello.py:handler"),))
    after = Plan(
        "e81d0b3", (), live=41, live_commit="4e07b12", since="live is at deploy/41 since ana's rollback 2 h ago"
    )

    assert plan_text(first) == [
        "Plan for e81d0b3 (nothing is live yet)",
        " + function hello  v1, functions/hello.py:handler",
    ]
    assert plan_text(after) == [
        "live is at deploy/41 since ana's rollback 2 h ago",
        "Plan for e81d0b3 (live is deploy/41, 4e07b12)",
    ]


def test_the_plan_of_a_rollback() -> None:
    plan = Plan(
        "4e07b12",
        (
            Row("~", "function", "get_user", "v12→v11 code"),
            Row("-", "route", "GET /beta", "hello"),
            Row("=", "env", "", "secrets and data are not rolled back"),
            Row("=", "", "1 function", "unchanged, instances stay warm"),
        ),
        live=43,
        live_commit="9c1f2aa",
        release=41,
    )

    assert plan_text(plan) == [
        "live: deploy/43 (9c1f2aa) → deploy/41 (4e07b12)   no build needed",
        " ~ function get_user   v12→v11 code",
        " - route    GET /beta  hello",
        " = env                 secrets and data are not rolled back",
        " =          1 function  unchanged, instances stay warm",
    ]
    building = plan_text(replace(plan, builds=True))
    assert building[0] == "live: deploy/43 (9c1f2aa) → deploy/41 (4e07b12)   its requirements are installed first"


def test_the_switch_says_its_time_and_what_served_before() -> None:
    reporter = Reporter()

    assert reporter.switched(Switched(41, "4e07b12", 41.4, 43, "9c1f2aa" + "0" * 33, 3)) == [
        "switched to deploy/41 in 41 ms · served before: deploy/43 (9c1f2aa) · 3 in-flight requests finish on deploy/43"
    ]
    assert reporter.switched(Switched(44, "4e07b12", 0.6, 43, "9c1f2aa", 1)) == [
        "switched to deploy/44 in 1 ms · served before: deploy/43 (9c1f2aa) · 1 in-flight request finishes on deploy/43"
    ]
    assert reporter.switched(Switched(1, "4e07b12", 12.0)) == ["switched to deploy/1 in 12 ms · nothing served before"]


def test_the_last_words_say_where_it_answers_and_how_to_go_back() -> None:
    urls = ["http://127.0.0.1:8000/api/gateway/shop/", "http://shop.localhost:8000/"]

    assert Reporter().done(Switched(44, "e81d0b3" + "0" * 33, 41.0, 43, "9c1f2aa"), urls, 0.42) == [
        "deploy/44 is live (e81d0b3), 0.4 s",
        "  http://127.0.0.1:8000/api/gateway/shop/",
        "  http://shop.localhost:8000/",
        BACK,
    ]
    assert Reporter().done(Switched(1, "e81d0b3", 41.0), [], 2.0) == ["deploy/1 is live (e81d0b3), 2.0 s"]
    assert Reporter().done(Switched(1, "e81d0b3", 4.0), [], 0.028) == ["deploy/1 is live (e81d0b3), 28 ms"]


def test_progress_output_warnings_and_ends() -> None:
    reporter = Reporter()

    assert reporter.progress("hello v3 ready in 22 ms", 1.447) == ["  1.45 s  hello v3 ready in 22 ms"]
    assert reporter.progress("waiting for ana") == ["waiting for ana"]
    assert reporter.output("hello", "one\n\ntwo\n") == ["  hello | one", "  hello |", "  hello | two"]
    assert reporter.planned() == ["plan only, nothing changed"]
    assert reporter.refused("cancelled by ana", 3) == ["cancelled by ana"]
    assert reporter.warnings("feature", []) == []
    assert reporter.warnings("feature", [MISSPELLED]) == [
        'clowdy.yaml:22:5: warning[unknown-key] unknown key "memroy": did you mean "memory"?',
        "1 warning: feature is stored; a push of it to the deploy branch would be refused",
    ]


def test_as_json_every_line_is_one_object_with_a_type() -> None:
    reporter = Reporter(as_json=True)
    plan = Plan("c" * 40, (Row("+", "route", "GET /", "hello"),), live=43, live_commit="9c1f2aa")
    switched = Switched(44, "c" * 40, 41.0, 43, "9" * 40, 2)

    lines = [
        *reporter.plan(plan),
        *reporter.progress("starting", 0.25),
        *reporter.output("hello", "printed"),
        *reporter.problems([DUPLICATE], 43),
        *reporter.warnings("feature", [MISSPELLED]),
        *reporter.switched(switched),
        *reporter.done(switched, ["http://a/"], 1.5),
        *reporter.planned(),
        *reporter.refused("cancelled by ana", None),
    ]

    assert [json.loads(line) for line in lines] == [
        {"type": "plan", **plan.as_json()},
        {"type": "progress", "text": "starting", "seconds": 0.25},
        {"type": "progress", "text": "printed", "source": "hello"},
        {"type": "problem", "severity": "error", **DUPLICATE.as_json()},
        {
            "type": "done",
            "ok": False,
            "problems": 1,
            "live": "deploy/43",
            "text": "1 problem, nothing was deployed. live stays at deploy/43.",
        },
        {"type": "problem", "severity": "warning", "branch": "feature", **MISSPELLED.as_json()},
        {
            "type": "switched",
            "release": 44,
            "tag": "deploy/44",
            "commit": "c" * 40,
            "before": "deploy/43",
            "before_commit": "9" * 40,
            "milliseconds": 41.0,
            "in_flight": 2,
        },
        {
            "type": "done",
            "ok": True,
            "live": "deploy/44",
            "urls": ["http://a/"],
            "back": ["clowdy rollback", "git fetch clowdy && git push clowdy deploy/43:live"],
            "seconds": 1.5,
        },
        {"type": "done", "ok": True, "text": "plan only, nothing changed"},
        {"type": "done", "ok": False, "problems": 0, "live": None, "text": "cancelled by ana"},
    ]
