"""What serves, prepared for another driver or Python before the server listens: the same releases and versions.

A version that does not start there is told apart now: its callers get `start_failed` at once, its author the reason,
and everything else serves on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from clowdy.runtimes.api import Application, Handler, Ready, StartFailed
from clowdy.server.errors import ClowdyError
from clowdy.server.releases.context import Context
from clowdy.server.releases.layers import bring
from clowdy.server.releases.prepare import group_key
from clowdy.server.releases.serving import Serving
from clowdy.server.releases.trial import START_SECONDS

log = logging.getLogger(__name__)

RENEW_SECONDS = 120.0
AT_ONCE = 4


async def renew(context: Context, seconds: float = RENEW_SECONDS) -> list[str]:
    """Starts every live version once; a line for each that failed, and one for those that time did not allow."""
    driver = context.pool.driver
    at_once = asyncio.Semaphore(AT_ONCE)
    failed = await _install(context, seconds)
    served = dict(context.live)
    tried = 0

    async def run(serving: Serving, names: Sequence[str]) -> None:
        nonlocal tried
        async with at_once:
            for name, text in (await _failures(context, [serving.applications[name] for name in names])).items():
                failed[serving.project.id][name] = f"{name} does not start with Python {driver.python}: {text}"
            tried += len(names)

    tasks = [asyncio.create_task(run(serving, names)) for serving in served.values() for names in _groups(serving)]
    wanted = sum(len(serving.applications) for serving in served.values())
    await _end(tasks, seconds, "live releases cannot be prepared")
    for project_id, problems in failed.items():
        _serve_less(context, served[project_id], problems)
    lines = [text for problems in failed.values() for text in problems.values()]
    if tried < wanted:
        lines.append(f"{wanted - tried} of {wanted} live versions were not tried: they start with their first call")
    return lines


async def _install(context: Context, seconds: float) -> defaultdict[str, dict[str, str]]:
    """Installs what the releases need for the Python here; why a function's cannot be, by project and function."""
    at_once = asyncio.Semaphore(AT_ONCE)
    failed: defaultdict[str, dict[str, str]] = defaultdict(dict)

    async def install(serving: Serving) -> None:
        async with at_once:
            repository = context.repositories.open(serving.project.id)
            try:
                installed = await bring(context, repository, serving, log.info)
            except ClowdyError as error:
                failed[serving.project.id].update(dict.fromkeys(serving.record.functions, error.message))
                return
        if installed is not serving and context.live.get(serving.project.id) is serving:
            context.live[serving.project.id] = installed
            context.publish(installed)
            context.pool.keep_project(serving.project.id, installed.applications.values())

    tasks = [asyncio.create_task(install(serving)) for serving in context.live.values() if serving.record.lock]
    await _end(tasks, seconds, "requirements of live releases cannot be installed")
    return failed


async def _end(tasks: Sequence[asyncio.Task[None]], seconds: float, complaint: str) -> None:
    """Returns when all have ended, those that take longer because they were told to; logs what they raised."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            log.warning("%s: %s", complaint, ended)


def _groups(serving: Serving) -> list[list[str]]:
    groups: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, application in serving.applications.items():
        groups[group_key(application, serving.manifest.functions[name])].append(name)
    return list(groups.values())


async def _failures(context: Context, applications: Sequence[Application]) -> dict[str, str]:
    """Why those that do not start fail, by function."""
    handlers = [Handler(*application.handler) for application in applications]
    results: list[Ready | StartFailed] = []
    await context.pool.probe(applications[0], handlers, results.append, START_SECONDS)
    return {
        application.function: _last_line(context.redact(application.project_id, result.text))
        for application, result in zip(applications, results, strict=True)
        if isinstance(result, StartFailed)
    }


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"


def _serve_less(context: Context, serving: Serving, problems: dict[str, str]) -> None:
    if context.live.get(serving.project.id) is not serving:
        return
    applications = {name: found for name, found in serving.applications.items() if name not in problems}
    less = replace(serving, applications=applications, problems={**serving.problems, **problems})
    context.live[serving.project.id] = less
    context.publish(less)
    context.pool.keep_project(serving.project.id, applications.values())
