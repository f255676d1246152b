from __future__ import annotations

import re
from pathlib import Path

from clowdy.server.cli import credential
from clowdy.server.cli.program import LATER, VERBS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "command-line.md").read_text()


def test_the_page_names_every_verb_and_none_that_is_not_built() -> None:
    named = re.findall(r"^\| `clowdy ([a-z]+)", PAGE, flags=re.MULTILINE)

    assert named == list(VERBS)
    assert not LATER & set(re.findall(r"clowdy ([a-z]+)", PAGE))


def test_the_page_shows_what_git_is_told() -> None:
    keys = [name.rpartition(".")[2] for name, _ in credential.settings("http://127.0.0.1:8000")]
    shown = re.findall(r"^\t(\w+) =(.*)$", PAGE, flags=re.MULTILINE)

    assert [name for name, _ in shown] == keys
    assert shown[0][1] == ""
