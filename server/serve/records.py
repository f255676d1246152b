"""One call as it is remembered: packed in a microsecond or two when it ends, unpacked and cleaned later.

What is packed is cut a little after the limit of each part, and exactly at it only when secrets were taken out:
a secret that is cut in two would not be recognised, so that what follows the limit is dropped after that.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from clowdy.runtimes.inside.event import event_of

if TYPE_CHECKING:
    from clowdy.server.serve.exchange import CallRecord
    from clowdy.server.serve.table import ProjectTable, Target

KIBIBYTE = 1024
EVENT_BYTES = 64 * KIBIBYTE
RESULT_BYTES = 64 * KIBIBYTE
LOG_BYTES = 256 * KIBIBYTE
TEXT_BYTES = 4 * KIBIBYTE
"""The most that is kept of a method, path or code."""

MARGIN = 4 * KIBIBYTE
"""What is packed beyond a limit: as much as the longest secret has."""

FORMAT = 2
_FIXED = struct.Struct("<BBHQddHHHIIIII")
_COLD, _REQUEST = 1, 16
_EVENT_CUT, _RESULT_CUT, _LOG_CUT = 2, 4, 8
_CUT = _EVENT_CUT | _RESULT_CUT | _LOG_CUT
_PARTS = (("event", _EVENT_CUT), ("result", _RESULT_CUT), ("log", _LOG_CUT))

_SURROGATES = re.compile("[\ud800-\udfff]")

Redact = Callable[[str, str], str]
"""Takes the secrets of a project id out of a text."""

Mask = Callable[[bytes], bytes]
"""Takes a project's secrets out of bytes; gives the same object where there are none."""


class BadRecord(Exception):
    """What was packed is not a record of a format that this version knows."""


class Record(NamedTuple):
    """One call. `status` is success, error or timeout; `http_status` None for direct calls; times are UTC seconds.

    `truncated` names those of event, result and log that were longer than what is kept.
    """

    id: str
    time: float
    project_id: str
    function_id: str
    function: str
    version: int
    release: int
    status: str
    http_status: int | None
    code: str | None
    duration_ms: float
    cold_start: bool
    trigger: str
    method: str | None
    path: str | None
    log: str
    result: str
    head: str
    body: bytes
    truncated: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """The id as a number."""
        return int(self.id, 16)

    @property
    def event(self) -> str:
        """The event as JSON, made from what the instance was given; text where too little was kept to make it."""
        if self.trigger != "gateway":
            return _clean(self.body.decode("utf-8", "surrogateescape"))
        try:
            event = json.dumps(event_of(json.loads(self.head), self.body), ensure_ascii=False, separators=(",", ":"))
        except (ValueError, KeyError, TypeError, RecursionError):
            event = f"{self.head}\n{self.body.decode('utf-8', 'surrogateescape')}"
        return _clean(event)

    def as_json(self) -> dict[str, Any]:
        """The object that the API answers and `clowdy logs --json` prints."""
        at = datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {
            "id": self.id,
            "time": at,
            "project_id": self.project_id,
            "function_id": self.function_id,
            "function": self.function,
            "version": self.version,
            "release": self.release,
            "status": self.status,
            "http_status": self.http_status,
            "code": self.code,
            "duration_ms": self.duration_ms,
            "cold_start": self.cold_start,
            "trigger": self.trigger,
            "method": self.method,
            "path": self.path,
            "log": self.log,
            "input": self.event,
            "output": self.result,
            "truncated": list(self.truncated),
            "source": self.trigger,
            "http_method": self.method,
            "http_path": self.path,
            "created_at": at,
        }


class Packer:
    """Packs calls. What many calls have in common is packed once."""

    def __init__(self) -> None:
        self._origins: dict[int, tuple[ProjectTable, Target, bytes]] = {}

    def __call__(self, call: CallRecord, mask: Mask | None = None) -> bytes:
        """The call in one piece of bytes, without what `mask` finds."""
        target = call.target
        known = self._origins.get(id(target))
        # An id can be that of an object that is gone: what it stood for is compared.
        if known is None or known[1] is not target or known[0] is not call.project:
            known = self._remember(call.project, target)
        event, body, answer, log = call.event, call.body, call.answer, call.log
        flags = _COLD if call.cold_start else 0
        if len(event) + len(body) > EVENT_BYTES:
            flags |= _EVENT_CUT
            event = event[: EVENT_BYTES + MARGIN]
            body = body[: max(0, EVENT_BYTES + MARGIN - len(event))]
        if len(answer) > RESULT_BYTES:
            flags |= _RESULT_CUT
            answer = answer[: RESULT_BYTES + MARGIN]
        if len(log) > LOG_BYTES:
            flags |= _LOG_CUT
            log = log[: LOG_BYTES + MARGIN]
        error = call.error.encode("utf-8", "replace")[: LOG_BYTES + MARGIN] if call.error else b""
        if call.method is not None:
            flags |= _REQUEST
        words = _pack_words(call.status, call.code, call.trigger, call.method)
        path = call.path[:TEXT_BYTES].encode("utf-8", "replace") if call.path else b""
        if mask is not None:
            parts = (path, event, body, answer, log, error)
            if mask(joined := b"\n".join(parts)) is not joined:
                cut = _cut_parts(*map(len, parts))
                path, event, body, answer, log, error = (
                    mask(part)[:-MARGIN] if was_cut else mask(part) for part, was_cut in zip(parts, cut, strict=True)
                )
        origin = known[2]
        fixed = _FIXED.pack(
            FORMAT,
            flags,
            call.http_status or 0,
            int(call.id, 16),
            call.at,
            call.duration_ms,
            len(origin),
            len(words),
            len(path),
            len(event),
            len(body),
            len(answer),
            len(log),
            len(error),
        )
        return b"".join((fixed, origin, words, path, event, body, answer, log, error))

    def _remember(self, project: ProjectTable, target: Target) -> tuple[ProjectTable, Target, bytes]:
        if len(self._origins) > 10_000:
            self._origins.clear()
        words = (project.project_id, target.function_id, target.name, str(target.version), str(project.release or 0))
        known = (project, target, "\0".join(words).encode("utf-8", "replace"))
        self._origins[id(target)] = known
        return known


@lru_cache(maxsize=512)
def _pack_words(status: str, code: str | None, trigger: str, method: str | None) -> bytes:
    words = (status, code or "", trigger, (method or "")[:TEXT_BYTES])
    return "\0".join(words).encode("utf-8", "replace")


@lru_cache(maxsize=512)
def _unpack_words(packed: bytes) -> tuple[str, str | None, str, str]:
    status, code, trigger, method = packed.decode("utf-8", "surrogateescape").split("\0", 3)
    return status, code or None, trigger, _clean(method)


@lru_cache(maxsize=4096)
def _unpack_origin(packed: bytes) -> tuple[str, str, str, int, int]:
    project_id, function_id, function, version, release = packed.decode().split("\0")
    return project_id, function_id, function, int(version), int(release)


def _cut_parts(_path: int, event: int, body: int, answer: int, log: int, error: int) -> tuple[bool, ...]:
    """Which parts, by their lengths, were cut when they were packed, and so may end with half a secret."""
    request = event + body == EVENT_BYTES + MARGIN
    return (
        False,
        request and not body,
        request and body > 0,
        answer == RESULT_BYTES + MARGIN,
        log == LOG_BYTES + MARGIN,
        error == LOG_BYTES + MARGIN,
    )


def unpack(packed: bytes, redact: Redact | None = None) -> Record:
    """The record, without secrets, NUL and what is no Unicode; raises BadRecord."""
    try:
        return _unpack(packed, redact)
    except (struct.error, ValueError, IndexError) as error:
        raise BadRecord(f"a record of {len(packed)} bytes cannot be read: {error}") from error


def _unpack(packed: bytes, redact: Redact | None) -> Record:
    if packed[0] != FORMAT:
        raise BadRecord(f"a record of format {packed[0]}; this version reads {FORMAT}")
    _, flags, http_status, number, at, duration_ms, *lengths = _FIXED.unpack_from(packed)
    if _FIXED.size + sum(lengths) != len(packed) or number >> 48:
        raise BadRecord("a record's parts do not make up its length")
    ends = list(accumulate(lengths, initial=_FIXED.size))
    origin = _unpack_origin(packed[ends[0] : ends[1]])
    status, code, trigger, method = _unpack_words(packed[ends[1] : ends[2]])
    path = str(packed[ends[2] : ends[3]], "utf-8", "surrogateescape")
    head = str(packed[ends[3] : ends[4]], "utf-8", "surrogateescape")
    result = str(packed[ends[5] : ends[6]], "utf-8", "surrogateescape")
    body = log = error = ""
    # Most calls have none of these.
    if lengths[4]:
        body = str(packed[ends[4] : ends[5]], "utf-8", "surrogateescape")
    if lengths[6] or lengths[7]:
        log = str(packed[ends[6] : ends[7]], "utf-8", "surrogateescape")
        error = str(packed[ends[7] : ends[8]], "utf-8", "surrogateescape")
    if redact is not None:
        rest = [redact(origin[0], part) if part else part for part in (path, head, body, result, log, error)]
        if flags & _CUT:
            cut = _cut_parts(*lengths[2:])
            rest = [part[:-MARGIN] if was_cut else part for part, was_cut in zip(rest, cut, strict=True)]
        path, head, body, result, log, error = rest
    truncated: tuple[str, ...] = ()
    if log or error or flags & _CUT:
        if flags & _EVENT_CUT:
            head = _cut(head, EVENT_BYTES)
            body = _cut(body, EVENT_BYTES - len(head.encode("utf-8", "surrogateescape")))
        if flags & _RESULT_CUT:
            result = _cut(result, RESULT_BYTES)
        log, cut_now = _whole_log(log, error, cut=bool(flags & _LOG_CUT))
        if cut_now:
            flags |= _LOG_CUT
        truncated = tuple(name for name, bit in _PARTS if flags & bit)
    request = flags & _REQUEST
    # By position: there is one of these for every call that is answered.
    return Record(
        f"{number:012x}",
        at,
        *origin,
        status,
        http_status or None,
        code,
        round(duration_ms, 3),
        bool(flags & _COLD),
        trigger,
        method if request else None,
        _clean(path) if request else None,
        log,
        _readable(result),
        _clean(head),
        body.encode("utf-8", "surrogateescape") if body else b"",
        truncated,
    )


def _whole_log(log: str, error: str, *, cut: bool) -> tuple[str, bool]:
    """What a call printed and how it failed, as it is kept, and whether something of it is not."""
    log = _clean(log)
    if error and error not in log:
        log = f"{log.rstrip(chr(10))}\n{_clean(error)}" if log else _clean(error)
    if cut or len(log) > LOG_BYTES or (not log.isascii() and len(log.encode()) > LOG_BYTES):
        return f"{_cut(log, LOG_BYTES - 64)}\n[truncated: {LOG_BYTES // KIBIBYTE} KB are kept]", True
    return log, False


def _cut(text: str, size: int) -> str:
    """As much of `text` as `size` bytes hold, without half a character at the end."""
    data = text.encode("utf-8", "surrogateescape")
    if len(data) <= size:
        return text
    end = max(0, size)
    while end and data[end] & 0xC0 == 0x80:
        end -= 1
    return data[:end].decode("utf-8", "surrogateescape")


def _clean(text: str) -> str:
    """`text` as every database holds it: without NUL and surrogates."""
    if not text.isascii():
        text = _SURROGATES.sub("\ufffd", text)
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _readable(text: str) -> str:
    """A result as text: what is no text as a data URI."""
    if not text.isascii():
        data = text.encode("utf-8", "surrogateescape")
        try:
            data.decode()
        except UnicodeDecodeError:
            kept = data[: RESULT_BYTES * 3 // 4 - 64]
            return f"data:application/octet-stream;base64,{base64.b64encode(kept).decode()}"
    return _clean(text)


def no_redaction(project_id: str, text: str) -> str:
    """Leaves `text` as it is."""
    return text


def from_row(values: dict[str, Any]) -> Record:
    """The record that a row of the archive holds."""
    flags = values["truncated"]
    values["id"] = f"{values['id']:012x}"
    values["cold_start"] = bool(values["cold_start"])
    values["truncated"] = tuple(name for name, bit in _PARTS if flags & bit)
    return Record(**values)


COLUMNS = (
    "id",
    "time",
    "project_id",
    "function_id",
    "function",
    "version",
    "release",
    "status",
    "http_status",
    "code",
    "duration_ms",
    "cold_start",
    "trigger",
    "method",
    "path",
    "truncated",
    "log",
    "result",
    "head",
    "body",
)
"""The columns of a row in the archive, in the order of `to_row`."""


def to_row(record: Record) -> tuple[Any, ...]:
    """The columns of `record`'s row in the archive, in their order there."""
    return (
        record.number,
        record.time,
        record.project_id,
        record.function_id,
        record.function,
        record.version,
        record.release,
        record.status,
        record.http_status,
        record.code,
        record.duration_ms,
        record.cold_start,
        record.trigger,
        record.method,
        record.path,
        sum(bit for name, bit in _PARTS if name in record.truncated) if record.truncated else 0,
        record.log,
        record.result,
        record.head,
        record.body,
    )
