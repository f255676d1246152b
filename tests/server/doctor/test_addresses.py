from __future__ import annotations

from dataclasses import replace

import pytest

from clowdy.server.config import Config
from clowdy.server.doctor import addresses
from clowdy.server.doctor.finding import State


def test_a_base_domain_needs_a_wildcard_record(config: Config) -> None:
    asked: list[str] = []
    own = replace(config, base_domain="apps.example")

    assert addresses.base_domain(config, lambda _: pytest.fail("localhost is not looked up")).state is State.OK
    assert addresses.base_domain(own, lambda name: bool(asked.append(name))).cure.startswith("add a DNS record *.apps")
    assert addresses.base_domain(own, lambda _: True).state is State.OK
    assert asked == ["clowdy-doctor.apps.example"]


@pytest.mark.parametrize(
    ("url", "state"),
    [
        ("http://127.0.0.1:8000", State.OK),
        ("https://clowdy.example", State.OK),
        ("http://clowdy.example", State.WARNING),
    ],
)
def test_tokens_should_travel_encrypted(config: Config, url: str, state: State) -> None:
    assert addresses.public_url(replace(config, public_url=url)).state is state
