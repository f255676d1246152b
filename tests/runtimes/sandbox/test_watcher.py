from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from clowdy.runtimes.sandbox import watcher as watcher_module
from clowdy.runtimes.sandbox.watcher import Watched, Watcher, descendants, memory_of
from clowdy.schema.units import MEBIBYTE

CHILD = "x = bytearray(30 << 20); print(flush=True); import time; time.sleep(60)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


@pytest.fixture(autouse=True)
def no_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    """These processes see the host's /tmp, which is nobody's memory."""
    monkeypatch.setattr(watcher_module, "_tmp_bytes", lambda pid: 0)


@pytest.fixture
def parent() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)


def end(parent: subprocess.Popen[bytes]) -> None:
    for pid in descendants(parent.pid):
        os.kill(pid, signal.SIGKILL)
    parent.wait(5)
    assert parent.stdout is not None
    parent.stdout.close()


def test_memory_is_that_of_what_a_process_started(parent: subprocess.Popen[bytes]) -> None:
    assert parent.stdout is not None
    parent.stdout.readline()
    assert len(descendants(parent.pid)) == 1
    assert memory_of(parent.pid) > 30 * MEBIBYTE
    end(parent)
    assert memory_of(parent.pid) == 0


async def test_whoever_exceeds_is_told_once(parent: subprocess.Popen[bytes]) -> None:
    assert parent.stdout is not None
    parent.stdout.readline()
    told: list[int] = []
    watcher = Watcher()
    small = Watched(parent.pid, 20 * MEBIBYTE, lambda: told.append(1))
    large = Watched(parent.pid, 4096 * MEBIBYTE, lambda: told.append(2))
    watcher.add(small)
    watcher.add(large)
    async with asyncio.timeout(5):
        while not told:
            await asyncio.sleep(0.02)
    assert (told, small.exceeded, large.exceeded) == ([1], True, False)
    await watcher.close()
    end(parent)
