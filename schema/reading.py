"""One manifest while it is read: its values, its places, and the problems found so far."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clowdy.schema.marks import Marks, Path
from clowdy.schema.nodes import Mapping, Node, Scalar, Sequence
from clowdy.schema.problems import Problem
from clowdy.schema.rejection import Rejection
from clowdy.schema.suggest import Suggester
from clowdy.schema.text import printable, quoted


class Reading:
    """Collects problems and remembers which paths have one, so that nothing is judged twice."""

    def __init__(
        self, marks: Marks, data: dict[str, Any], problems: Iterable[Problem], refused: Iterable[Path]
    ) -> None:
        self.marks = marks
        self.data = data
        self.suggest = Suggester()
        self._problems = list(problems)
        self._refused = set(refused)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem, each once, in the order of the file."""
        return tuple(sorted(dict.fromkeys(self._problems)))

    def note(self, path: Path, code: str, message: str, hint: str = "", *, key: bool = False) -> None:
        """Adds a problem of a value that can still be judged and used."""
        self._problems.append(self.marks.problem(path, code, message, hint, key=key))

    def add(self, problem: Problem) -> None:
        """Adds a problem that has its place."""
        self._problems.append(problem)

    def refuse(self, path: Path, code: str, message: str, hint: str = "", *, key: bool = False) -> None:
        """Adds a problem of a value that cannot be used, nor anything below it."""
        self.note(path, code, message, hint, key=key)
        self._refused.add(path)

    def reject(self, path: Path, rejection: Rejection, *, key: bool = False) -> None:
        """Adds what `rejection` says of the value at `path`."""
        self.refuse(path, rejection.code, rejection.message, rejection.hint, key=key)

    def settle(self, path: Path) -> None:
        """Says nothing more of the value at `path`, which others have judged."""
        self._refused.add(path)

    def is_sound(self, path: Path) -> bool:
        """Whether nothing was refused at `path` or above it."""
        return not any(path[:length] in self._refused for length in range(len(path) + 1))

    def found(self, path: Path) -> str:
        """What stands at `path`, to follow "not"."""
        return _described(self.marks.node(path))


def _described(node: Node | None) -> str:
    if isinstance(node, Scalar):
        if node.plain and node.value is None:
            return "nothing"
        return printable(node.text, 40) if node.plain and not isinstance(node.value, str) else quoted(node.text, 40)
    if isinstance(node, Sequence):
        return "a list" if node.items else "an empty list"
    if isinstance(node, Mapping):
        return "a mapping" if node.entries else "an empty mapping"
    return "nothing"


def label(path: Path) -> str:
    """What a message calls the value at `path`: the name of its key."""
    if not path:
        return "the file"
    last = path[-1]
    if isinstance(last, int):
        return f"item {last + 1} of {label(path[:-1])}"
    return printable(last, 60)
