"""The sections of the bench, in the order they are measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.bench import codec, latency, link, memory, path, startup
from tests.bench.report import Effort, Report, Say

Measure = Callable[[Effort, Say], Report]

SECTIONS: Final[dict[str, Measure]] = {
    "codec": codec.measure,
    "link": link.measure,
    "path": path.measure,
    "latency": latency.measure,
    "startup": startup.measure,
    "memory": memory.measure,
}


def unknown(names: list[str]) -> str:
    """What is wrong with these names of sections; empty: nothing."""
    wrong = [name for name in names if name not in SECTIONS]
    if not wrong:
        return ""
    return f"no such section: {', '.join(wrong)}. There are {', '.join(SECTIONS)}"
