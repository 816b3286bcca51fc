"""The bars of reliability at full size: does this farm, on this machine, keep what it promises?

    make bars                        all of them, about twelve minutes
    make bars ARGS="once revoke"     some of them: once, burst, fair, revoke
A table of what was measured and what was wanted; exit code 1 when one does not hold. What each shows stands in
docs/reliability.md. tests/system/test_bars.py runs the same with small numbers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.bench import bars_burst, bars_fair, bars_once, bars_revoke
from tests.bench.bars_witness import Bar
from tests.bench.machine import describe

BARS: Final[dict[str, Callable[[Path], Iterator[Bar]]]] = {
    "once": bars_once.bars,
    "burst": bars_burst.bars,
    "fair": bars_fair.bars,
    "revoke": bars_revoke.bars,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a bar does not hold."""
    parser = argparse.ArgumentParser(prog="make bars", description="Show that farm keeps its promises at full size.")
    parser.add_argument("names", nargs="*", metavar="BAR", help=f"which: {', '.join(BARS)}; default: all")
    names: list[str] = parser.parse_args(argv).names or list(BARS)
    if unknown := [name for name in names if name not in BARS]:
        parser.error(f"no bar {unknown[0]!r}: there are {', '.join(BARS)}")
    print("; ".join(f"{key} {value}" for key, value in describe().items()) + "\n")
    print("| bar | measured | wanted | holds |\n|---|---|---|---|")
    found: list[Bar] = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="farm-") as folder:
            for bar in BARS[name](Path(folder)):
                found.append(bar)
                print(row(bar), flush=True)
    return 0 if all(bar.holds for bar in found) else 1


def row(bar: Bar) -> str:
    """Its line of the table."""
    return f"| {bar.name} | {bar.measured} | {bar.wanted} | {'yes' if bar.holds else 'NO'} |"


if __name__ == "__main__":
    sys.exit(main())
