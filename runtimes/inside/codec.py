"""JSON for the runner without importing `json`, which takes as long as the interpreter's own start.

`_json` is the C half of `json` and has had one interface since Python 3.3. Where it is missing or behaves otherwise,
`json` itself is used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _refuse(literal: str) -> object:
    raise ValueError(f"{literal} is not JSON")


class _Scanning:
    """What `_json.make_scanner` asks of a JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse)
    memo: dict[str, str] = {}  # noqa: RUF012  (never filled: the C scanner has its own)


def _default(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not JSON")


_SPACE = " \t\n\r"


def _fast() -> tuple[Any, Any]:
    import _json

    scan = _json.make_scanner(_Scanning)  # type: ignore[arg-type, unused-ignore]
    make_encoder = _json.make_encoder
    quote, quote_ascii = _json.encode_basestring, _json.encode_basestring_ascii

    def decode(text: str) -> Any:
        try:
            value, end = scan(text, len(text) - len(text.lstrip(_SPACE)))
        except (StopIteration, SystemError):
            # SystemError: it looks for the class of its error in `json.decoder`, which nobody imported.
            raise ValueError("not JSON") from None
        if end != len(text) and text[end:].strip(_SPACE):
            raise ValueError("more than one JSON value")
        return value

    def encode(value: object, ascii_only: bool = False) -> str:
        # The first argument finds circles; it must be new each time, since an error leaves it filled.
        write = make_encoder({}, _default, quote_ascii if ascii_only else quote, None, ":", ",", False, False, False)
        return "".join(write(value, 0))

    if decode('{"a": [1, 2.5, "\\u00e9", true, null]}') != _SAMPLE:
        raise ImportError("_json reads otherwise")
    if encode(_SAMPLE) != '{"a":[1,2.5,"\u00e9",true,null]}':
        raise ImportError("_json writes otherwise")
    return decode, encode


def _slow() -> tuple[Any, Any]:
    import json

    decoder = json.JSONDecoder(parse_constant=_refuse)

    def encode(value: object, ascii_only: bool = False) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":"), default=_default)

    return decoder.decode, encode


_SAMPLE = {"a": [1, 2.5, "\u00e9", True, None]}

try:
    decode, encode = _fast()
except (ImportError, AttributeError, TypeError, ValueError):
    decode, encode = _slow()


def to_bytes(value: object) -> bytes:
    """The JSON of `value` as UTF-8; raises TypeError, ValueError or RecursionError for what JSON cannot hold."""
    text: str = encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Lone surrogates exist in JSON as escapes alone.
        return encode(value, True).encode()  # type: ignore[no-any-return]
