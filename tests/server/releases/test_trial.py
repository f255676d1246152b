from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clowdy.runtimes.api import Shape, StartFailed, StartReason
from clowdy.server.releases.trial import not_at_the_top, outside_source
from clowdy.server.store import pushes
from tests.runtimes.memory_driver import Behaviour, MemoryDriver

from .world import World, files, world

PATHS = ["api/functions/a.py", "api/lib/here.py", "lib/db.py", "lib/deep/__init__.py", "lib/deep/er.py", "top.py"]


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("lib", "import lib.db", "lib/db.py"),
        ("lib", "from lib.db import connect", "lib/db.py"),
        ("lib", "from lib import db", "lib/db.py"),
        ("lib", "from lib.deep.er import x", "lib/deep/er.py"),
        ("lib", "import lib.deep", "lib/deep/__init__.py"),
        ("lib", "import_module(name)", "lib/db.py"),
        ("top", "import top", "top.py"),
        ("db", "import db", "lib/db.py"),
        ("nowhere", "import nowhere", None),
        ("here", "import here", None),
        ("a", "import a", None),
    ],
)
def test_a_missing_module_is_found_beyond_its_source(module: str, line: str, found: str | None) -> None:
    traceback = f'  File "/app/api/functions/a.py", line 1, in <module>\n    {line}\nModuleNotFoundError: ...\n'
    assert outside_source(PATHS, ("api",), module, traceback) == found


def test_nothing_is_beyond_the_whole_repository() -> None:
    assert outside_source(PATHS, (".",), "lib", "import lib.db") is None


@pytest.mark.parametrize(
    ("module", "found"),
    [
        ("shop", ("src/shop/__init__.py", "src")),
        ("shop.things", ("src/shop/things.py", "src")),
        ("plain", ("src/plain/deep.py", "src")),
        ("tool", ("src/tool.py", "src")),
        ("nowhere", None),
    ],
)
def test_a_module_that_lies_too_deep_is_found_with_the_source_that_it_would_need(
    module: str, found: tuple[str, str] | None
) -> None:
    paths = ("src/shop/__init__.py", "src/shop/things.py", "src/plain/deep.py", "src/tool.py", "nowhere.txt")
    assert not_at_the_top(paths, (".",), module) == found
    assert not_at_the_top(paths, ("other",), module) is None


def failed(reason: StartReason, text: str, module: str | None = None) -> Behaviour:
    return Behaviour(fails=StartFailed(reason, text, module=module, log="printed\n"))


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (failed(StartReason.EXCEPTION, "Traceback\nValueError: no"), "hello does not start: ValueError: no"),
        (
            failed(StartReason.MISSING_MODULE, "x", "nowhere"),
            "hello does not start: there is no module nowhere: a package has to be named in requirements",
        ),
        (failed(StartReason.TIMEOUT, ""), "hello does not start: timeout"),
    ],
)
async def test_a_version_that_does_not_start_is_a_problem_at_its_name(
    made: World, behaviour: Behaviour, message: str
) -> None:
    made.driver.behaviours["hello"] = behaviour
    (verdict,) = await made.push({"refs/heads/main": await made.commit(files())})
    assert verdict.reason == f"clowdy.yaml:2:3 {message}"
    assert "  hello | printed" in made.said
    assert list((await made.repository()).refs()) == ["refs/clowdy/project"]


@pytest.mark.parametrize("shape", Shape)
async def test_parallel_is_for_what_takes_several_calls(made: World, shape: Shape) -> None:
    made.driver.behaviours["hello"] = Behaviour(shape=shape)
    content = files()
    content["clowdy.yaml"] = content["clowdy.yaml"].replace(b"'code.py:handler'", b"'code.py:handler', parallel: 2")
    # What the file alone does not show.
    content["code.py"] = b"from elsewhere import handler\n"
    (verdict,) = await made.push({"refs/heads/main": await made.commit(content)})
    if shape in (Shape.ASYNC_HANDLER, Shape.ASYNC_GENERATOR, Shape.ASGI):
        assert verdict.accepted
    else:
        assert verdict.reason == (
            f"clowdy.yaml:2:49 hello is a {shape.value}: "
            "parallel above 1 is for async handlers and ASGI applications only"
        )


async def test_what_the_file_alone_shows_is_no_matter_of_the_trial(made: World) -> None:
    content = files()
    content["clowdy.yaml"] = content["clowdy.yaml"].replace(b"'code.py:handler'", b"'code.py:handler', parallel: 2")
    content["code.py"] = b"def handler(event): ...\n"
    # The trial would not say so.
    made.driver.behaviours["hello"] = Behaviour(shape=Shape.ASYNC_HANDLER)
    (verdict,) = await made.push({"refs/heads/main": await made.commit(content)})
    assert verdict.reason == (
        "clowdy.yaml:2:49 hello is a handler: parallel above 1 is for async handlers and ASGI applications only"
    )


@pytest.mark.parametrize("shape", Shape)
async def test_every_shape_can_be_served(made: World, shape: Shape) -> None:
    made.driver.behaviours["hello"] = Behaviour(shape=shape)
    await made.deploy()


async def test_a_secret_in_the_reason_is_masked_wherever_the_reason_is_told_or_kept(made: World) -> None:
    value = "s3cr3t-" + "x" * 300
    object.__setattr__(made.context, "redact", lambda _, text: text.replace(value, "********"))
    made.driver.behaviours["hello"] = failed(StartReason.EXCEPTION, f"Traceback\nValueError: {value}")
    (verdict,) = await made.push({"refs/heads/main": await made.commit(files())})
    assert verdict.reason == "clowdy.yaml:2:3 hello does not start: ValueError: ********"
    async with made.context.store.reading() as connection:
        (push,) = await pushes.every(connection, (await made.project()).id)
    assert "s3cr3t" not in f"{push.reason} {push.output} {made.said}"


async def test_where_nothing_can_run_the_pusher_is_told_why(tmp_path: Path) -> None:
    async with world(tmp_path / "data", driver=MemoryDriver(unavailable="the kernel forbids it")) as made:
        await made.releases.projects.create("shop", "ana")
        (verdict,) = await made.push({"refs/heads/main": await made.commit(files())})
        assert verdict.reason == "no function can run here: the kernel forbids it"


async def test_only_versions_that_are_new_are_tried(made: World) -> None:
    first = await made.deploy("one")
    started = made.driver.started
    commit = await made.commit(files("one", more="description: The same\n"), (first,))
    (verdict,) = await made.push({"refs/heads/main": commit})
    assert verdict.accepted
    assert made.driver.started == started


def several(*names: str) -> dict[str, bytes]:
    """Functions that are tried in one instance, each a handler of its own name."""
    lines = [f"  {name}: {{handler: 'code.py:{name}'}}" for name in names]
    source = "".join(f"def {name}(event): ...\n" for name in names)
    return {"clowdy.yaml": "\n".join(["functions:", *lines, ""]).encode(), "code.py": source.encode()}


@pytest.mark.parametrize("reason", [StartReason.TIMEOUT, StartReason.CRASHED, StartReason.OUT_OF_MEMORY])
async def test_one_that_ends_the_trial_is_no_problem_of_those_after_it(made: World, reason: StartReason) -> None:
    made.driver.behaviours["bad"] = failed(reason, "it hung")
    await made.push({"refs/heads/main": await made.commit(several("one", "bad", "two", "three"))})
    assert [line for line in made.said if "error[" in line] == [
        "clowdy.yaml:3:3: error[start-failed] bad does not start: it hung"
    ]


async def test_those_for_whom_the_others_leave_no_time_are_named_once(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clowdy.server.releases.trial.TRIAL_SECONDS", 0.2)
    made.driver.behaviours["slow"] = Behaviour(held=asyncio.Event())
    await made.push({"refs/heads/main": await made.commit(several("one", "slow", "two", "three"))})
    together = "60 s that all trial starts have together"
    assert [line for line in made.said if "error[" in line] == [
        f"clowdy.yaml:3:3: error[start-failed] slow does not start: not within the {together}",
        f"clowdy.yaml:4:3: error[not-tried] not tried: two, three; slow took the {together}",
    ]
