"""How fast is farm here?

    make bench                          everything, under five minutes
    make bench ARGS="codec path"        some sections
    make bench ARGS="--quick"           everything, roughly
Figures of one machine at one time: compare rows of one run, not runs. docs/benchmarks.md says how to read them;
build/bench.json keeps them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import Final

from tests.bench import aims, machine
from tests.bench.guests import ROOT
from tests.bench.report import FULL, QUICK, Effort, Report, Say, shown
from tests.bench.sections import SECTIONS, unknown

SCHEMA: Final = 1
KEPT: Final = ROOT / "build" / "bench.json"


def progress() -> Say:
    """Says on stderr what is measured now, and since when this runs."""
    began_s = time.monotonic()
    return lambda text: print(f"{time.monotonic() - began_s:6.1f} s  {text}", file=sys.stderr, flush=True)


def measure(names: list[str], effort: Effort, say: Say) -> tuple[dict[str, Report], dict[str, float]]:
    """Those sections, each printed as soon as it is done; reports, and seconds that each took."""
    reports: dict[str, Report] = {}
    took_s: dict[str, float] = {}
    for name in names:
        began_s = time.monotonic()
        reports[name] = SECTIONS[name](effort, say)
        took_s[name] = round(time.monotonic() - began_s, 1)
        for table in reports[name].tables:
            print(f"\n{table.text()}", flush=True)
    return reports, took_s


def as_json(here: dict[str, str | int | float], effort: Effort, reports: dict[str, Report], took_s: object) -> str:
    """What build/bench.json holds; docs/benchmarks.md describes it."""
    tables = {table.key: table.rows for report in reports.values() for table in report.tables}
    ratios = {one.name: asdict(one) for report in reports.values() for one in report.ratios}
    for one in ratios.values():
        del one["name"]
    whole = {"schema": SCHEMA, "machine": here, "effort": effort.name, "took_s": took_s, "tables": tables}
    return json.dumps({**whole, "ratios": ratios}, indent=2) + "\n"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure farm on this machine.")
    parser.add_argument("sections", nargs="*", help=f"which of {', '.join(SECTIONS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="a third of the time, and more noise")
    words = parser.parse_args()
    if problem := unknown(words.sections):
        parser.exit(2, f"error: {problem}\n")
    effort = QUICK if words.quick else FULL
    here = machine.describe()
    print("\n".join(f"{key:16} {value}" for key, value in here.items()), flush=True)
    others = machine.Others()
    reports, took_s = measure(words.sections or list(SECTIONS), effort, progress())
    found = aims.table(ratio for report in reports.values() for ratio in report.ratios)
    if found is not None:
        print(f"\n{found.text()}")
    here["others"] = round(others.share(), 2)
    print(f"\nOther processes took {others.share():.0%} of this machine meanwhile.")
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(as_json(here, effort, reports, took_s))
    print(f"{shown(sum(took_s.values()))} s in all; kept in {KEPT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
