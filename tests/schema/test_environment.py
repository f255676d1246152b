"""What a function's environment may hold."""

from __future__ import annotations

import pytest

from clowdy.schema.environment import check_environment_name, check_environment_size, check_environment_value
from clowdy.schema.rejection import Rejection


@pytest.mark.parametrize(
    "name",
    ["A", "_", "a1", "STRIPE_KEY", "LD", "PATHS", "MY_PYTHON", "ld_x", "CLOWDY", "HOME", "LANG", "LANGUAGE", "TZ"],
)
def test_names_that_are_free(name: str) -> None:
    check_environment_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD", "LD_", "PYTHONPATH", "PYTHON", "PATH", "DATABASE_URL", "CLOWDY_PROJECT", "CLOWDY_X",
        "", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "A\0",
    ],
)  # fmt: skip
def test_names_that_are_reserved_or_no_names(name: str) -> None:
    with pytest.raises(Rejection) as caught:
        check_environment_name(name)
    assert caught.value.code == "env-name"


def test_a_value_has_at_most_4_kb_of_utf8_and_no_nul() -> None:
    check_environment_value("A", "x" * 4096)
    check_environment_value("A", "é" * 2048)
    for value in ("x" * 4097, "é" * 2049, "a\0b"):
        with pytest.raises(Rejection):
            check_environment_value("A", value)


def test_names_and_values_have_at_most_64_kb_in_all() -> None:
    env = {f"A{number:03}": "x" * 4092 for number in range(16)}
    check_environment_size(env)
    with pytest.raises(Rejection):
        check_environment_size(env | {"B": ""})
