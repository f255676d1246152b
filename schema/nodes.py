"""YAML as a tree whose every node knows its place, read from the parser's events within fixed limits.

The library's own `compose` and `load` are not used: they recurse in C and end the process on deep nesting, follow
aliases, obey tags, overwrite duplicate keys, and read `on`, `1:30` and dates as what nobody meant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import CSafeLoader

from clowdy.schema.problems import Problem
from clowdy.schema.source import Source

DEPTH_LIMIT = 64
NODE_LIMIT = 20_000
_MOST_DIRECTIVES = 8
_LONGEST_NUMBER = 400

_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_HEXADECIMAL = re.compile(r"0x[0-9A-Fa-f]+", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_WORDS: dict[str, Any] = {"": None, "~": None}
_WORDS |= dict.fromkeys(("null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as it is written; `plain` without quotes."""

    text: str
    plain: bool
    start: int
    end: int

    @property
    def value(self) -> Any:
        """What the text means by YAML 1.2: null, a boolean, a number where JSON has one for it, or text."""
        if not self.plain or len(self.text) > _LONGEST_NUMBER:
            return self.text
        if self.text in _WORDS:
            return _WORDS[self.text]
        if _INTEGER.fullmatch(self.text):
            return int(self.text)
        if _HEXADECIMAL.fullmatch(self.text):
            return int(self.text, 16)
        if _OCTAL.fullmatch(self.text):
            return int(self.text[2:], 8)
        if _FLOAT.fullmatch(self.text):
            number = float(self.text)
            return number if math.isfinite(number) else self.text
        return self.text


@dataclass(slots=True)
class Sequence:
    """A list."""

    start: int
    end: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    """Keys and values; of a key that comes again the first counts, and `repeated` has the later ones."""

    start: int
    end: int
    entries: dict[str, Entry] = field(default_factory=dict)
    repeated: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Where something stood that was refused while reading, such as an alias; nothing is said about it again."""

    start: int
    end: int


Node = Scalar | Sequence | Mapping | Unreadable


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its value."""

    key: Scalar
    value: Node


class _GaveUp(Exception):
    """Reading stopped; its problem is already noted."""


def read_nodes(source: Source) -> tuple[Node | None, list[Problem]]:
    """The tree of the file's one document, or None where there is none, and every problem of its syntax."""
    reader = _Reader(source)
    try:
        return reader.read(), reader.problems
    except _GaveUp:
        return None, reader.problems
    except yaml.YAMLError as error:
        return None, [*reader.problems, _in_words(error, source, reader.opened)]


@dataclass(slots=True)
class _Frame:
    """A list or mapping whose end has not come; a mapping's keys and values alternate."""

    is_mapping: bool
    start: int
    children: list[Node] = field(default_factory=list)


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self._open: list[_Frame] = []
        self._nodes = 0

    @property
    def opened(self) -> int | None:
        """Where the innermost bracket or brace stands that is open where reading stopped."""
        frames = (frame.start for frame in reversed(self._open))
        return next((start for start in frames if self.source.text[start : start + 1] in ("[", "{")), None)

    def read(self) -> Node | None:
        self._count_directives()
        root: Node | None = None
        documents = 0
        for event in self._events():
            start, end = event.start_mark.index, event.end_mark.index
            node: Node | None = None
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(start, end, "documents", "a second document begins here", "write one document only")
                    raise _GaveUp
            elif isinstance(event, yaml.AliasEvent):
                self._refuse(
                    start, end, "anchor", f"aliases are not allowed: *{event.anchor}",
                    "repeat what it stands for, or put text that begins with * in quotes",
                )  # fmt: skip
                self._count(start, end)
                node = Unreadable(start, end)
            elif isinstance(event, yaml.NodeEvent):
                self._count(start, end)
                node = self._begin(event, start, end)
            elif isinstance(event, yaml.CollectionEndEvent):
                node = self._finish(end)
            if node is None:
                continue
            if self._open:
                self._open[-1].children.append(node)
            else:
                root = node
        return root

    def _events(self) -> Iterator[Any]:
        return yaml.parse(self.source.text, Loader=CSafeLoader)

    def _begin(self, event: Any, start: int, end: int) -> Node | None:
        """The node of a scalar; None for a list or mapping, which is then open."""
        if event.anchor is not None:
            self._refuse(
                start, end, "anchor", f"anchors are not allowed: &{event.anchor}",
                "write the value where it is needed, or put text that begins with & in quotes",
            )  # fmt: skip
        if event.tag is not None:
            self._refuse(
                start, end, "tag", f"tags are not allowed: {event.tag.replace('tag:yaml.org,2002:', '!!')}",
                "leave it out, or put text that begins with ! in quotes",
            )  # fmt: skip
        refused = event.anchor is not None or event.tag is not None
        if isinstance(event, yaml.ScalarEvent):
            if refused:
                return Unreadable(start, end)
            return Scalar(event.value, event.implicit[0], start, _trimmed(self.source.text, start, end))
        if len(self._open) >= DEPTH_LIMIT:
            self._refuse(start, end, "too-deep", f"nested more than {DEPTH_LIMIT} deep", "write it flatter")
            raise _GaveUp
        self._open.append(_Frame(isinstance(event, yaml.MappingStartEvent), start))
        return None

    def _finish(self, end: int) -> Node:
        frame = self._open.pop()
        if not frame.is_mapping:
            return Sequence(frame.start, end, frame.children)
        mapping = Mapping(frame.start, end)
        for key, value in zip(frame.children[::2], frame.children[1::2], strict=True):
            if isinstance(key, Unreadable):
                continue
            if not isinstance(key, Scalar):
                self._refuse(key.start, key.start + 1, "wrong-type", "a key must be text, not a list or a mapping")
                continue
            entry = Entry(key, value)
            if key.text in mapping.entries:
                mapping.repeated.append(entry)
            else:
                mapping.entries[key.text] = entry
        return mapping

    def _count(self, start: int, end: int) -> None:
        self._nodes += 1
        if self._nodes > NODE_LIMIT:
            self._refuse(start, end, "too-large", f"more than {NODE_LIMIT:,} keys and values", "make the file smaller")
            raise _GaveUp

    def _count_directives(self) -> None:
        # Each one is compared with all before it, inside the C parser, before the first event comes.
        for count, match in enumerate(re.finditer("^%", self.source.text, re.MULTILINE), start=1):
            if count > _MOST_DIRECTIVES:
                self._refuse(
                    match.start(), match.end(), "yaml", "too many directives", "leave lines that begin with % out"
                )
                raise _GaveUp

    def _refuse(self, start: int, end: int, code: str, message: str, hint: str = "") -> None:
        self.problems.append(self.source.problem(start, end, code, message, hint))


def _trimmed(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1] in " \n\r\t":
        end -= 1
    return end


def _unclosed(bracket: str) -> tuple[str, str]:
    closing = "]" if bracket == "[" else "}"
    return f"{bracket} is not closed, or a comma is missing", f"write , between the entries and {closing} at the end"


def _in_words(error: yaml.YAMLError, source: Source, opened: int | None) -> Problem:
    """A parser's complaint in the words of somebody who writes YAML, at the place that has to be changed."""
    problem = str(getattr(error, "problem", None) or "cannot be read")
    context = str(getattr(error, "context", None) or "")
    mark, context_mark = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    place = mark.index if mark is not None else 0
    began = context_mark.index if context_mark is not None else place
    text = source.text
    found = text[place : place + 1]
    hint = ""
    if "cannot start any token" in problem:
        if found == "\t":
            problem, hint = "a tab cannot indent YAML", "use spaces"
        else:
            problem, hint = f"a value cannot begin with {found}", "put it in quotes"
    elif "tab character" in problem:
        problem, hint = "a tab cannot indent YAML", "use spaces"
    elif "mapping values are not allowed" in problem:
        problem, hint = "this : cannot stand here", "put a value that has ': ' in quotes, or check the indentation"
    elif "alphabetic or numeric character" in problem:
        place = began
        name = text[began : began + 1]
        problem, hint = f"a value cannot begin with {name}", 'put it in quotes, as in "*/5 * * * *"'
    elif "unexpected end of stream" in problem and "quoted" in context:
        place, problem, hint = began, "a quote is opened here and not closed", "close it"
    elif "could not find expected ':'" in problem:
        place, problem, hint = began, "a key without :", "write KEY: VALUE"
    elif "did not find expected ',' or" in problem:
        if place >= len(text.rstrip()):
            place = began
        problem, hint = _unclosed(text[began : began + 1])
    elif "expected node content" in problem and opened is not None and place >= len(text.rstrip()):
        place = opened
        problem, hint = _unclosed(text[opened])
    elif "did not find expected key" in problem or "expected '-' indicator" in problem:
        problem, hint = "this line does not fit the lines before it", "check the indentation"
    elif "expected node content" in problem:
        problem, hint = (
            f"no value here, but {found}" if found.strip() else "no value here",
            "put a text with it in quotes",
        )
    elif "maximum nesting depth" in problem:
        # libyaml's own limit, met while it looks ahead of the first event.
        return source.problem(place, place + 1, "too-deep", f"nested more than {DEPTH_LIMIT} deep", "write it flatter")
    elif "incompatible YAML document" in problem:
        hint = "leave the line %YAML out"
    elif "escape" in problem:
        hint = "in double quotes write a backslash as \\\\, or use single quotes"
    return source.problem(place, place + 1, "yaml", f"not valid YAML: {problem}", hint)
