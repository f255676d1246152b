"""Smart HTTP's two services, each one C git process a request, streamed both ways.

A fetch ends with its client. A push does not: once its body is in, git runs to its end and everything that it says
is taken from it, whether or not anybody listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from clowdy.schema.units import MEBIBYTE
from clowdy.server.errors import Unavailable
from clowdy.server.git.abandoned import AbandonedQuarantines
from clowdy.server.git.advertisement import capabilities_of, for_pushes, preamble
from clowdy.server.git.body import Body
from clowdy.server.git.environment import clean_environment
from clowdy.server.git.hooks import HookTalk, OnPreReceive, OnProcReceive, answering
from clowdy.server.git.pkt import side_band
from clowdy.server.git.process import Child, ProcessLimits, dying_with_us, run
from clowdy.server.git.refs import read_refs
from clowdy.server.git.settings import GitSettings, shown_size

log = logging.getLogger(__name__)

ADVERTISED_BYTES = 64 * MEBIBYTE
FETCH_BODY_BYTES = 32 * MEBIBYTE
# How many packs' worth of a refused push is still read, so that its client gets to see the answer.
READ_ON = 4
WAIT_SECONDS = 10.0

_FETCH = {
    "uploadpack.allowFilter": "true",
    "uploadpack.allowReachableSHA1InWant": "true",
    "uploadpack.hideRefs": "refs/clowdy",
}

# What histories of old projects hold and what harms nobody; everything else that fsck finds is refused.
_TOLERATED = (
    "zeroPaddedFilemode",
    "zeroPaddedDate",
    "badTimezone",
    "badDate",
    "badDateOverflow",
    "badEmail",
    "badName",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "missingNameBeforeEmail",
    "missingEmail",
    "multipleAuthors",
    "nulInCommit",
)


class Service(StrEnum):
    """What a client asks for."""

    FETCH = "git-upload-pack"
    PUSH = "git-receive-pack"


class Client(Protocol):
    """Who takes the answer to a request."""

    async def write(self, piece: bytes) -> None:
        """Takes a piece, waiting while the client is slow; raises ConnectionError when it is gone."""

    def drop(self) -> None:
        """Cuts the connection."""


class GitWire:
    """Advertisements, fetches and pushes of any repository, with a bound on how many run at once."""

    def __init__(
        self, settings: GitSettings, on_pre_receive: OnPreReceive, on_proc_receive: OnProcReceive, empty: Path
    ) -> None:
        """`empty` is an empty repository, shown where a project can be made by a push."""
        self._settings = settings
        self._handlers = (on_pre_receive, on_proc_receive)
        self._empty = empty
        self._capabilities: bytes | None = None
        self._fetches = asyncio.Semaphore(settings.fetches)
        self._pushes = asyncio.Semaphore(settings.pushes)
        self._running: set[asyncio.Task[None]] = set()
        self._abandoned = AbandonedQuarantines()
        self._configs = {Service.FETCH: _FETCH, Service.PUSH: _push_config(settings)}

    async def advertise(self, service: Service, repository: Path | None, git_protocol: str | None = None) -> bytes:
        """The answer to `info/refs`; for None that of an empty repository. A push sees `live` as not there yet."""
        if service is Service.FETCH:
            output = await self._advertised(service, repository or self._empty, git_protocol)
            # Version 2 begins with its capabilities; only the older two have the service's name in front.
            return output if git_protocol == "version=2" else preamble(service) + output
        if self._capabilities is None:
            self._capabilities = capabilities_of(await self._advertised(service, self._empty, None))
        refs = await asyncio.to_thread(read_refs, repository, "refs/") if repository is not None else {}
        return preamble(service) + for_pushes(refs, self._capabilities)

    async def _advertised(self, service: Service, repository: Path, git_protocol: str | None) -> bytes:
        async with _place(self._fetches):
            return await run(
                self._command(service, repository, "--http-backend-info-refs"),
                self._environment(service, git_protocol),
                limits=self._limits,
                most=ADVERTISED_BYTES,
            )

    async def fetch(self, repository: Path, body: Body, client: Client, git_protocol: str | None = None) -> None:
        """Answers one fetch; git ends when the client is gone or takes nothing for long, which raises."""
        async with _place(self._fetches):
            child = Child.start(
                self._command(Service.FETCH, repository),
                self._environment(Service.FETCH, git_protocol),
                limits=self._limits,
            )
            async with child:
                feeding = asyncio.create_task(_feed_fetch(child, body))
                try:
                    while piece := await child.read():
                        async with asyncio.timeout(self._settings.stall_seconds):
                            await client.write(piece)
                finally:
                    feeding.cancel()
                    await asyncio.wait([feeding])
                if await child.wait() != 0:
                    log.info("a fetch ended early: %s", child.errors)

    async def push(
        self,
        repository: Path,
        push_id: str,
        body: Body,
        client: Client,
        git_protocol: str | None = None,
        handlers: tuple[OnPreReceive, OnProcReceive] | None = None,
        closing: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Answers one push, and returns when git has ended.

        `handlers` judge it in place of the wire's own; `closing` is awaited when all is over, however it ended.
        A caller that is cancelled, or a client that leaves, changes nothing once the body is in. Raises Unavailable
        when too many pushes run, ConnectionError or TimeoutError when the client was lost before.
        """
        push = _Push(self._settings, client)

        async def whole() -> None:
            try:
                async with _place(self._pushes):
                    talk = HookTalk(push_id, repository, *(handlers or self._handlers))
                    child = self._start_push(repository, git_protocol, talk)
                    async with self._abandoned.watch(repository), answering(talk), child:
                        await push.run(child, body)
            finally:
                if closing is not None:
                    await closing()

        task = asyncio.create_task(whole(), name=f"push {push_id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            push.leave(task)
            raise

    async def close(self, grace_seconds: float = 10.0) -> None:
        """Waits for the pushes that run; past the grace git is ended, which can move nothing by itself."""
        if self._running:
            _, late = await asyncio.wait(list(self._running), timeout=grace_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    @property
    def _limits(self) -> ProcessLimits:
        return ProcessLimits(memory_bytes=self._settings.memory_bytes)

    def _start_push(self, repository: Path, git_protocol: str | None, talk: HookTalk) -> Child:
        try:
            return Child.start(
                dying_with_us(self._settings.setpriv, self._command(Service.PUSH, repository)),
                self._environment(Service.PUSH, git_protocol, **talk.environment),
                # A pack of a few bytes can ask for hours of unpacking.
                limits=ProcessLimits(self._settings.memory_bytes, self._settings.cpu_seconds),
                pass_fds=talk.descriptors,
            )
        except BaseException:
            talk.close()
            raise
        finally:
            talk.started()

    def _command(self, service: Service, repository: Path, *options: str) -> list[str]:
        command = service.value.removeprefix("git-")
        strict = ["--strict"] if service is Service.FETCH else []
        return [self._settings.git, command, "--stateless-rpc", *strict, *options, str(repository)]

    def _environment(self, service: Service, git_protocol: str | None, **extra: str) -> dict[str, str]:
        if git_protocol is not None:
            extra["GIT_PROTOCOL"] = git_protocol
        return clean_environment(self._configs[service], extra)


class _Push:
    """One push between its client and git."""

    def __init__(self, settings: GitSettings, client: Client) -> None:
        self._settings = settings
        self._client = client
        self._gone = False
        self._whole = False
        self._remark = b""

    def leave(self, task: asyncio.Task[None]) -> None:
        """The request is over for its server. Before the body is in there is nothing to save."""
        self._gone = True
        if not self._whole:
            task.cancel()

    async def run(self, child: Child, body: Body) -> None:
        """Feeds git and takes from it until it ends."""
        taking = asyncio.create_task(self._take(child))
        try:
            await self._feed(child, body)
        except BaseException:
            # Half a body is no push: git goes, and with it the quarantine is abandoned.
            taking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await taking
            raise
        self._whole = True
        child.close_input()
        await taking
        if await child.wait() != 0:
            log.info("git receive-pack ended with an error: %s", child.errors)

    async def _feed(self, child: Child, body: Body) -> None:
        limit = self._settings.limits.pack_bytes
        told = b"side-band-64k" in await body.head()
        received = 0
        reading = True
        async for piece in body.pieces():
            received += len(piece)
            if received > limit and told and not self._remark:
                text = f"the push is larger than {shown_size(limit)}: push a long history in parts\n"
                self._remark = side_band(text)
            if received > READ_ON * limit:
                raise ConnectionError(f"a push of more than {shown_size(READ_ON * limit)}")
            reading = reading and await child.write(piece)

    async def _take(self, child: Child) -> None:
        said = False
        while piece := await child.read():
            # Git says nothing before it has read the pack, so a remark in front stands between two of its lines.
            await self._answer(piece if said else self._remark + piece)
            said = True

    async def _answer(self, piece: bytes) -> None:
        if self._gone:
            return
        try:
            async with asyncio.timeout(self._settings.stall_seconds):
                await self._client.write(piece)
        except (ConnectionError, TimeoutError):
            self._gone = True
            self._client.drop()


async def _feed_fetch(child: Child, body: Body) -> None:
    received = 0
    try:
        async for piece in body.pieces():
            received += len(piece)
            if received > FETCH_BODY_BYTES or not await child.write(piece):
                break
    except (ConnectionError, TimeoutError) as error:
        log.info("a fetch's request was cut: %s", error)
    finally:
        # Git then says what is missing and ends.
        child.close_input()


@contextlib.asynccontextmanager
async def _place(places: asyncio.Semaphore) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await places.acquire()
    except TimeoutError:
        raise Unavailable("too many pushes and fetches at once: try again in a minute") from None
    try:
        yield
    finally:
        places.release()


def _push_config(settings: GitSettings) -> dict[str, str]:
    return {
        "core.hooksPath": str(settings.hooks),
        # Every ref of every push is judged and moved by the server.
        "receive.procReceiveRefs": "refs",
        "receive.fsckObjects": "true",
        **{f"receive.fsck.{name}": "ignore" for name in _TOLERATED},
        "receive.maxInputSize": str(settings.limits.pack_bytes),
        "receive.unpackLimit": "100",
        "receive.autogc": "false",
        "receive.advertisePushOptions": "true",
        "receive.advertiseAtomic": "true",
        # Git asks none of these for refs that proc-receive handles; the server itself refuses what is forbidden.
        "receive.denyDeletes": "false",
        "receive.denyDeleteCurrent": "ignore",
        "receive.denyNonFastForwards": "false",
        "receive.denyCurrentBranch": "ignore",
    }
