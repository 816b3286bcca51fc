"""What a process asks of Linux for itself: seen in one of its own, for it lasts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.control.conftest import ROOT

FILES = """
import resource, sys
from farm.control import kernel

hard = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
print(kernel.raise_file_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize("hard", [100, 1000])
def test_as_many_descriptors_are_allowed_as_the_system_lets_us(hard: int) -> None:
    words = [sys.executable, "-c", FILES, str(hard)]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.split() == [str(hard)] * 3
