"""What is wrong with a pushed tree, in the exact words that its author reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from clowdy.hooks.check import Settings, in_order, judge, judge_now
from clowdy.hooks.report import problem_text
from clowdy.hooks.syntax import FILE_BYTES
from clowdy.hooks.tree import Kind
from clowdy.schema.problems import Problem

HANDLER = "def handler(event):\n    return {}\n"
MEGABYTE = 1024 * 1024


def first_lines(problems: Sequence[Problem]) -> list[str]:
    return [problem_text(problem)[0] for problem in problems]


async def test_a_good_tree_has_no_problems(judge_files: Any) -> None:
    judgement = await judge_files({"clowdy.yaml": "functions: {hello: {}}\n", "functions/hello.py": HANDLER})

    assert judgement.problems == ()
    assert list(judgement.manifest.functions) == ["hello"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.py": ""}, "clowdy.yaml is missing: write at least: functions: {hello: {}}"),
        ({"clowdy.yml": ""}, "clowdy.yaml is missing, but clowdy.yml is here: rename it to clowdy.yaml"),
        ({"clowdy.yml": Kind.SYMLINK}, "clowdy.yaml is missing: write at least: functions: {hello: {}}"),
        ({"clowdy.yaml": Kind.SYMLINK}, "clowdy.yaml is a symlink: make it an ordinary file"),
        ({"clowdy.yaml": Kind.SUBMODULE}, "clowdy.yaml is a submodule: make it an ordinary file"),
        ({"clowdy.yaml/a": ""}, "clowdy.yaml is a folder: make it an ordinary file"),
    ],
)
async def test_without_a_readable_manifest_it_says_what_to_write(judge_files: Any, files: Any, said: str) -> None:
    judgement = await judge_files(files)

    assert first_lines(judgement.problems) == [f"clowdy.yaml:1:1: error[manifest] {said}"]
    assert judgement.manifest is None


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# nothing yet\n", b"---\n", b"\xef\xbb\xbf"])
async def test_an_empty_manifest_is_a_problem_at_its_first_line(judge_files: Any, content: bytes) -> None:
    judgement = await judge_files({"clowdy.yaml": content})

    assert [(problem.file, problem.line, problem.column) for problem in judgement.problems] == [("clowdy.yaml", 1, 1)]
    assert judgement.problems[0].message == "clowdy.yaml is empty"


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (300 * 1024, "clowdy.yaml has 300 KB, it may have 256 KB"),
        (256 * 1024 + 1, "clowdy.yaml has 262,145 bytes, it may have 262,144 (256 KB)"),
    ],
)
async def test_a_manifest_over_its_limit_is_not_read(judge_files: Any, size: int, said: str) -> None:
    judgement = await judge_files({"clowdy.yaml": b"#" * size})

    assert first_lines(judgement.problems) == [f"clowdy.yaml:1:1: error[file-size] {said}: make it smaller"]


async def test_every_problem_is_reported_at_once_those_of_the_manifest_first(judge_files: Any) -> None:
    judgement = await judge_files(
        {
            "clowdy.yaml": (
                "functions:\n"
                "  users: {handler: api/users.py:get}\n"
                "  pay: {handler: api/pay.py:handler}\n"
                "  lost: {handler: api/lost.py:handler}\n"
                "routes:\n"
                "  GET /a: nobody\n"
                "env:\n"
                "  STRIPE_KEY: {secret: true}\n"
            ),
            "api/users.py": "def get(event)\n    return 1\n",
            "api/pay.py": "def main(): ...\ndef helper(): ...\n",
        }
    )

    assert first_lines(judgement.problems) == [
        'clowdy.yaml:3:18: error[handler] api/pay.py has no "handler"; found: main, helper',
        'clowdy.yaml:4:19: error[handler] api/lost.py does not exist: did you mean "api/users.py"?',
        *[line for line in first_lines(judgement.problems) if "nobody" in line],
        "clowdy.yaml:8:3: error[secret-missing] STRIPE_KEY has no value: clowdy secret set STRIPE_KEY",
        "api/users.py:1:15: error[syntax] expected ':'",
    ]
    assert len(judgement.problems) == 5


async def test_a_syntax_error_shows_its_own_line(judge_files: Any) -> None:
    judgement = await judge_files(
        {"clowdy.yaml": "functions: {hello: {}}\n", "functions/hello.py": "x = 1\n\ndef handler(event)\n    pass\n"}
    )

    assert problem_text(judgement.problems[0]) == [
        "functions/hello.py:3:19: error[syntax] expected ':'",
        "    3 | def handler(event)",
        "      |                   ^",
    ]


@pytest.mark.parametrize(
    ("content", "shown", "marked"),
    [
        (b"x = 1\ny = '\x1b[31m\0\x07'\n", "    2 | y = '\ufffd[31m\ufffd\ufffd'", "\ufffd"),
        (b"\xef\xbb\xbfx = '\0'\n", "    1 | x = '\ufffd'", "\ufffd"),
        (b"x = '" + b"a" * 9000 + b"' $ 1\n", "    1 | …" + "a" * 38 + "' $ 1", "$"),
        (b"x = '" + b"a" * 9000 + b"' $ '" + b"b" * 9000 + b"'\n", None, "$"),
        (b"x = 1\r\nif x:\r\n\r\n", "    4 |", ""),
    ],
)
async def test_a_syntax_error_has_its_line_and_a_caret_wherever_it_stands(
    judge_files: Any, content: bytes, shown: str | None, marked: str
) -> None:
    judgement = await judge_files({"clowdy.yaml": "functions: {hello: {}}\n", "functions/hello.py": content})

    _, line, caret = problem_text(judgement.problems[0])
    assert line == shown or (shown is None and line.endswith("…") and len(line) < 130)
    assert line[caret.index("^") : caret.rindex("^") + 1] == marked


@pytest.mark.parametrize(
    ("content", "place", "marked"),
    [
        ("[" * 100_000, (1, 1001), "["),
        ("functions: {hello: {}}\nroutes: {'GET /" + "a" * 5000 + "': helo}\n", (2, 5017), ":"),
        ("functions: {hello: {}}\nenv: {A: '" + "日" * 1000 + "', PATH: x}\n", (2, 1014), "PATH"),
        ("functions: {hello: {}}\nenv: {A: '\x1b\x1b', B: 1}\n", (2, 11), "\ufffd"),
    ],
)
async def test_a_problem_of_the_manifest_has_its_line_and_a_caret_wherever_it_stands(
    judge_files: Any, content: str, place: Any, marked: str
) -> None:
    judgement = await judge_files({"clowdy.yaml": content, "functions/hello.py": HANDLER})

    problem = judgement.problems[0]
    _, line, caret = problem_text(problem)
    assert (problem.line, problem.column) == place
    wide = line.count("日")
    assert line[caret.index("^") - wide :].startswith(marked)
    assert len(line) < 130


@pytest.mark.parametrize(
    ("content", "place", "said"),
    [
        (b"x = '\0'\n", (1, 6), "the file has a NUL byte"),
        ("handler = 1".encode("utf-16"), (1, 1), "the file is UTF-16: save it as UTF-8"),
        (b"a = 1\nhandler = '\xe9'\n", (2, 12), "byte 0xe9 is not utf-8"),
        (b"# coding: klingon\nhandler = 1\n", (1, 1), "unknown encoding: klingon"),
        (b"# coding: hex\nhandler = 1\n", (1, 1), "unknown encoding: hex"),
        (b"\xef\xbb\xbfhandler = (\n", (1, 11), "'(' was never closed"),
    ],
)
async def test_odd_bytes_in_a_handler_are_told(judge_files: Any, content: bytes, place: Any, said: str) -> None:
    judgement = await judge_files({"clowdy.yaml": "functions: {hello: {}}\n", "functions/hello.py": content})

    problem = judgement.problems[0]
    assert (problem.file, problem.line, problem.column) == ("functions/hello.py", *place)
    assert (problem.code, problem.message) == ("syntax", said)


@pytest.mark.parametrize(
    "cookie", ["# coding: latin-1", "# -*- coding: iso-8859-15 -*-", "#!/x\n# vim: set fileencoding=cp1252 :"]
)
async def test_another_encoding_is_welcome_when_it_is_declared(judge_files: Any, cookie: str) -> None:
    content = cookie.encode() + b"\nhandler = '\xe9'\n"

    judgement = await judge_files({"clowdy.yaml": "functions: {hello: {}}\n", "functions/hello.py": content})

    assert judgement.problems == ()


async def test_a_handler_that_misses_its_path_is_told_what_was_meant(judge_files: Any) -> None:
    judgement = await judge_files(
        {
            "clowdy.yaml": (
                "functions:\n"
                "  a: {handler: functions/helo.py:handler}\n"
                "  b: {source: api, handler: api/users.py:get}\n"
                "  c: {}\n"
            ),
            "functions/hello.py": HANDLER,
            "api/users.py": "get = 1",
        }
    )

    assert first_lines(judgement.problems) == [
        'clowdy.yaml:2:16: error[handler] functions/helo.py does not exist: did you mean "functions/hello.py"?',
        "clowdy.yaml:3:29: error[handler] api/api/users.py does not exist: "
        'it is relative to source api: write "users.py:get"',
        'clowdy.yaml:4:3: error[handler] functions/c.py does not exist: did you mean "functions/hello.py"?',
    ]


async def test_a_misspelled_attribute_is_told_what_was_meant(judge_files: Any) -> None:
    names = "".join(f"def helper_{number}(): ...\n" for number in range(9))

    judgement = await judge_files(
        {"clowdy.yaml": "functions: {a: {handler: a.py:handlr}}\n", "a.py": f"{names}def handler(event): ...\n"}
    )

    assert [problem_text(problem)[0] for problem in judgement.problems] == [
        'clowdy.yaml:1:26: error[handler] a.py has no "handlr"; found: '
        + ", ".join(f"helper_{number}" for number in range(8))
        + ', …: did you mean "handler"?'
    ]


async def test_a_default_handler_without_any_neighbour_is_told_how_to_name_one(judge_files: Any) -> None:
    judgement = await judge_files({"clowdy.yaml": "functions:\n  hello: {}\n"})

    assert first_lines(judgement.problems) == [
        "clowdy.yaml:2:3: error[handler] functions/hello.py does not exist: "
        "write it, or name another file: handler: FILE:ATTRIBUTE"
    ]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"api": Kind.SYMLINK}, "api/users.py lies behind the symlink api"),
        ({"api": Kind.SUBMODULE}, "api/users.py lies behind the submodule api"),
        ({"api/users.py": Kind.SYMLINK}, "api/users.py is a symlink, it must be a file"),
        ({"api/users.py/x": ""}, "api/users.py is a folder, it must be a file"),
    ],
)
async def test_a_handler_is_never_looked_up_through_a_link(judge_files: Any, files: Any, said: str) -> None:
    judgement = await judge_files({"clowdy.yaml": "functions: {users: {handler: api/users.py:get}}\n", **files})

    assert f"clowdy.yaml:1:30: error[handler] {said}" in first_lines(judgement.problems)


async def test_symlinks_and_submodules_inside_a_source_stand_at_their_own_path(judge_files: Any) -> None:
    judgement = await judge_files(
        {
            "clowdy.yaml": "functions: {hello: {}, again: {handler: functions/hello.py:handler}}\n",
            "functions/hello.py": HANDLER,
            "data/passwd": Kind.SYMLINK,
            "vendor/lib": Kind.SUBMODULE,
            "README.md": Kind.SYMLINK,
            "docs/link": Kind.SYMLINK,
        }
    )

    how = "replace it by its content, or name it in .clowdyignore"
    assert [problem_text(problem) for problem in judgement.problems] == [
        [f"data/passwd:1:1: error[symlink] a symlink cannot be part of a function's code: {how}"],
        [f"vendor/lib:1:1: error[submodule] a submodule cannot be part of a function's code: {how}"],
    ]


async def test_a_symlink_outside_every_source_is_nobodys_business(judge_files: Any) -> None:
    judgement = await judge_files(
        {
            "clowdy.yaml": "functions: {hello: {source: api, handler: hello.py:handler}}\n",
            "api/hello.py": HANDLER,
            "api-link": Kind.SYMLINK,
        }
    )

    assert judgement.problems == ()


async def test_a_source_that_is_no_folder_is_refused(judge_files: Any) -> None:
    judgement = await judge_files(
        {
            "clowdy.yaml": "functions:\n  a:\n    source: [api, lbi, link, file]\n    handler: a.py:handler\n",
            "api/a.py": HANDLER,
            "lib/b.py": "",
            "link": Kind.SYMLINK,
            "file": "",
        }
    )

    assert first_lines(judgement.problems) == [
        'clowdy.yaml:3:19: error[source] source lbi does not exist: did you mean "lib"?',
        "clowdy.yaml:3:24: error[source] source link is a symlink: name a folder",
        "clowdy.yaml:3:30: error[source] source file is a file: name a folder",
    ]


async def test_a_handler_that_the_ignore_file_leaves_out_is_told(judge_files: Any) -> None:
    files = {"clowdy.yaml": "functions: {a: {handler: tests/a.py:handler}}\n", "tests/a.py": HANDLER}

    by_default = await judge_files(files)
    by_file = await judge_files({**files, ".clowdyignore": "*.py\n"})
    neither = await judge_files({**files, ".clowdyignore": "clowdy.yaml\n"})

    assert [problem.message for problem in by_default.problems] == [
        "tests/a.py is left out of the code by the default without .clowdyignore"
    ]
    assert [problem.message for problem in by_file.problems] == ["tests/a.py is left out of the code by .clowdyignore"]
    assert neither.problems == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (Kind.SYMLINK, ".clowdyignore:1:1: error[ignore] .clowdyignore is a symlink, it must be a file"),
        ("a\n" * 201, ".clowdyignore:201:1: error[ignore] more than 200 patterns"),
        ("a" * 201, ".clowdyignore:1:1: error[ignore] a pattern has at most 200 characters"),
    ],
)
async def test_an_ignore_file_that_cannot_be_taken_is_refused(judge_files: Any, content: Any, said: str) -> None:
    judgement = await judge_files(
        {"clowdy.yaml": "functions: {hello: {}}\n", "functions/hello.py": HANDLER, ".clowdyignore": content}
    )

    assert said in first_lines(judgement.problems)


async def test_a_pattern_that_is_refused_is_shown(judge_files: Any) -> None:
    judgement = await judge_files(
        {
            "clowdy.yaml": "functions: {hello: {}}\n",
            "functions/hello.py": HANDLER,
            ".clowdyignore": "ok\n\u00e9\x1b" + "a" * 300 + "\n",
        }
    )

    _, line, caret = problem_text(judgement.problems[0])
    assert line == "    2 | \u00e9\ufffd" + "a" * 108 + "…"
    assert caret.startswith("      | ^^^^")


@pytest.mark.parametrize(
    ("more", "said"),
    [(MEGABYTE // 2, "1.5 MB, it may have 1 MB"), (1, "1,048,577 bytes, it may have 1,048,576 (1 MB)")],
)
async def test_a_handlers_file_over_a_megabyte_is_refused_at_its_path(judge_files: Any, more: int, said: str) -> None:
    judgement = await judge_files(
        {"clowdy.yaml": "functions: {hello: {}}\n", "functions/hello.py": b"#" * (FILE_BYTES + more)}
    )

    assert [problem_text(problem) for problem in judgement.problems] == [
        [f"functions/hello.py:1:1: error[file-size] a handler's file has {said}: move what is large to another file"]
    ]


async def test_code_over_its_limits_is_refused_once_for_all_functions_that_share_it(judge_files: Any) -> None:
    judgement = await judge_files(
        {
            "clowdy.yaml": (
                "functions:\n  a: {handler: api/a.py:handler}\n  b: {handler: api/a.py:handler}\n"
                "  c: {source: [api, api/deep], handler: a.py:handler}\n"
            ),
            "api/a.py": HANDLER,
            "api/deep/b.py": "",
            "other/c.py": b"#" * (2 * MEGABYTE),
            "docs/ignored": b"#" * (9 * MEGABYTE),
        },
        settings=Settings(code_bytes=MEGABYTE, code_files=2),
    )

    how = "name a smaller source, or leave files out by .clowdyignore"
    assert first_lines(judgement.problems) == [
        f"clowdy.yaml:1:1: error[code-size] the code of a and 1 more has 2 MB, a function may have 1 MB: {how}",
        f"clowdy.yaml:1:1: error[code-size] the code of a and 1 more has 3 files, a function may have 2 files: {how}",
    ]


async def test_what_is_barely_too_large_is_told_to_the_byte(judge_files: Any) -> None:
    judgement = await judge_files(
        {
            "clowdy.yaml": "functions: {a: {handler: a.py:handler, memory: 1GB}}\n",
            "a.py": HANDLER,
            "b": b"#" * MEGABYTE,
        },
        settings=Settings(code_bytes=MEGABYTE, memory_budget_bytes=1024 * MEGABYTE - 1),
    )

    size = MEGABYTE + len(HANDLER)
    assert [problem.message for problem in judgement.problems] == [
        f"the code of a has {size:,} bytes, a function may have 1,048,576 (1 MB)",
        "a has 1,073,741,824 bytes of memory, all functions of this server together have 1,073,741,823 (1 GB)",
    ]


async def test_a_network_that_the_server_cannot_close_is_a_problem_at_its_key(judge_files: Any) -> None:
    files = {
        "clowdy.yaml": (
            "functions:\n"
            "  open: {handler: a.py:handler, network: true}\n"
            "  shut: {handler: a.py:handler, network: false}\n"
        ),
        "a.py": HANDLER,
    }
    reason = "passt is not installed. Cure: apt-get install passt"

    refused = await judge_files(files, settings=Settings(no_network=reason))
    possible = await judge_files(files, settings=Settings(memory_budget_bytes=1024 * MEGABYTE, python="3.11.2"))
    unknown = await judge_files(files)

    assert first_lines(refused.problems) == [
        "clowdy.yaml:2:42: error[network] network: true cannot be had on this server: passt is not installed: "
        "on the server: apt-get install passt"
    ]
    assert (possible.problems, possible.unchecked) == ((), ())
    assert "that network: true can be had on the server" in unknown.unchecked


async def test_memory_and_warm_instances_must_fit_the_servers_budget(judge_files: Any) -> None:
    files = {
        "clowdy.yaml": (
            "functions:\n"
            "  big: {handler: a.py:handler, memory: 2GB}\n"
            "  warm: {handler: a.py:handler, memory: 256MB, min_warm: 2}\n"
            "  more: {handler: a.py:handler, memory: 256MB, min_warm: 3}\n"
            "  last: {handler: a.py:handler, memory: 256MB, min_warm: 1}\n"
        ),
        "a.py": HANDLER,
    }

    judgement = await judge_files(files, settings=Settings(memory_budget_bytes=1024 * MEGABYTE))
    unknown = await judge_files(files)

    assert first_lines(judgement.problems) == [
        "clowdy.yaml:2:40: error[memory] big has 2 GB of memory, all functions of this server together have 1 GB: "
        "write less, or start the server with a larger --memory-budget",
        "clowdy.yaml:4:58: error[min-warm] the warm instances of more, with those of the functions before it, "
        "need 1.2 GB, all functions of this server have 1 GB: write a smaller min_warm or memory",
    ]
    assert unknown.problems == ()


async def test_a_secret_without_a_value_is_told_where_it_is_declared(judge_files: Any) -> None:
    files = {
        "clowdy.yaml": (
            "env:\n  SHARED: {secret: true}\n"
            "functions:\n  hello:\n    env: {OWN: {secret: true}, PLAIN: x}\n"
        ),
        "functions/hello.py": HANDLER,
    }  # fmt: skip

    missing = await judge_files(files)
    half = await judge_files(files, secrets=["SHARED", "UNUSED"])
    unknown = await judge_files(files, secrets=None)

    assert first_lines(missing.problems) == [
        "clowdy.yaml:2:3: error[secret-missing] SHARED has no value: clowdy secret set SHARED",
        "clowdy.yaml:5:11: error[secret-missing] OWN has no value: clowdy secret set OWN",
    ]
    assert [problem.message for problem in half.problems] == ["OWN has no value"]
    assert unknown.problems == ()
    assert unknown.unchecked == ("that secrets have a value", "that memory and min_warm fit the server")


async def test_what_is_not_known_is_named_and_nothing_else(judge_files: Any) -> None:
    files = {"clowdy.yaml": "name: shop\nfunctions: {hello: {}}\n", "functions/hello.py": HANDLER}

    nothing_known = await judge_files(files, project=None, secrets=None)
    all_known = await judge_files(files, settings=Settings(memory_budget_bytes=1024 * MEGABYTE))

    assert nothing_known.unchecked == ("that name is the project's", "that memory and min_warm fit the server")
    assert all_known.unchecked == ()


async def test_a_file_of_many_handlers_is_inspected_once(tree_of: Any) -> None:
    class Counting:
        asked: list[str] = []  # noqa: RUF012

        async def inspect(self, files: Any, read: Any) -> dict[str, Any]:
            self.asked += [entry.path for entry in files]
            return {}

    tree = tree_of({"clowdy.yaml": "functions: {a: {handler: x.py:a}, b: {handler: x.py:b}}\n", "x.py": "a = b = 1"})

    await judge(tree, project=None, syntax=Counting())

    assert Counting.asked == ["x.py"]


async def test_problems_come_once_in_the_order_of_the_file(tree_of: Any) -> None:
    late, early = Problem("clowdy.yaml", 10, 1, "a", "x"), Problem("clowdy.yaml", 9, 2, "a", "x")
    path = Problem("a.py", 1, 1, "a", "x")

    assert in_order([path, late, early, late]) == (early, late, path)


def test_the_same_judgement_without_an_event_loop(tree_of: Any) -> None:
    judgement = judge_now(tree_of({"clowdy.yaml": "functions: {a: {handler: a.py:b}}\n", "a.py": "c = 1\n"}))

    assert first_lines(judgement.problems) == ['clowdy.yaml:1:26: error[handler] a.py has no "b"; found: c']


ASYNC = "async def handler(event): ...\n"


@pytest.mark.parametrize(
    ("source", "kind", "shape"),
    [
        (HANDLER, "auto", "handler"),
        (HANDLER, "handler", "handler"),
        (HANDLER, "wsgi", "WSGI application"),
        (HANDLER, "asgi", None),
        (ASYNC, "auto", None),
        (ASYNC, "wsgi", "WSGI application"),
        ("handler = Flask()\n", "wsgi", "WSGI application"),
        ("handler = Flask()\n", "auto", None),
        ("def handler(event):\n    yield 1\n", "auto", "generator"),
        ("def handler(environ, start_response): ...\n", "auto", "WSGI application"),
        ("def handler(environ, start_response): ...\n", "handler", "handler"),
        ("def handler(scope, receive, send): ...\n", "auto", None),
        ("def handler(scope, receive, send): ...\n", "handler", "handler"),
        ("@cached\ndef handler(event): ...\n", "auto", None),
    ],
)
async def test_parallel_is_refused_where_the_file_shows_one_call_at_a_time(
    judge_files: Any, source: str, kind: str, shape: str | None
) -> None:
    manifest = f"functions:\n  hello: {{type: {kind}, parallel: 2}}\n".replace("type: auto, ", "")
    judgement = await judge_files({"clowdy.yaml": manifest, "functions/hello.py": source})

    column = manifest.splitlines()[1].index("2}") + 1
    said = f"{shape}: parallel above 1 is for async handlers and ASGI applications only"
    assert first_lines(judgement.problems) == (
        [] if shape is None else [f"clowdy.yaml:2:{column}: error[not-parallel] hello is a {said}"]
    )
    alone = await judge_files({"clowdy.yaml": manifest.replace("2}", "1}"), "functions/hello.py": source})
    assert not alone.problems
