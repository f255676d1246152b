"""The trial start of new versions, and the checks on a candidate: the last things before any ref moves."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from clowdy.hooks.handlers import not_parallel
from clowdy.runtimes.api import Application, DriverUnavailable, Handler, Ready, Shape, StartFailed, StartReason
from clowdy.runtimes.pool import NotServed
from clowdy.schema.manifest import FunctionSpec
from clowdy.schema.problems import Problem
from clowdy.schema.release import ReleaseRecord
from clowdy.server.errors import Unavailable
from clowdy.server.releases.context import Context
from clowdy.server.releases.prepare import Candidate, group_key
from clowdy.server.releases.serving import Serving
from clowdy.server.releases.voice import Voice
from clowdy.server.store.projects import Project

START_SECONDS = 30.0
TRIAL_SECONDS = 60.0
AT_ONCE = 4
CHECK_SECONDS = 10.0

_TOGETHER = f"{TRIAL_SECONDS:g} s that all trial starts have together"
_TAKE_SEVERAL_CALLS = (Shape.ASYNC_HANDLER, Shape.ASYNC_GENERATOR, Shape.ASGI)


async def try_candidate(context: Context, candidate: Candidate, names: frozenset[str], voice: Voice) -> list[Problem]:
    """Starts every version in `names`; one problem for each that does not start or cannot be served as it asks.

    Those for which the others leave no time are one problem together.
    """
    groups: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for name in candidate.manifest.functions:
        if name in names:
            groups[group_key(candidate.applications[name], candidate.manifest.functions[name])].append(name)
    at_once = asyncio.Semaphore(AT_ONCE)
    results: dict[str, Ready | StartFailed] = {}
    begun: list[Sequence[str]] = []

    async def run(group: Sequence[str]) -> None:
        async with at_once:
            begun.append(group)
            order = iter(group)
            applications = [candidate.applications[name] for name in group]
            await _start(context, applications, lambda result: results.update({next(order): result}))

    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            await _all(run(group) for group in groups.values())
    except TimeoutError:
        for group in begun:
            for name in [name for name in group if name not in results][:1]:
                results[name] = StartFailed(StartReason.TIMEOUT, f"not within the {_TOGETHER}")
    except DriverUnavailable as unavailable:
        raise Unavailable(f"no function can run here: {unavailable}") from None
    except NotServed as refused:
        raise Unavailable(f"no trial start is possible now: {refused}: push again later") from None
    problems: list[Problem] = []
    for name in candidate.manifest.functions:
        if name in results:
            problems.extend(_judge(context, candidate, name, results[name], voice))
    untried = [name for name in candidate.manifest.functions if name in names and name not in results]
    if untried:
        problems.append(_not_tried(candidate, untried, results))
    return problems


def _not_tried(candidate: Candidate, untried: Sequence[str], results: Mapping[str, Ready | StartFailed]) -> Problem:
    slow = [
        name
        for name, result in results.items()
        if isinstance(result, StartFailed) and result.reason is StartReason.TIMEOUT
    ]
    message = f"not tried: {', '.join(untried)}; {', '.join(slow) or 'others'} took the {_TOGETHER}"
    return _problem(candidate, untried[0], "not-tried", message)


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs all at once; the first failure ends the others and is raised as it is."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _start(
    context: Context, applications: Sequence[Application], tell: Callable[[Ready | StartFailed], None]
) -> None:
    if len(applications) == 1:
        try:
            tell(await context.pool.start_first(applications[0], START_SECONDS))
        except StartFailed as failed:
            tell(failed)
        return
    handlers = [Handler(*application.handler) for application in applications]
    await context.pool.probe(applications[0], handlers, tell, START_SECONDS)


def _judge(
    context: Context, candidate: Candidate, name: str, result: Ready | StartFailed, voice: Voice
) -> list[Problem]:
    function = candidate.manifest.functions[name]
    if result.log:
        voice.output(name, context.redact(candidate.applications[name].project_id, result.log))
    if isinstance(result, Ready):
        if function.parallel == 1 or result.shape in _TAKE_SEVERAL_CALLS:
            return []
        return [not_parallel(candidate.judgement.parsed.marks, name, result.shape.value)]
    text = context.redact(candidate.applications[name].project_id, result.text)
    voice.output(name, text)
    reason = _reason(candidate, function, result, text)
    return [_problem(candidate, name, "start-failed", f"{name} does not start: {reason}")]


def _reason(candidate: Candidate, function: FunctionSpec, failed: StartFailed, text: str) -> str:
    """Why a function does not start, in one line of `text`, which has no secrets in it any more."""
    if failed.reason is StartReason.MISSING_MODULE and failed.module:
        paths = [entry.path for entry in candidate.tree.walk(".")]
        elsewhere = outside_source(paths, function.sources, failed.module, text)
        if elsewhere:
            return f"{elsewhere} is outside source: {', '.join(function.sources)}"
        deeper = not_at_the_top(paths, function.sources, failed.module)
        if deeper is not None:
            path, folder = deeper
            return (
                f"there is no module {failed.module}: {path} is not where imports look. "
                f"Write `source: {folder}`, with `handler` relative to it"
            )
        return f"there is no module {failed.module}: a package has to be named in requirements"
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else failed.reason.value


def outside_source(paths: Sequence[str], sources: Sequence[str], module: str, traceback: str) -> str | None:
    """The path of a missing module that stands elsewhere in the repository.

    Python names the first part that it did not find (`lib` of `import lib.db`); the traceback has the rest.
    """
    beyond = [
        path
        for path in paths
        if path.endswith(".py") and not any(source == "." or path.startswith(f"{source}/") for source in sources)
    ]
    for name in (*_imported(module, traceback), module):
        relative = name.replace(".", "/")
        for ending in (f"{relative}.py", f"{relative}/__init__.py"):
            found = next((path for path in beyond if path == ending or path.endswith(f"/{ending}")), None)
            if found is not None:
                return found
    folder = f"/{module.replace('.', '/')}/"
    return next((path for path in beyond if folder in f"/{path}"), None)


def not_at_the_top(paths: Sequence[str], sources: Sequence[str], module: str) -> tuple[str, str] | None:
    """A path inside the sources where a missing module lies too deep, and the folder that would be its source."""
    relative = module.replace(".", "/")
    inside = [
        path
        for path in paths
        if path.endswith(".py") and any(source == "." or path.startswith(f"{source}/") for source in sources)
    ]
    for path in inside:
        for ending in (f"/{relative}.py", f"/{relative}/__init__.py"):
            if path.endswith(ending):
                return path, path.removesuffix(ending)
    found = next((path for path in inside if f"/{relative}/" in path), None)
    return None if found is None else (found, found.partition(f"/{relative}/")[0])


def _imported(module: str, traceback: str) -> Iterable[str]:
    """The whole names that the traceback's import lines ask for, deepest first."""
    pattern = rf"(?:from|import)\s+({re.escape(module)}(?:\.\w+)*)(?:\s+import\s+(\w+))?"
    for whole, member in re.findall(pattern, traceback):
        if member:
            yield f"{whole}.{member}"
        yield whole


def _problem(candidate: Candidate, name: str, code: str, message: str) -> Problem:
    return candidate.judgement.parsed.marks.problem(("functions", name), code, message, key=True)


async def run_checks(
    context: Context, project: Project, candidate: Candidate, record: ReleaseRecord, voice: Voice
) -> list[Problem]:
    """Runs the manifest's `checks` on the candidate, in order; one problem for each that does not pass."""
    problems: list[Problem] = []
    serving = Serving(project, record, "", candidate.manifest, candidate.applications)
    for index, check in enumerate(candidate.manifest.checks):
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                wrong = await context.check(serving, check)
        except TimeoutError:
            wrong = f"no answer in {CHECK_SECONDS:.0f} s"
        voice.progress(f"check {check.method} {check.path}: {'failed, ' + wrong if wrong else 'passed'}")
        if wrong:
            problems.append(
                candidate.judgement.parsed.marks.problem(
                    ("checks", index), "check-failed", f"{check.method} {check.path}: {wrong}"
                )
            )
    return problems
