"""The HTTP tests run over both ways of a request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.server.serve.stage import Stage, stage


@pytest.fixture(params=["fast", "plain"])
async def on(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A running server, once with the short way and once without."""
    async with stage(fast=request.param == "fast") as played:
        yield played
