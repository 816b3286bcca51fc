"""The gate: has anything got slower, beside what it is compared with in the same run?

    make bench-check                    exit 1 and a line for each ratio that got worse by more than 20 %; exit 75 where
                                        others kept the machine so busy that nobody can say
    make bench-check ARGS=--keep        measure, and keep what was measured in tests/bench/ratios.json
Ratios alone are compared, never times. A section with something that got worse is measured again, up to LOOKS times:
named is what was worse every time.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tests.bench import gate, machine
from tests.bench.gate import Kept
from tests.bench.ratios import Ratio
from tests.bench.report import GATE, Say
from tests.bench.run import progress
from tests.bench.sections import GATED, SECTIONS, unknown

KEPT: Final = Path(__file__).with_name("ratios.json")
LOOKS: Final = 3
UNSURE: Final = 75  # EX_TEMPFAIL of sysexits.h
QUIET_WAIT_S: Final = 10.0  # at most, before a further look
BUDGET_S: Final = 110.0  # no further look after this

Look = dict[str, Ratio]


def section_of(name: str) -> str:
    """Which section measures a ratio: the first word of its name."""
    return name.partition(":")[0].partition(",")[0]


def look(sections: list[str], say: Say) -> Look:
    """Measure the gate's part of those sections."""
    return {one.name: one for section in sections for one in SECTIONS[section](GATE, say).ratios}


def looks_at(sections: list[str], kept: dict[str, Kept], say: Say) -> list[Look]:
    """All of them once, and what looks worse again."""
    end_s = time.monotonic() + BUDGET_S
    looks = [look(sections, say)]
    while (worse := gate.suspects(kept, gate.mildest(kept, looks))) and time.monotonic() < end_s:
        if len(looks) == LOOKS:
            break
        again = [section for section in sections if section in {section_of(name) for name in worse}]
        say(f"looks worse, measured again: {'; '.join(worse)}")
        machine.wait_for_quiet(QUIET_WAIT_S)
        looks.append(look(again, say))
    return looks


def read(path: Path) -> tuple[dict[str, Kept], dict[str, Any]]:
    """What is kept, and the machine that it comes from."""
    content = json.loads(path.read_text())
    return {name: Kept(**one) for name, one in content["ratios"].items()}, content["machine"]


def write(path: Path, kept: dict[str, Kept], here: dict[str, str | int | float]) -> None:
    """Keep these."""
    ratios = {name: asdict(one) for name, one in kept.items()}
    path.write_text(json.dumps({"machine": here, "ratios": ratios}, indent=2) + "\n")


def keep(sections: list[str], here: dict[str, str | int | float], say: Say) -> None:
    """Measure LOOKS times and keep what lies in the middle; what other sections have is left."""
    looks = [look(sections, say) for _ in range(LOOKS)]
    others = read(KEPT)[0] if KEPT.exists() else {}
    rest = {name: one for name, one in others.items() if section_of(name) not in sections}
    write(KEPT, {**rest, **gate.kept_of(looks)}, here)
    print(f"{len(looks[0])} ratios kept in {KEPT.name}")
    busy = max((one.busy for ratios in looks for one in ratios.values()), default=0.0)
    if busy > gate.BUSY:
        print(f"note: others took {busy:.0%} of this machine meanwhile: keep them again when it is quiet")


def show(kept: dict[str, Kept], found: Look) -> None:
    """Print the comparison."""
    width = max(map(len, found), default=0)
    for name, one in found.items():
        before = kept.get(name)
        change = "" if before is None else f"{before.value:9.3g}  {-gate.worse_by(before, one.value):+7.0%}"
        print(f"{name:{width}}  {one.value:9.3g}  {change}")
    for line in gate.notes(kept, found):
        print(line)
    for line in (*gate.doubts(kept, found), *gate.faults(kept, found)):
        print(line)


def main() -> None:
    """Compare, or keep."""
    parser = argparse.ArgumentParser(prog="make bench-check", description="Has anything got slower?")
    parser.add_argument("sections", nargs="*", help=f"which of {', '.join(GATED)}; none: all")
    parser.add_argument("--keep", action="store_true", help="keep what is measured now")
    words = parser.parse_args()
    if problem := unknown(words.sections):
        parser.exit(2, f"error: {problem}\n")
    sections, here, say = words.sections or list(GATED), machine.describe(), progress()
    if words.keep:
        return keep(sections, here, say)
    if not KEPT.exists():
        parser.exit(2, f"error: nothing to compare with: there is no {KEPT}. Make one: make bench-check ARGS=--keep\n")
    kept, there = read(KEPT)
    kept = {name: one for name, one in kept.items() if section_of(name) in sections}
    for difference in machine.differences(there, here):
        print(f"note: kept ratios come from another machine: {difference}")
    others = machine.Others()
    found = gate.mildest(kept, looks_at(sections, kept, say))
    show(kept, found)
    print(f"note: other processes took {others.share():.0%} of this machine meanwhile")
    if wrong := gate.faults(kept, found):
        parser.exit(1, f"error: {len(wrong)} of {len(kept)} ratios fail; docs/benchmarks.md says how to read them\n")
    if unsure := gate.doubts(kept, found):
        parser.exit(UNSURE, f"unsure: {len(unsure)} of {len(kept)} ratios; run it again on a quiet machine\n")
    print(f"ok: none of {len(kept)} ratios is worse by more than {gate.LIMIT:.0%}")
    return None


if __name__ == "__main__":
    main()
