"""What every test may ask for."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import hypothesis
import pytest
import uvloop

IN_CI: Final = os.environ.get("CI") == "true"

hypothesis.settings.register_profile("laptop", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if IN_CI else "laptop"))


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What is tested here runs on uvloop, whose transports are not those of asyncio."""
    return {"uvloop": uvloop.new_event_loop}


class RequireProgram(Protocol):
    """Finds a program that a test runs."""

    def __call__(self, name: str, *, in_ci: bool = IN_CI) -> Path:
        """Its path. Where it is missing the test is skipped, by the program's name, on a laptop, and fails in CI."""
        ...


def _require_program(name: str, *, in_ci: bool = IN_CI) -> Path:
    if found := shutil.which(name):
        return Path(found)
    if in_ci:
        pytest.fail(f"{name} is not installed, and CI skips nothing", pytrace=False)
    pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="session")
def require_program() -> RequireProgram:
    """`require_program("redis-server")` in a test that needs it."""
    return _require_program
