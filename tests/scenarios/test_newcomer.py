"""What a newcomer types first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(180)
def test_the_demo_does_what_it_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "demo.py")], capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in ("$ clowdy init hello", "created project hello", "remote rejected", "deploy/1 -> live"):
        assert shown in done.stdout
