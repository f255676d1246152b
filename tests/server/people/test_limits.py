from __future__ import annotations

from clowdy.server.people import limits
from clowdy.server.people.limits import ATTEMPTS, SECONDS_PER_ATTEMPT, Failures
from tests.server.clocks import Clock


def test_an_address_may_be_wrong_a_number_of_times_at_once_and_then_now_and_again() -> None:
    clock = Clock()
    failures = Failures(clock)
    for _ in range(ATTEMPTS):
        assert not failures.exhausted("192.0.2.1")
        failures.add("192.0.2.1")

    assert failures.exhausted("192.0.2.1")
    assert not failures.exhausted("192.0.2.2")

    clock.forward(SECONDS_PER_ATTEMPT)
    assert not failures.exhausted("192.0.2.1")
    failures.add("192.0.2.1")
    assert failures.exhausted("192.0.2.1")


def test_trying_on_does_not_lengthen_the_wait() -> None:
    clock = Clock()
    failures = Failures(clock)
    for _ in range(10 * ATTEMPTS):
        failures.add("192.0.2.1")

    clock.forward(ATTEMPTS * SECONDS_PER_ATTEMPT)

    assert not failures.exhausted("192.0.2.1")


def test_ipv6_counts_by_what_one_customer_has_and_mapped_addresses_as_ipv4() -> None:
    failures = Failures(Clock())
    for host in range(ATTEMPTS):
        failures.add(f"2001:db8:0:1::{host:x}")
        failures.add("::ffff:192.0.2.7")

    assert failures.exhausted("2001:db8:0:1:ffff::1")
    assert not failures.exhausted("2001:db8:0:2::1")
    assert failures.exhausted("192.0.2.7")


def test_what_is_remembered_is_bounded() -> None:
    failures = Failures(Clock())
    for number in range(limits.ADDRESSES + 100):
        failures.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")

    assert len(failures._clean_at) == limits.ADDRESSES
