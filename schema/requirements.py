"""Requirement lines: names, extras, versions and markers, and nothing that an installer would act on."""

from __future__ import annotations

import re

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from clowdy.schema.problems import Problem
from clowdy.schema.rejection import Rejection
from clowdy.schema.source import excerpt
from clowdy.schema.text import printable, quoted

_CODE = "requirements"
_LONGEST_LINE = 1000
MOST_LINES = 2000
"""How many requirements a file may have."""

_MOST_PROBLEMS = 50
_hash = re.compile(r"(?<![^ \t])--hash[= \t]")
_url = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:|@[ \t]*[A-Za-z][A-Za-z0-9+.-]*:|@[ \t]*[./]")
_nothing_in_parentheses = re.compile(r"\([ \t]*\)")
_text_in_quotes = re.compile(r"\"[^\"]*\"|'[^']*'")
_digits = re.compile("[0-9]+")
_LARGEST_NUMBER = 2**64 - 2
_MOST_DIGITS = 100
_OPTION_HINTS = {
    **dict.fromkeys(
        ("-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host"),
        "leave it out: the server's settings say where packages come from",
    ),
    **dict.fromkeys(("-r", "--requirement"), "write its lines here"),
    **dict.fromkeys(("-c", "--constraint"), "write the versions at the names"),
}
# No `pip lock`: it locks for the machine that it runs on alone.
_INSTEAD_OF_HASHES = (
    "name the uv.lock instead, or make a pylock.toml and name that (uv pip compile --universal requirements.txt "
    "-o pylock.toml), or compile this file without hashes"
)
_path = re.compile(r"^[./~\\]|[/\\]|\.(whl|zip|tar\.\w+|tgz)$")


def check_requirement(text: str) -> str:
    """The requirement without blanks around it; raises Rejection when it is more or less than PEP 508 allows here."""
    line = text.strip(" \t")
    if len(line) > _LONGEST_LINE or printable(line) != line or not line.isascii():
        raise Rejection(_CODE, f"{quoted(text)} is not a requirement: it is too long or has a character that none has")
    if line.startswith("-"):
        option = line.split()[0].split("=")[0]
        # A short one may have its value right behind it.
        option = option if option.startswith("--") else option[:2]
        if option in ("-e", "--editable"):
            raise Rejection(_CODE, f"editable installs are not allowed: {quoted(line)}", "name a package and a version")
        raise Rejection(
            _CODE,
            f"options are not allowed: {quoted(option)}",
            _OPTION_HINTS.get(option, "write one package a line, as in httpx>=0.28"),
        )
    if _hash.search(line):
        raise Rejection(_CODE, "options are not allowed: --hash", "leave it out: the lock that Clowdy keeps has hashes")
    if "${" in line:
        raise Rejection(_CODE, f"variables are not allowed: {quoted(line)}", "write the version itself")
    if _url.search(line):
        raise Rejection(_CODE, f"URLs are not allowed: {quoted(line)}", "name a package and a version")
    if _path.search(line.partition(";")[0]):
        raise Rejection(_CODE, f"paths are not allowed: {quoted(line)}", "name a package and a version")
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        reason = printable(str(error).partition("\n")[0], 120)
        raise Rejection(
            _CODE, f"{quoted(line)} is not a requirement: {reason}", "write it as in httpx[http2]>=0.28"
        ) from None
    # packaging recurses over nested markers and converts numbers of any length.
    except (RecursionError, ValueError):
        raise Rejection(_CODE, f"{quoted(line)} is not a requirement") from None
    if requirement.url is not None:
        raise Rejection(_CODE, f"URLs are not allowed: {quoted(line)}", "name a package and a version")
    _check_for_installer(requirement, line)
    return line


def _check_for_installer(requirement: Requirement, line: str) -> None:
    """Raises Rejection for what packaging takes and uv does not: uv would say so without the place."""
    for name in (requirement.name, *requirement.extras):
        if not name[-1].isalnum():
            raise Rejection(
                _CODE, f"{quoted(line)} is not a requirement: {quoted(name)} must end with a letter or digit"
            )
    for specifier in requirement.specifier:
        version = specifier.version
        if specifier.operator == "===" and not _is_version(version):
            raise Rejection(_CODE, f"{quoted(line)} is not a requirement: {quoted(version)} is not a version")
        public = version.partition("+")[0]
        if any(len(digits) > _MOST_DIGITS or int(digits) > _LARGEST_NUMBER for digits in _digits.findall(public)):
            raise Rejection(_CODE, f"{quoted(line)} is not a requirement: a number of its version is too large")
    if requirement.marker is not None and "===" in _text_in_quotes.sub("", str(requirement.marker)):
        raise Rejection(_CODE, f"{quoted(line)} is not a requirement: === is for versions", "write == in a condition")
    if _nothing_in_parentheses.search(line.partition(";")[0]):
        raise Rejection(_CODE, f"{quoted(line)} is not a requirement: no version stands in its parentheses")


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def requirement_lines(text: str) -> list[tuple[int, str]]:
    """Line numbers and requirements of a requirements.txt, without comments, blank lines and the blanks around."""
    lines = (_without_comment(line).strip(" \t\r") for line in text.split("\n"))
    return [(number, line) for number, line in enumerate(lines, start=1) if line]


def _without_comment(line: str) -> str:
    # No expression: one for the blanks before a # takes the square of a line that has nothing else.
    start = line.find("#")
    while start > 0 and line[start - 1] not in " \t":
        start = line.find("#", start + 1)
    return line if start < 0 else line[:start]


def requirement_problems(text: str, file: str) -> list[Problem]:
    """Every line of a requirements.txt that cannot be taken; all its hashes together are one problem."""
    whole_lines = text.split("\n")
    found, hashed = _without_hashes(requirement_lines(text))
    if len(found) > MOST_LINES:
        message = f"{printable(file, 200)} has {len(found):,} requirements, it may have {MOST_LINES:,}"
        return [Problem(file, 1, 1, _CODE, message)]
    problems: list[Problem] = []
    if hashed is not None:
        number, line = hashed
        rejection = Rejection(_CODE, "a requirements.txt with hashes cannot be taken", _INSTEAD_OF_HASHES)
        problems.append(_problem(file, number, line, whole_lines[number - 1], rejection))
    for number, line in found:
        if len(problems) == _MOST_PROBLEMS:
            more = "the lines below were not looked at: too many problems above"
            problems.append(Problem(file, number, 1, _CODE, more))
            break
        try:
            if line.endswith("\\"):
                raise Rejection(_CODE, "a line cannot be continued with a backslash", "write one requirement a line")
            check_requirement(line)
        except Rejection as rejection:
            problems.append(_problem(file, number, line, whole_lines[number - 1], rejection))
    return sorted(problems, key=lambda problem: problem.line)


def _without_hashes(lines: list[tuple[int, str]]) -> tuple[list[tuple[int, str]], tuple[int, str] | None]:
    """The lines without hashes and the backslashes that lead to them, and the first line that has one."""
    kept: list[tuple[int, str]] = []
    first: tuple[int, str] | None = None
    for place, (number, line) in enumerate(lines):
        hashes = _hash.search(line)
        following = lines[place + 1][1] if place + 1 < len(lines) else ""
        rest = line
        if hashes is not None or line == "--require-hashes":
            first = first or (number, line)
            rest = line[: hashes.start()] if hashes is not None else ""
        elif line.endswith("\\") and _hash.match(following):
            rest = line[:-1]
        if rest := rest.rstrip(" \t"):
            kept.append((number, rest))
    return kept, first


def _problem(file: str, number: int, line: str, whole: str, rejection: Rejection) -> Problem:
    whole = whole.rstrip("\r")
    indent = len(whole) - len(whole.lstrip(" \t"))
    shown, skipped = excerpt(whole, indent + 1)
    return Problem(
        file=file,
        line=number,
        column=indent + 1,
        code=rejection.code,
        message=rejection.message,
        hint=rejection.hint,
        source=shown,
        length=max(1, min(len(line), skipped + len(shown) - indent)),
        skipped=skipped,
    )
