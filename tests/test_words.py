"""Words that no file of the project may hold. Each pattern first catches a sample of what it is for.

A bracket in each pattern and a `~` in each sample keep this file from holding them itself.
"""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.sources import project_files, shown

FORBIDDEN: Final = (
    r"\b[T]ODO\b",
    r"\b[F]IXME\b",
    r"\b[X]XX\b",
    r"\b[Ff]or [n]ow\b",
    r"\braise Not[I]mplementedError\b",
    r"\.\./[s]hared\b",  # a folder beside this one
    r"(?<![\w.*-])/(?:[w]ork|[r]oot|[U]sers|[h]ome/[\w-]+)/",  # a place on one machine
    r"(?<![\w.*-])/tmp/[v]/",
)
PATTERN: Final = re.compile("|".join(FORBIDDEN))


def faults(text: str) -> list[str]:
    """Every such word, with its line."""
    return [
        f"{number}: {found.group()}"
        for number, line in enumerate(text.splitlines(), start=1)
        for found in PATTERN.finditer(line)
    ]


def test_no_file_is_unfinished_or_names_a_place_of_one_machine() -> None:
    found: list[str] = []
    for path in project_files():
        content = path.read_bytes()
        if b"\0" not in content:
            found += [f"{shown(path)}:{fault}" for fault in faults(content.decode())]
    assert found == []


@pytest.mark.parametrize(
    "sample",
    [
        "# TO~DO: later",
        "x = 1  # FIX~ME",
        "# XX~X",
        "Memory alone, for ~now.",
        "For ~now it is memory.",
        "raise Not~ImplementedError",
        "see ../sha~red/design",
        'open("/wo~rk/main/x")',
        "/ro~ot/.config",
        "/ho~me/ada/farm",
        "/tmp/~v/bin/python",
    ],
)
def test_such_a_word_is_caught(sample: str) -> None:
    assert len(faults(f"fine\n{sample.replace('~', '')}\n")) == 1


@pytest.mark.parametrize(
    "sample",
    ["Problem(todo='Start it')", "farm/work/loop.py", "wire/work/", "what matters is known", "ADDTODOS", "/tmp/x.sock"],
)
def test_a_word_that_only_resembles_one_is_not_caught(sample: str) -> None:
    assert faults(sample) == []
