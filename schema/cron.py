"""Cron expressions: five fields, UTC, with the meaning that Debian's cron gives them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from clowdy.schema.rejection import Rejection
from clowdy.schema.text import quoted

FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_LONGEST = 200
_CHARACTERS = re.compile(r"[0-9A-Za-z*/,#-]+(?:[ \t]+[0-9A-Za-z*/,#-]+)*", re.ASCII)
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_CODE = "schedule"


def check_cron(text: str) -> str:
    """`text` with single spaces between its fields; raises Rejection when it is not a cron expression that fires."""
    if text.startswith("@"):
        raise Rejection(
            _CODE, f"schedule {quoted(text)} is not a cron expression", 'write five fields, as in "0 0 * * *"'
        )
    fields = text.split()
    if len(fields) != len(FIELDS):
        raise Rejection(
            _CODE,
            f"schedule {quoted(text)} has {len(fields)} fields, not 5",
            f'write {", ".join(FIELDS)}, as in "*/5 * * * *"',
        )
    if len(text) > _LONGEST or not _CHARACTERS.fullmatch(text.strip()):
        raise Rejection(_CODE, f"schedule {quoted(text)} is not a cron expression", 'write it as in "*/5 * * * *"')
    try:
        CronSim(" ".join(fields), _ANY_TIME)
    except CronSimError:
        raise _explained(text, fields) from None
    # The library asserts what it takes for granted; a push must be answered all the same.
    except (AssertionError, ValueError):
        raise Rejection(_CODE, f"schedule {quoted(text)} is not a cron expression") from None
    return " ".join(fields)


def _explained(text: str, fields: list[str]) -> Rejection:
    for position, name in enumerate(FIELDS):
        alone = ["*"] * len(FIELDS)
        alone[position] = fields[position]
        # Day of month together with its month is judged below: 31 alone is a good day.
        try:
            CronSim(" ".join(alone), _ANY_TIME)
        except (CronSimError, AssertionError, ValueError):
            return Rejection(_CODE, f"schedule {quoted(text)} has a bad {name}: {quoted(fields[position])}")
    return Rejection(
        _CODE, f"schedule {quoted(text)} never fires", "no month that it names has such a day: choose another one"
    )
