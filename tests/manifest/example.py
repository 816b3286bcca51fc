"""The manifest that the README shows, a small one, and what a person is told about a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.errors import FarmError, ManifestError
from farm.manifest.read import read

EXAMPLE = """\
[app]
name = "example"

[brokers.test]
type = "memory"
gateway = { port = 3005 }

[brokers.secondary]
type = "memory"
gateway = { port = 3006, websockets = "text" }

[components.hello]
source = "hello.py"            # a Python handler, built by farm
triggers = [{ broker = "test", topic = "hello.*", publish = { broker = "secondary", subject = "good.bye" } }]

[components.goodbye]
source = "goodbye.py"
triggers = [{ broker = "secondary", topic = "good.bye", publish = { broker = "test", subject = "sink" } }]
"""

SMALL = """\
[app]
name = "small"
[brokers.test]
type = "memory"
[components.hello]
source = "hello.py"
"""


def write(folder: Path, text: str) -> Path:
    """farm.toml with `text`, beside hello.py and goodbye.py."""
    for name in ("hello.py", "goodbye.py"):
        (folder / name).touch()
    path = folder / "farm.toml"
    path.write_text(text, encoding="utf-8")
    return path


def said(folder: Path, text: str, kind: type[FarmError] = ManifestError) -> list[str]:
    """The lines that a person is shown about a manifest, its folder left out."""
    with pytest.raises(kind) as caught:
        read(write(folder, text), {})
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def component(lines: str) -> str:
    return f"{SMALL.replace('small', 'x')}{lines}\n"


def trigger(lines: str) -> str:
    """The small manifest with `lines` in a trigger, from line 8 on."""
    return component(f"[[components.hello.triggers]]\n{lines}")
