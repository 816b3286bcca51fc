"""The whole path under full load: client - relay - ingest - worker - guest - ingest, on the broker in memory.

Farms of one and of two workers stand side by side; the idle one costs nothing. What is compared is measured in turn:
one worker, two workers, the call of the same guest in this process, the bare link.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from tests.bench import farms
from tests.bench.callee import Callee, callee, invokes_of
from tests.bench.codec import body_of, timed_us
from tests.bench.flood import Flood, Window
from tests.bench.guests import Guest
from tests.bench.link import BODY, Blast, Link, link
from tests.bench.ratios import quantile, ratio
from tests.bench.report import Effort, Report, Row, Say, Table, size_name
from tests.system.family import Family

GUESTS: Final[tuple[Guest, ...]] = ("tiny", "Python")
SIZES: Final = (100, 1024, 10 << 10, 100 << 10)
CALLS_S: Final = 0.04
LINK_BATCH: Final = 32
BODIES: Final = {"guest": "guest", "body": "body"}
RATES: Final = {"per_s_1": "1 worker/s", "per_s_2": "2 workers/s", "scaling": "2/1"}
COSTS: Final = {"ingest_us": "ingest us", "worker_us": "worker us"}
LOAD_HEADS: Final = {**BODIES, **RATES, **COSTS, "client_us": "client us"}
DRAIN_HEADS: Final = {
    **BODIES,
    **RATES,
    **COSTS,
    "codec_us": "codec us",
    "call_us": "call us",
    "worker_codec": "worker/codec",
}
EMPTY_NOTE: Final = "* the queue was seen empty: publishing set the pace, not the worker."


@dataclass
class Pairs:
    """What was measured in turn for one guest and one body; the lists have one length. By number of workers: 1, 2."""

    load: dict[int, list[Window]] = field(default_factory=lambda: {1: [], 2: []})
    drain: dict[int, list[Window]] = field(default_factory=lambda: {1: [], 2: []})  # empty lists: nothing waited
    codec_us: list[float] = field(default_factory=list[float])
    call_us: list[float] = field(default_factory=list[float])
    link: list[Blast] = field(default_factory=list[Blast])


@dataclass(frozen=True)
class Stand:
    """All that is measured in turn. Farms by their number of workers."""

    families: dict[int, Family]
    callees: dict[Guest, Callee]
    link: Link

    def pairs(self, guest: Guest, body: bytes, effort: Effort) -> Pairs:
        """One guest and one body."""
        found = Pairs()
        drains: dict[int, list[Window | None]] = {1: [], 2: []}
        payloads = [invoke.payload for invoke in invokes_of(body)]
        floods = {workers: Flood(family, guest) for workers, family in self.families.items()}
        calls = self.callees[guest].calls(body)
        for number in range(effort.pairs):
            for workers in sorted(floods, reverse=bool(number % 2)):
                load, drain = floods[workers].windows(payloads, effort.window_s)
                found.load[workers].append(load)
                drains[workers].append(drain)
            for way, into in (("codec", found.codec_us), ("call", found.call_us)):
                into.append(timed_us(calls[way], max(3, int(CALLS_S * 1e6 / timed_us(calls[way], 3)))))
            found.link.append(self.link.blast(LINK_BATCH, CALLS_S))
        if all(window is not None for windows in drains.values() for window in windows):
            found.drain = {workers: [w for w in windows if w is not None] for workers, windows in drains.items()}
        return found


def measure(effort: Effort, say: Say) -> Report:
    """The whole section."""
    report = Report()
    load: list[Row] = []
    drain: list[Row] = []
    with ExitStack() as stack:
        say("path: starting two farms")
        stand = _stand(stack)
        for guest in GUESTS:
            for kind in ("text", "binary") if effort.whole else ("text",):
                for size in SIZES if effort.whole else SIZES[:1]:
                    name = f"{size_name(size)} {kind}"
                    say(f"path: {guest}, {name}")
                    pairs = stand.pairs(guest, body_of(size, kind), effort)
                    load.append(_load_row(guest, name, pairs, report))
                    drain.append(_drain_row(guest, name, pairs, report))
                    if size == len(BODY):
                        _beside_link(f"path, {guest}, {name}", pairs, report)
        for family in stand.families.values():
            family.down()
    notes = ["us: CPU per message with 1 worker, a process with its ZeroMQ thread."]
    empty = [EMPTY_NOTE] if any(row["waiting"] == 0 for row in load) else []
    report.tables += [
        Table("path", "path: clients publish all the time, the queue never empty", LOAD_HEADS, load, notes + empty),
        Table(
            "path_drain",
            "path: what waits is worked off, nobody publishes",
            DRAIN_HEADS,
            drain,
            [
                "codec, call: the same guest called in this process, in the same round.",
                "-: nothing waits; such bodies are worked off as fast as they can be published.",
            ],
        ),
    ]
    return report


def _stand(stack: ExitStack) -> Stand:
    families: dict[int, Family] = {}
    for workers in (1, 2):
        families[workers] = stack.enter_context(farms.farm(GUESTS))
        families[workers].up(workers)
    callees: dict[Guest, Callee] = {guest: stack.enter_context(callee(guest)) for guest in GUESTS}
    return Stand(families, callees, stack.enter_context(link()))


def _rates(windows: dict[int, list[Window]], scaling: float) -> Row:
    one, two = windows[1], windows[2]
    return {
        "per_s_1": quantile([window.per_s for window in one], 0.5),
        "per_s_2": quantile([window.per_s for window in two], 0.5),
        "scaling": scaling,
        "ingest_us": quantile([window.ingest_us for window in one], 0.5),
        "worker_us": quantile([window.worker_us for window in one], 0.5),
        "client_us": quantile([window.client_us for window in one], 0.5),
    }


def _load_row(guest: Guest, body: str, pairs: Pairs, report: Report) -> Row:
    scaling = _scaling(f"path, {guest}, {body}: 2 workers / 1", pairs.load, report)
    waiting = min(window.waiting for windows in pairs.load.values() for window in windows)
    shown = body if waiting else f"{body} *"
    return {"guest": guest, "body": shown, "waiting": waiting, **_rates(pairs.load, scaling)}


def _drain_row(guest: Guest, body: str, pairs: Pairs, report: Report) -> Row:
    if not pairs.drain[1]:
        return {"guest": guest, "body": body}
    name = f"path, {guest}, {body}, draining"
    scaling = _scaling(f"{name}: 2 workers / 1", pairs.drain, report)
    ingest = [window.ingest_us for window in pairs.drain[1]]
    worker = [window.worker_us for window in pairs.drain[1]]
    of_codec = ratio(f"{name}: worker CPU / codec", "lower", worker, pairs.codec_us)
    report.ratios += [of_codec, ratio(f"{name}: ingest CPU / worker CPU", "lower", ingest, worker)]
    return {
        "guest": guest,
        "body": body,
        **_rates(pairs.drain, scaling),
        "codec_us": quantile(pairs.codec_us, 0.5),
        "call_us": quantile(pairs.call_us, 0.5),
        "worker_codec": of_codec.value,
    }


def _scaling(name: str, windows: dict[int, list[Window]], report: Report) -> float:
    made = ratio(name, "higher", [two.per_s for two in windows[2]], [one.per_s for one in windows[1]])
    report.ratios.append(made)
    return made.value


def _beside_link(name: str, pairs: Pairs, report: Report) -> None:
    """Only at the size that the link is measured with."""
    link_us, link_per_s = [one.router_us for one in pairs.link], [one.per_s for one in pairs.link]
    for how, windows in (("", pairs.load[1]), (", draining", pairs.drain[1])):
        rates, costs = [window.per_s for window in windows], [window.ingest_us for window in windows]
        report.ratios += [
            ratio(f"{name}{how}: ingest CPU / link CPU", "lower", costs, link_us),
            ratio(f"{name}{how}: messages/s / link", "higher", rates, link_per_s),
        ]
