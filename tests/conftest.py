"""What every test may ask for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import hypothesis
import pytest
import uvloop

from tests.servers import IN_CI, program

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


@pytest.fixture(scope="session")
def require_program() -> RequireProgram:
    """`require_program("redis-server")` in a test that needs it."""
    return program
