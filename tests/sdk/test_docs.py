"""The examples of docs/guest-sdk.md are handlers that can be built, and do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from farm.build.python import check
from tests.sources import ROOT

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "guest-sdk.md").read_text(), re.DOTALL)
HANDLERS = [text for text in EXAMPLES if "@message_component" in text]
TESTS = [text for text in EXAMPLES if "def test_" in text]


@pytest.mark.parametrize("number", range(len(HANDLERS)))
def test_an_example_has_no_problem(number: int, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(HANDLERS[number])
    assert check(tmp_path / "example.py") == []


def test_the_examples_test_of_the_first_handler_passes(tmp_path: Path) -> None:
    assert len(HANDLERS) >= 4
    (tmp_path / "hello.py").write_text(HANDLERS[0])
    (tmp_path / "test_hello.py").write_text(TESTS[0])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        "test_hello.py",
    ]
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
