"""The first of several drivers that can run here, in the place of one driver."""

from __future__ import annotations

from collections.abc import Sequence

from clowdy.runtimes.api import Application, Driver, DriverUnavailable, Instance, Kind, Parent, Parents, Promise

CURE = " Cure: "


class FirstDriver:
    """Implements `Driver`, and `Parents` as far as the chosen one does, by the first of `drivers` that opens.

    `chosen` is that one; it stays until this is closed, and `passed_over` has why those before it cannot run, by their
    names. While there is none, only `name`, `open` and `close` are there to be used.
    """

    def __init__(self, drivers: Sequence[Driver]) -> None:
        self.drivers = tuple(drivers)
        self.chosen: Driver | None = None
        self.passed_over: Sequence[tuple[str, DriverUnavailable]] = ()

    @property
    def name(self) -> str:
        return self.chosen.name if self.chosen is not None else "auto"

    @property
    def python(self) -> str:
        return self._in_use.python

    @property
    def base(self) -> str:
        return self._in_use.base

    @property
    def promises(self) -> frozenset[Promise]:
        return self._in_use.promises

    @property
    def notice(self) -> str | None:
        return self._in_use.notice

    @property
    def no_network(self) -> str | None:
        return self._in_use.no_network

    @property
    def trouble(self) -> str | None:
        return self._in_use.trouble

    @property
    def _in_use(self) -> Driver:
        assert self.chosen is not None, "not open"
        return self.chosen

    async def open(self) -> None:
        """See Driver. Where none opens, the reason and the cure of each are told; it passes where that of one does."""
        refusals: list[tuple[str, DriverUnavailable]] = []
        for driver in self.drivers:
            try:
                await driver.open()
            except BaseException as error:
                # Also when it was cancelled: nobody else knows that anything of it is there.
                await driver.close()
                if not isinstance(error, DriverUnavailable):
                    raise
                refusals.append((driver.name, error))
            else:
                self.chosen = driver
                self.passed_over = tuple(refusals)
                return
        raise together(refusals)

    async def start(self, kind: Kind) -> Instance:
        return await self._in_use.start(kind)

    def can_prepare(self, application: Application) -> bool:
        """See Parents; False where the chosen driver prepares none."""
        return isinstance(self._in_use, Parents) and self._in_use.can_prepare(application)

    async def prepare(self, application: Application, timeout_seconds: float) -> Parent:
        """See Parents."""
        driver = self._in_use
        if not isinstance(driver, Parents):
            raise DriverUnavailable(f"instances share nothing in {driver.name}")
        return await driver.prepare(application, timeout_seconds)

    async def close(self) -> None:
        driver, self.chosen, self.passed_over = self.chosen, None, ()
        if driver is not None:
            await driver.close()


def in_use(driver: Driver) -> Driver:
    """The driver that an open one stands for."""
    found = driver.chosen if isinstance(driver, FirstDriver) else driver
    assert found is not None, "not open"
    return found


def together(refusals: Sequence[tuple[str, DriverUnavailable]]) -> DriverUnavailable:
    """One refusal that says of each driver, by its name, why it cannot run, and then of each what to do."""
    if len(refusals) == 1:
        return refusals[0][1]
    reasons: list[str] = []
    cures: list[str] = []
    for name, error in refusals:
        reason, _, cure = str(error).partition(CURE)
        reasons.append(f"{name}: {reason.rstrip('.')}")
        if cure:
            cures.append(f"{name}: {cure.rstrip('.')}")
    text = "; ".join(reasons)
    if cures:
        text += f".{CURE}{'. Or '.join(cures)}"
    return DriverUnavailable(text, passing=any(error.passing for _, error in refusals))
