from __future__ import annotations

from clowdy.runtimes.api import Promise
from clowdy.server.doctor import driver
from clowdy.server.doctor.finding import Finding, State
from tests.server.doctor.drivers import FakeDriver, as_driver


def test_limits_that_do_not_hold_are_named_with_their_cure() -> None:
    kept = frozenset(Promise) - {Promise.MEMORY, Promise.CPU}

    findings = list(driver.driver_findings(as_driver(FakeDriver(kept))))

    assert [finding.found for finding in findings if finding.state is State.WARNING] == [
        "memory: does not hold here",
        "cpu: does not hold here",
    ]
    assert all("Delegate=yes" in finding.cure for finding in findings if finding.state is State.WARNING)
    assert "memory is watched every 100 ms" in [finding.found for finding in findings]


def test_a_network_that_cannot_be_had_is_a_warning_with_its_cure() -> None:
    fake = FakeDriver(frozenset(Promise) - {Promise.CLOSED_NETWORK})
    fake.no_network = "passt is not installed. Cure: apt-get install passt"

    findings = list(driver.driver_findings(as_driver(fake)))

    (found,) = [finding for finding in findings if finding.state is State.WARNING]
    assert found == Finding(
        "network", State.WARNING, "network: true is refused: passt is not installed", "apt-get install passt"
    )


def test_a_driver_without_isolation_is_a_warning() -> None:
    (finding,) = driver.driver_findings(as_driver(FakeDriver(frozenset())))

    assert finding.state is State.WARNING
    assert "for development only" in finding.cure
