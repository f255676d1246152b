from __future__ import annotations

from pathlib import Path

import pytest

from clowdy.server.config import Config


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.load({"data_dir": str(tmp_path / "data")}, {})
