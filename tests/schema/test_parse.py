"""A clowdy.yaml comes out as a manifest or as every problem with its place."""

from __future__ import annotations

import pytest

from clowdy.schema.manifest import Auth, CheckSpec, HandlerType, Manifest, Network, RouteSpec
from clowdy.schema.parse import Parsed, parse_manifest
from clowdy.schema.problems import Problem

MEBIBYTE = 1024 * 1024
MINIMAL = "functions: {hello: {}}\n"


def parse(text: str, project: str | None = None) -> Parsed:
    return parse_manifest(text.encode(), project=project)


def sound(text: str) -> Manifest:
    parsed = parse(text)
    assert parsed.problems == ()
    assert parsed.manifest is not None
    return parsed.manifest


def found(text: str) -> list[tuple[int, int, str]]:
    return [(problem.line, problem.column, problem.code) for problem in parse(text).problems]


def only(text: str) -> Problem:
    (problem,) = parse(text).problems
    return problem


def in_function(settings: str) -> str:
    return f"functions:\n  hello: {{{settings}}}\n"


def test_the_smallest_file_takes_every_default() -> None:
    hello = sound(MINIMAL).functions["hello"]
    assert (hello.path, hello.attribute, hello.type) == ("functions/hello.py", "handler", HandlerType.AUTO)
    assert (hello.sources, hello.network) == ((".",), Network.OFF)
    assert (hello.timeout_seconds, hello.memory_bytes, hello.cpu) == (30.0, 128 * MEBIBYTE, 0.5)
    assert (hello.concurrency, hello.parallel, hello.min_warm, hello.public) == (16, 1, 0, True)
    assert (dict(hello.env), hello.secrets, hello.schedules) == ({}, frozenset(), ())


def test_everything_that_this_version_can_do_is_read() -> None:
    manifest = sound(
        """\
# yaml-language-server: $schema=http://127.0.0.1:8000/schema/clowdy.schema.json
name: shop
description: The shop's API
functions:
  hello: {}
  get_user:
    description: One user
    handler: users.py:get
    type: handler
    source: [./api/, lib, api]
    network: false
    timeout: 500ms
    memory: 1.5GB
    cpu: 2
    concurrency: 8
    parallel: 1
    min_warm: 1
    env: {LOG_LEVEL: debug, STRIPE_KEY: none, TOKEN: {secret: true}}
    schedule: []
    public: false
routes:
  GET /users/:id/: get_user
  ANY /files/*path: hello
  post /: {function: hello, auth: none}
env:
  STAGE: prod
  TOKEN: plain
  STRIPE_KEY: {secret: true}
requirements: []
checks:
  - {request: GET /users/1?full=1, status: 404, json: {id: null}}
  - request: HEAD /users/1
"""
    )
    user = manifest.functions["get_user"]
    assert (manifest.name, manifest.description, list(manifest.functions)) == (
        "shop", "The shop's API", ["hello", "get_user"],
    )  # fmt: skip
    assert (user.path, user.file, user.attribute, user.sources) == ("api/users.py", "users.py", "get", ("api", "lib"))
    assert (user.type, user.timeout_seconds, user.memory_bytes) == (HandlerType.HANDLER, 0.5, 1536 * MEBIBYTE)
    assert (user.cpu, user.concurrency, user.min_warm, user.public) == (2.0, 8, 1, False)
    assert manifest.routes == (
        RouteSpec("GET", "/users/:id", "get_user"),
        RouteSpec("ANY", "/files/*path", "hello"),
        RouteSpec("POST", "/", "hello", Auth.NONE),
    )
    first, second = manifest.checks
    assert first == CheckSpec("GET", "/users/1?full=1", 404, {"id": None}, True, line=31, column=15)
    assert (second.method, second.status, second.has_json) == ("HEAD", 200, False)


def test_the_env_of_a_function_goes_over_the_projects_in_both_directions() -> None:
    manifest = sound(
        "env: {A: project, B: project, C: {secret: true}, D: {secret: true}}\n"
        "functions: {hello: {env: {B: own, C: own, A: {secret: true}}}, plain: {}}\n"
    )
    hello = manifest.functions["hello"]
    assert (dict(hello.env), hello.secrets) == ({"B": "own", "C": "own"}, frozenset({"A", "D"}))
    assert dict(manifest.functions["plain"].env) == {"A": "project", "B": "project"}
    assert manifest.secret_names == frozenset("ACD")


@pytest.mark.parametrize(
    "written",
    [
        "true",
        "True",
        "1.10",
        "0x1F",
        "007",
        "1_000",
        "1e3",
        "2026-01-01",
        "1:30",
        "yes",
        "off",
        ".nan",
        "-0",
        "+1",
        "9" * 4000,
    ],
)
def test_bare_values_of_env_are_the_text_that_is_written(written: str) -> None:
    assert sound(f"functions: {{hello: {{}}}}\nenv:\n  A: {written}\n").env["A"] == written


def test_quoted_and_block_values_of_env_are_text() -> None:
    env = sound(MINIMAL + "env:\n  A: ''\n  B: 'null'\n  C: |\n    one\n    two\n  D: \"a\\tb\"\n").env
    assert dict(env) == {"A": "", "B": "null", "C": "one\ntwo\n", "D": "a\tb"}


def test_yaml_that_a_json_writer_made_is_read() -> None:
    assert list(sound('{"functions": {"hello": {"timeout": 5}}, "routes": {"GET /": "hello"}}').functions) == ["hello"]


def test_windows_line_ends_and_a_byte_order_mark_move_no_position() -> None:
    parsed = parse_manifest(b"\xef\xbb\xbfnmae: x\r\nfunctions:\r\n  hello: {cpu: 99}\r\n")
    assert [(p.line, p.column, p.source) for p in parsed.problems] == [
        (1, 1, "nmae: x"), (3, 16, "  hello: {cpu: 99}"),
    ]  # fmt: skip


def test_columns_count_characters() -> None:
    text = "functions: {hello: {description: 'é😀', cpu: 99}}"
    problem = only(text)
    assert (problem.column, problem.length) == (text.index("99") + 1, 2)


# One row a rule: the file, where the problem stands, its code, and what its message or hint must say.
REFUSED = [
    # whole file
    ("", 1, 1, "empty", "functions: {hello: {}}"),
    ("# nothing\n\n", 1, 1, "empty", "functions: {hello: {}}"),
    ("null\n", 1, 1, "empty", "is empty"),
    ("- hello\n", 1, 1, "wrong-type", "a list"),
    ("hello\n", 1, 1, "wrong-type", "one text"),
    ("name: shop\n", 1, 1, "missing-key", "write functions: {hello: {}}"),
    ("functions: {}\n", 1, 1, "bad-value", "at least one function"),
    ("functions: [hello]\n", 1, 1, "wrong-type", "not a list"),
    ("functions:\n  hello:\n", 2, 3, "wrong-type", "write {}"),
    (MINIMAL + "---\nname: x\n", 2, 1, "documents", "one document"),
    # syntax
    ("functions:\n\thello: {}\n", 2, 1, "yaml", "use spaces"),
    ("functions: {hello: {}\n", 1, 12, "yaml", "not closed"),
    ("functions:\n  hello: {\n", 2, 10, "yaml", "{ is not closed"),
    ("functions: {hello: {}}\ncors: {origins: [\n", 2, 17, "yaml", "[ is not closed"),
    ("functions:\n  hello: {}\n   b: {}\n", 3, 4, "yaml", "indentation"),
    ("functions:\n  hello:\n    schedule: */5 * * * *\n", 3, 15, "yaml", "in quotes"),
    ("name: 'shop\n" + MINIMAL, 1, 7, "yaml", "not closed"),
    ("name: @shop\n", 1, 7, "yaml", "in quotes"),
    ("name: a: b\n", 1, 8, "yaml", "in quotes"),
    ("env: {A: \"\\ud800\"}\n", 1, 13, "yaml", "backslash"),
    ("%YAML 3.0\n---\n" + MINIMAL, 1, 1, "yaml", "%YAML"),
    (MINIMAL + "env: &e {A: b}\n", 2, 6, "anchor", "&e"),
    (MINIMAL + "name: !!str shop\n", 2, 7, "tag", "!!str"),
    (MINIMAL + "? [a]\n: b\n", 2, 3, "wrong-type", "a key must be text"),
    (MINIMAL + "<<: {name: x}\n", 2, 1, "unknown-key", '"<<"'),
    # keys
    (MINIMAL + "nmae: shop\n", 2, 1, "unknown-key", 'did you mean "name"?'),
    (MINIMAL + "colour: red\n", 2, 1, "unknown-key", "known here: name,"),
    (MINIMAL + "timeout: 10\n", 2, 1, "unknown-key", "belongs into a function"),
    (in_function("routes: {}"), 2, 11, "unknown-key", "belongs to the top"),
    (in_function("memroy: 1GB"), 2, 11, "unknown-key", 'did you mean "memory"?'),
    (MINIMAL + "description: a\ndescription: b\n", 3, 1, "duplicate-key", "line 2"),
    ("functions:\n  hello: {}\n  hello: {}\n", 3, 3, "duplicate-key", "line 2"),
    (in_function("cpu: 1, cpu: 1"), 2, 19, "duplicate-key", '"cpu"'),
    # names
    ("functions:\n  1st: {}\n", 2, 3, "bad-name", "function name"),
    ("functions:\n  a b: {}\n", 2, 3, "bad-name", "function name"),
    ("functions:\n  \"a\\n\": {}\n", 2, 3, "bad-name", "function name"),
    (f"functions:\n  {'a' * 64}: {{}}\n", 2, 3, "bad-name", "63"),
    (MINIMAL + "name: Shop\n", 2, 7, "bad-value", "project name"),
    (MINIMAL + "name: s\n", 2, 7, "bad-value", "2 to 40"),
    (MINIMAL + "name: \"shop\\n\"\n", 2, 7, "bad-value", "project name"),
    (MINIMAL + "name: 5\n", 2, 7, "wrong-type", "project name"),
    (MINIMAL + "description: 1.0\n", 2, 14, "wrong-type", 'put it in quotes: "1.0"'),
    # functions
    (in_function("timeout: 0"), 2, 20, "bad-value", "at most 900"),
    (in_function("timeout: 900.5"), 2, 20, "bad-value", "at most 900"),
    (in_function("timeout: 16m"), 2, 20, "bad-value", "at most 900"),
    (in_function("timeout: 901s"), 2, 20, "bad-value", "at most 900"),
    (in_function("timeout: .inf"), 2, 20, "bad-value", "at most 900"),
    (in_function("timeout: 1e999"), 2, 20, "bad-value", "at most 900"),
    (in_function("timeout: '10'"), 2, 20, "bad-value", "without quotes"),
    ("functions:\n  schedule: {memory: 5TB}\n", 2, 22, "bad-value", "256MB"),
    (MINIMAL + "routes:\n  GET /: he lo\n", 3, 10, "route-function", "he lo is not a function"),
    (in_function("timeout: true"), 2, 20, "wrong-type", "seconds"),
    (in_function("timeout: [1]"), 2, 11, "wrong-type", "not a list"),
    (in_function("memory: 31MB"), 2, 19, "bad-value", "32MB to 4GB"),
    (in_function("memory: 4.1GB"), 2, 19, "bad-value", "32MB to 4GB"),
    (in_function("memory: 256"), 2, 19, "wrong-type", 'did you mean "256MB"?'),
    (in_function("memory: lots"), 2, 19, "bad-value", "256MB"),
    (in_function("cpu: 0.04"), 2, 16, "bad-value", "0.05 to 16"),
    (in_function("cpu: '1'"), 2, 16, "wrong-type", "without quotes"),
    (in_function("concurrency: 0"), 2, 24, "bad-value", "1 to 1000"),
    (in_function("concurrency: 1001"), 2, 24, "bad-value", "1 to 1000"),
    (in_function("concurrency: 1.5"), 2, 24, "wrong-type", "whole number"),
    (in_function("min_warm: -1"), 2, 21, "bad-value", "0"),
    (in_function("min_warm: 17"), 2, 21, "bad-value", "concurrency of 16"),
    (in_function("parallel: 0"), 2, 21, "bad-value", "1 to 100"),
    (in_function("public: 'true'"), 2, 19, "wrong-type", "without quotes"),
    (in_function("network: no"), 2, 20, "bad-value", "did you mean false?"),
    (in_function("network: lan"), 2, 20, "bad-value", "false, true or database"),
    (in_function("type: asgl"), 2, 17, "bad-value", 'did you mean "asgi"?'),
    (in_function("handler: 5"), 2, 20, "wrong-type", "FILE:ATTRIBUTE"),
    (in_function("handler: api/users.py"), 2, 20, "handler", 'did you mean "api/users.py:handler"?'),
    (in_function("source: ../shared"), 2, 19, "source", "leads out"),
    (in_function("source: [api, /etc]"), 2, 25, "source", "absolute"),
    (in_function("source: []"), 2, 11, "bad-value", "a list of folders"),
    (in_function("source: ''"), 2, 19, "bad-value", "a folder"),
    # env
    (MINIMAL + "env:\n  A: null\n", 3, 6, "wrong-type", "not nothing"),
    (MINIMAL + "env:\n  A:\n", 3, 3, "wrong-type", "not nothing"),
    (MINIMAL + "env:\n  A: [x]\n", 3, 3, "wrong-type", "not a list"),
    (MINIMAL + "env:\n  A: {}\n", 3, 3, "bad-value", "{secret: true}"),
    (MINIMAL + "env:\n  A: {secret: false}\n", 3, 15, "bad-value", "must be true"),
    (MINIMAL + "env:\n  A-B: x\n", 3, 3, "env-name", "A-B"),
    (MINIMAL + "env:\n  PATH: x\n", 3, 3, "env-name", "reserved"),
    (MINIMAL + "env:\n  DATABASE_URL: {secret: true}\n", 3, 3, "env-name", "reserved"),
    (in_function("env: {PYTHONPATH: x}"), 2, 17, "env-name", "reserved"),
    (MINIMAL + "env:\n  A: \"a\\0b\"\n", 3, 6, "env-value", "NUL"),
    (MINIMAL + f"env:\n  A: {'x' * 4097}\n", 3, 6, "env-size", "4,097 bytes"),
    (MINIMAL + "env:\n" + "".join(f"  A{n}: {'x' * 4000}\n" for n in range(17)), 2, 1, "env-size", "64 KB"),
    # routes
    (MINIMAL + "routes:\n  GET /: helo\n", 3, 10, "route-function", 'did you mean "hello"?'),
    (MINIMAL + "routes:\n  GET /: zzz\n", 3, 10, "route-function", "the functions are: hello"),
    (MINIMAL + "routes:\n  GET /: {function: zzz}\n", 3, 21, "route-function", "zzz"),
    (MINIMAL + "env:\n  A: {secrets: true}\n", 3, 7, "unknown-key", 'did you mean "secret"?'),
    (MINIMAL + "routes:\n  GET /: {functoin: hello}\n", 3, 11, "unknown-key", 'did you mean "function"?'),
    (MINIMAL + "routes:\n  GET /: {auth: none}\n", 3, 3, "missing-key", "has no function"),
    (MINIMAL + "routes:\n  GET /:\n", 3, 3, "wrong-type", "a function's name"),
    (MINIMAL + "routes:\n  GET /: [hello]\n", 3, 3, "wrong-type", "a function's name"),
    (MINIMAL + "routes:\n  GET /: {function: hello, auth: basic}\n", 3, 34, "bad-value", "none, key or jwt"),
    (MINIMAL + "routes:\n  GET /a: hello\n  GET /a/: hello\n", 4, 3, "route-duplicate", "GET /a is defined twice"),
    (MINIMAL + "routes:\n  GET /a: hello\n  GET /a: hello\n", 4, 3, "route-duplicate", "line 3"),
    (MINIMAL + "routes:\n  GET /:a: hello\n  GET /:b: hello\n", 4, 3, "route-duplicate", "the same route as GET /:a"),
    (MINIMAL + "routes:\n  GET /*a: hello\n  get /*b: hello\n", 4, 3, "route-duplicate", "GET /*b is defined twice"),
    (MINIMAL + "routes:\n  FETCH /: hello\n", 3, 3, "route-method", "FETCH"),
    (MINIMAL + "routes:\n  GET /a//b: hello\n", 3, 3, "route-path", "empty segment"),
    (MINIMAL + "routes: hello\n", 2, 9, "wrong-type", "a mapping of routes"),
    # checks
    (MINIMAL + "checks: {request: GET /}\n", 2, 1, "wrong-type", "a list"),
    (MINIMAL + "checks:\n  - {status: 200}\n", 3, 5, "missing-key", "request"),
    (MINIMAL + "checks:\n  - {request: GET /}\n", 3, 15, "check-route", "no route takes GET /"),
    (MINIMAL + "routes: {GET /a: hello}\nchecks:\n  - {request: POST /a}\n", 4, 15, "check-route", "POST /a"),
    (MINIMAL + "routes: {GET /: hello}\nchecks:\n  - {request: ANY /}\n", 4, 15, "check-request", "ANY"),
    (MINIMAL + "routes: {GET /: hello}\nchecks:\n  - {request: GET /, status: 99}\n", 4, 30, "bad-value", "200 to 599"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "code", "words"), REFUSED)
def test_a_problem_has_its_place_its_code_and_says_what_to_do(
    text: str, line: int, column: int, code: str, words: str
) -> None:
    problem = only(text)
    assert (problem.file, problem.line, problem.column, problem.code) == ("clowdy.yaml", line, column, code)
    assert words in f"{problem.message}: {problem.hint}"
    assert "\n" not in problem.message + problem.hint
    assert not problem.message.endswith(".")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (MINIMAL + "name: 5\n", ""),
        (MINIMAL + "name: true\n", 'put it in quotes: "true"'),
        (MINIMAL + "description: 1.0\n", 'put it in quotes: "1.0"'),
        ("functions:\n", "give it a value"),
        (MINIMAL + "env:\n", "write {} or leave it out"),
        (MINIMAL + "description:\n", "give it a value or leave it out"),
        (MINIMAL + "cors: no\n", ""),
        (MINIMAL + "cors: on\n", "did you mean true?"),
        (MINIMAL + "cors: 'true'\n", "write true without quotes"),
        (MINIMAL + "cors: 'false'\n", ""),
        (MINIMAL + "routes:\n  GET /: 5\n", ""),
        (MINIMAL + "routes:\n  GET /: {function: 5}\n", ""),
        (MINIMAL + "env: {A: {secret: 'yes'}}\n", "did you mean true?"),
        (in_function("timeout: true"), ""),
        (in_function("timeout: '10'"), "write 10 without quotes"),
        (in_function("timeout: '1000'"), ""),
        (in_function("memory: 256"), 'did you mean "256MB"?'),
        (in_function("memory: 5"), ""),
        (in_function("memory: 268435456"), ""),
        (in_function("memory: true"), ""),
        (in_function("cpu: '1'"), "write 1 without quotes"),
        (in_function("cpu: '99'"), ""),
        (in_function("cpu: 'one'"), ""),
        (in_function("public: 'FALSE'"), "write FALSE without quotes"),
        (in_function("public: off"), "did you mean false?"),
        (in_function("handler: 5"), ""),
        (in_function("source: 5"), 'put it in quotes: "5"'),
    ],
)
def test_a_hint_is_given_only_where_what_it_says_is_accepted(text: str, hint: str) -> None:
    assert only(text).hint == hint


def test_a_number_is_not_to_be_made_a_cron_expression_by_quotes() -> None:
    for text in ("schedule: 5", "schedule: [5]"):
        assert "put it in quotes" not in " ".join(problem.hint for problem in parse(in_function(text)).problems)


NOT_AVAILABLE = [
    *(
        (MINIMAL + f"{key}: {{a: b}}\n", 2, 1)
        for key in ("migrations", "environments", "preview", "domains", "jwt", "verify")
    ),
    *(
        (in_function(f"{key}: 3"), 2, 11)
        for key in ("rate", "retries", "max_age", "timezone", "python", "deprecated")
    ),
    (in_function("network: [db.example]"), 2, 11),
    (MINIMAL + "database: postgres\n", 2, 1),
    (in_function("schedule: '*/5 * * * *'"), 2, 11),
    (in_function("schedule: ['0 6 * * 1-5', '0 9 * * SAT,SUN']"), 2, 11),
    (MINIMAL + "routes:\n  GET /: {function: hello, auth: key}\n", 3, 34),
    (MINIMAL + "routes:\n  GET /: {function: hello, auth: jwt}\n", 3, 34),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column"), NOT_AVAILABLE)
def test_what_is_not_built_is_refused_in_these_words_and_never_ignored(text: str, line: int, column: int) -> None:
    problem = only(text)
    assert (problem.line, problem.column, problem.code) == (line, column, "not-available")
    assert "not available in this version" in problem.message


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (in_function("schedule: '61 * * * *'"), {"not-available", "schedule"}),
        (in_function("schedule: ['* * * * *', '@daily']"), {"not-available", "schedule"}),
        (in_function("schedule: 5"), {"not-available", "wrong-type"}),
        (in_function("network: database"), {"not-available", "network-database"}),
        (MINIMAL + "database: mysql\n", {"not-available", "bad-value"}),
        (MINIMAL + "cors: false\n", {"bad-value"}),
        (MINIMAL + "cors: {origins: ['*']}\n", {"bad-value"}),
        (MINIMAL + "requirements: poetry.lock\n", {"bad-value"}),
        (MINIMAL + "requirements: ../requirements.txt\n", {"requirements"}),
        (MINIMAL + "requirements: ['-r other.txt']\n", {"requirements"}),
    ],
)
def test_what_is_not_built_is_judged_all_the_same(text: str, codes: set[str]) -> None:
    assert {problem.code for problem in parse(text).problems} == codes


def test_what_is_not_built_stands_in_the_manifest_as_well() -> None:
    manifest = parse(
        "database: postgres\ncors: true\nrequirements: [httpx]\n"
        "functions: {hello: {network: database, type: asgi, parallel: 4, schedule: '0  0 * * *'}}\n"
        "routes: {GET /: {function: hello, auth: jwt}}\n"
    ).manifest
    assert manifest is not None
    hello = manifest.functions["hello"]
    assert (hello.network, hello.type, hello.parallel) == (Network.DATABASE, HandlerType.ASGI, 4)
    assert (hello.schedules, hello.public) == (("0 0 * * *",), False)
    assert (manifest.database, manifest.cors, manifest.requirements) == ("postgres", ("*",), ("httpx",))
    assert manifest.routes[0].auth is Auth.JWT


def test_public_that_is_written_wins_over_auth() -> None:
    manifest = parse("functions: {hello: {public: true}}\nroutes: {GET /: {function: hello, auth: key}}\n").manifest
    assert manifest is not None
    assert manifest.functions["hello"].public


def test_every_problem_is_reported_at_once_in_the_order_of_the_file() -> None:
    text = """\
name: Shop
functions:
  hello: {memroy: 1GB, timeout: 1000, env: {PATH: x}}
  other: {handler: nowhere}
routes:
  GET /users/:id: hello
  GET /users/:name: helo
nothing: here
"""
    assert found(text) == [
        (1, 7, "bad-value"),
        (3, 11, "unknown-key"),
        (3, 33, "bad-value"),
        (3, 45, "env-name"),
        (4, 20, "handler"),
        (7, 3, "route-duplicate"),
        (7, 21, "route-function"),
        (8, 1, "unknown-key"),
    ]


def test_a_duplicate_route_says_it_in_the_words_of_the_refusal() -> None:
    problem = only(MINIMAL + "routes:\n  GET /users/:id: hello\n  GET /users/:id: hello\n")
    assert problem.message == "GET /users/:id is defined twice"
    assert problem.hint == "the first is at line 3: remove one of them"


def test_the_functions_of_a_duplicate_route_are_judged_as_well() -> None:
    text = MINIMAL + "routes:\n  GET /a: hello\n  GET /a: nosuch\n  GET /a: {function: neither}\n"
    assert found(text) == [
        (4, 3, "route-duplicate"),
        (4, 11, "route-function"),
        (5, 3, "route-duplicate"),
        (5, 22, "route-function"),
    ]


def test_several_anchors_and_aliases_are_all_named_and_the_rest_is_judged() -> None:
    text = "functions: {a: &x {}, b: *x}\nenv: {A: null}\n"
    assert [code for _, _, code in found(text)] == ["anchor", "anchor", "wrong-type"]


def test_an_anchor_before_a_syntax_error_is_named_as_well() -> None:
    assert [code for _, _, code in found("name: &n shop\nfunctions: {\n")] == ["anchor", "yaml"]


def test_a_secret_that_is_not_one_is_not_declared() -> None:
    manifest = parse(MINIMAL + "env: {A: {secret: false}, B: {secret: true}, PATH: {secret: true}}\n").manifest
    assert manifest is not None
    assert manifest.secrets == frozenset("B")


def test_a_name_that_is_another_projects_is_refused_and_its_own_taken() -> None:
    (problem,) = parse(MINIMAL + "name: shop\n", project="store").problems
    assert (problem.line, problem.column, problem.code) == (2, 7, "name-mismatch")
    assert "store" in problem.message
    assert parse(MINIMAL + "name: store\n", project="store").problems == ()


def test_a_manifest_comes_with_problems_elsewhere_and_leaves_out_functions_without_code() -> None:
    parsed = parse(
        "functions: {good: {cpu: 99}, bad: {handler: x}, worse: {source: ..}, not: 1}\n"
        "routes: {GET /a: good, GET /b: bad}\nnope: 1\n"
    )
    assert parsed.manifest is not None
    assert list(parsed.manifest.functions) == ["good"]
    assert parsed.manifest.functions["good"].cpu == 0.5
    assert [str(route) for route in parsed.manifest.routes] == ["GET /a"]


def test_a_check_is_not_blamed_for_a_route_that_could_not_be_read() -> None:
    text = MINIMAL + "routes: {GET /{id}: hello}\nchecks: [{request: GET /1}]\n"
    text = text.replace("GET /{id}", "'GET /{id}'")
    assert [code for _, _, code in found(text)] == ["route-path"]


def test_the_source_line_and_the_caret_mark_what_is_meant() -> None:
    problem = only("functions:\n  hello:\n    timeout: 1000   # too long\n")
    assert problem.source == "    timeout: 1000   # too long"
    assert problem.source[problem.column - 1 :][: problem.length] == "1000"


def test_strangers_text_is_shown_without_acting_on_a_terminal() -> None:
    problem = only(MINIMAL + 'routes:\n  "GET /\\e[31m\\u202e": hello\n')
    assert "\x1b" not in problem.message
    assert "\u202e" not in problem.message
    problem = only(MINIMAL + "name: 'a\u202eb'\n")
    assert "\u202e" not in problem.message + problem.source


def test_a_very_long_line_is_shown_in_part() -> None:
    text = "functions: {hello: {}}\nenv: {A: '" + "x" * 4000 + "', PATH: x}\n"
    problem = only(text)
    assert (problem.line, problem.column, problem.code) == (2, 4014, "env-name")
    assert problem.source[problem.column - problem.skipped - 1 :] == "PATH: x}"
    assert len(problem.source) < 500
    near = only("functions: {hello: {cpu: 99}} #" + "x" * 4000)
    assert len(near.source) == 500


def test_marks_place_what_later_checks_find() -> None:
    marks = parse("functions:\n  hello:\n    source: [api, lib]\n    env: {A: {secret: true}}\n").marks
    assert place(marks.problem(("functions", "hello", "source", 1), "x", "m")) == (3, 19, 3)
    assert place(marks.problem(("functions", "hello", "source"), "x", "m")) == (3, 5, 6)
    assert place(marks.problem(("functions", "hello", "handler"), "x", "m")) == (2, 3, 5)
    assert place(marks.problem(("functions", "hello", "env", "A"), "x", "m")) == (4, 11, 1)
    assert place(marks.problem(("functions", "hello", "env", "A", "secret"), "x", "m")) == (4, 23, 4)
    assert place(marks.problem(("functions", "hello", "env", "A", "secret"), "x", "m", key=True)) == (4, 15, 6)
    whole = marks.problem((), "x", "m")
    assert (place(whole), whole.source) == ((1, 1, 1), "")
    assert place(marks.problem(("checks", 0), "x", "m")) == (1, 1, 1)


def place(problem: Problem) -> tuple[int, int, int]:
    return problem.line, problem.column, problem.length
