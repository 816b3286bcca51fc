from __future__ import annotations

from pathlib import Path

import pytest

from farm.broker import Home
from farm.testing.rig import home_of


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_of(tmp_path / "home")
