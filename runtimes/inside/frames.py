"""The frames between server and runner, byte for byte; both sides import this file and nothing else decides them.

A frame is a header of 16 bytes (magic, kind, zero, call id, length of head, length of body), a small head of JSON,
and a body of raw bytes. Call id 0 belongs to the start of an instance.

The head of CALL: `trigger`, `request_id`, `release`, `timeout` in seconds, and of a gateway call `method`, `path`,
`raw_path` where the two differ, `prefix`, `params`, `query` (raw, without `?`) and `headers` (lower-case names); its
body is the request's, else the event's JSON. Applications are told besides: `client` (address and port, or null),
`scheme`, `http_version`, `host` where a proxy in front says another, and `fields`, the headers as pairs in Latin-1,
where `headers` does not say all. The head of RESULT and HEAD: `status` and `headers`, a list of pairs;
empty means 200 and JSON.

An answer in pieces is HEAD, any number of PIECE, and END. The body of CREDIT is a number of 4 bytes: so many bytes of
the pieces were taken by the caller. CANCEL asks the runner to end a call that nobody waits for; with the body `late`
the call is over its time.

A parent, which START asks for with `parent`, is sent FORK with as many descriptors as its head says: the child's
channel, both ends of the pipe behind its 1 and 2, then the files that take it into its control groups. The head has
the `name` of the child and `tmp`, its folder, too. CHILD_ENDED has `name` and `status`, an exit status or a negative
signal. CLEAR has the `tmp` of a child that is gone, CLEARED besides whether it was `complete`ly removed.
"""

from struct import Struct

MAGIC = 0xC1
HEADER = Struct(">BBHIII")
HEADER_BYTES = HEADER.size
HEAD_LIMIT = 1024 * 1024
BODY_LIMIT = 64 * 1024 * 1024

START = 1
READY = 2
START_FAILED = 3
CALL = 4
RESULT = 5
HEAD = 6
PIECE = 7
END = 8
FAILED = 9
LOG = 10
CANCEL = 11
CREDIT = 12
PROBE = 13
PROBED = 14
HELLO = 15
FORK = 16
CHILD_ENDED = 17
CLEAR = 18
CLEARED = 19

FIRST_KIND = START
LAST_KIND = CLEARED

LOG_LIMIT = 256 * 1024
"""What one call may print, in bytes; the mark that follows is not counted."""

LOG_MARK = b"\n[the log was cut here: 256 KB a call]\n"

WINDOW = 256 * 1024
"""How many bytes of the pieces of one call may be on their way to its caller."""

PIECE_LIMIT = 64 * 1024
"""The most that the runner puts into one piece."""

LATE = b"late"

TEXT_LIMIT = 64 * 1024
"""A traceback or reason, in bytes."""


def pack(kind: int, call: int, head: bytes = b"", body: bytes = b"") -> bytes:
    """One frame."""
    return b"".join((HEADER.pack(MAGIC, kind, 0, call, len(head), len(body)), head, body))
