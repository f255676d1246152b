from __future__ import annotations

from pathlib import Path

import pytest

from clowdy.runtimes.docker.resolvers import find_resolvers


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("nameserver 10.0.0.2\n#nameserver 8.8.8.8\nnameserver  9.9.9.9 #\n", "", ("10.0.0.2", "9.9.9.9")),
        ("search example.org\nnameserver 127.0.0.53\n", "nameserver 192.0.2.53\n", ("192.0.2.53",)),
        ("nameserver 127.0.0.1\nnameserver 10.0.0.2\n", "nameserver 192.0.2.53\n", ("10.0.0.2",)),
        ("nameserver fd00::53\nnameserver 0.0.0.0\nnameserver x\nnameserver\n\n", "", ()),
    ],
)
def test_the_resolvers_are_those_of_this_machine_that_containers_reach(
    tmp_path: Path, first: str, second: str, found: tuple[str, ...]
) -> None:
    files = [tmp_path / "first", tmp_path / "none", tmp_path / "second"]
    files[0].write_text(first)
    files[2].write_text(second)
    assert find_resolvers(files) == found
