"""The whole path under full load: client - relay - ingest - worker - guest - ingest, on the broker in memory.

Farms of one and of two workers stand side by side; the idle one costs nothing. What is compared is measured in turn:
one worker, two workers, the call of the same guest in this process, the bare link.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from tests.bench import farms, machine
from tests.bench.callee import Call, Callee, callee, invokes_of
from tests.bench.codec import body_of, timed_us
from tests.bench.flood import Flood, Window
from tests.bench.guests import Guest
from tests.bench.link import BODY, Blast, Link, link
from tests.bench.ratios import quantile, ratio
from tests.bench.report import Effort, Report, Row, Say, Table, size_name
from tests.system.family import Family

GUESTS: Final[tuple[Guest, ...]] = ("tiny", "Python")
SIZES: Final = (100, 1024, 10 << 10, 100 << 10)
WORKERS: Final = (1, 2)
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


@dataclass(frozen=True)
class Round:
    """What was measured in turn, once. By number of workers: 1, 2. drain: None where nothing waited in one of them."""

    load: dict[int, Window]
    drain: dict[int, Window] | None
    codec_us: float
    call_us: float
    link: Blast


@dataclass(frozen=True)
class Stand:
    """All that is measured in turn. Farms by their number of workers."""

    families: dict[int, Family]
    callees: dict[Guest, Callee]
    link: Link

    def rounds(self, guest: Guest, body: bytes, effort: Effort) -> tuple[list[Round], float]:
        """One guest and one body, and how busy others were."""
        payloads = [invoke.payload for invoke in invokes_of(body)]
        floods = {workers: Flood(family, guest) for workers, family in self.families.items()}
        calls = self.callees[guest].calls(body)
        ours = [pid for family in self.families.values() for some in farms.pids(family).values() for pid in some]

        def measure(number: int) -> Round:
            load: dict[int, Window] = {}
            drain: dict[int, Window] = {}
            for workers in sorted(floods, reverse=bool(number % 2)):
                load[workers], drained = floods[workers].windows(payloads, effort.window_s)
                if drained is not None:
                    drain[workers] = drained
            codec_us, call_us = (_call_us(calls[way]) for way in ("codec", "call"))
            whole = drain if len(drain) == len(load) else None
            return Round(load, whole, codec_us, call_us, self.link.blast(LINK_BATCH, CALLS_S))

        return machine.quiet_rounds(measure, effort.pairs, effort.rounds, [*ours, self.link.child])


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
                    since = len(report.ratios)
                    rounds, busy = stand.rounds(guest, body_of(size, kind), effort)
                    load.append(_load_row(guest, name, rounds, report))
                    drain.append(_drain_row(guest, name, rounds, report))
                    if size == len(BODY):
                        _beside_link(f"path, {guest}, {name}", rounds, report, effort.whole)
                    report.disturbed(since, busy)
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
    for workers in WORKERS:
        families[workers] = stack.enter_context(farms.farm(GUESTS))
        families[workers].up(workers)
    callees: dict[Guest, Callee] = {guest: stack.enter_context(callee(guest)) for guest in GUESTS}
    return Stand(families, callees, stack.enter_context(link()))


def _call_us(call: Call) -> float:
    return timed_us(call, max(3, int(CALLS_S * 1e6 / timed_us(call, 3))))


def _load_row(guest: Guest, body: str, rounds: list[Round], report: Report) -> Row:
    windows = [one.load for one in rounds]
    scaling = _scaling(f"path, {guest}, {body}: 2 workers / 1", windows, report)
    waiting = min(window.waiting for pair in windows for window in pair.values())
    shown = body if waiting else f"{body} *"
    return {"guest": guest, "body": shown, "waiting": waiting, **_rates(windows, scaling)}


def _drain_row(guest: Guest, body: str, rounds: list[Round], report: Report) -> Row:
    windows = [one.drain for one in rounds if one.drain is not None]
    if not windows:
        return {"guest": guest, "body": body}
    name = f"path, {guest}, {body}, draining"
    scaling = _scaling(f"{name}: 2 workers / 1", windows, report)
    ingest, worker = [pair[1].ingest_us for pair in windows], [pair[1].worker_us for pair in windows]
    codec = [one.codec_us for one in rounds if one.drain is not None]
    of_codec = ratio(f"{name}: worker CPU / codec", "lower", worker, codec)
    report.ratios += [of_codec, ratio(f"{name}: ingest CPU / worker CPU", "lower", ingest, worker)]
    return {
        "guest": guest,
        "body": body,
        **_rates(windows, scaling),
        "codec_us": quantile(codec, 0.5),
        "call_us": quantile([one.call_us for one in rounds], 0.5),
        "worker_codec": of_codec.value,
    }


def _rates(windows: list[dict[int, Window]], scaling: float) -> Row:
    row: Row = {f"per_s_{n}": quantile([pair[n].per_s for pair in windows], 0.5) for n in WORKERS}
    costs = {key: [getattr(pair[1], key) for pair in windows] for key in ("ingest_us", "worker_us", "client_us")}
    return {**row, "scaling": scaling, **{key: quantile(values, 0.5) for key, values in costs.items()}}


def _scaling(name: str, windows: list[dict[int, Window]], report: Report) -> float:
    made = ratio(name, "higher", [pair[2].per_s for pair in windows], [pair[1].per_s for pair in windows])
    report.ratios.append(made)
    return made.value


def _beside_link(name: str, rounds: list[Round], report: Report, whole: bool) -> None:
    """Only at the size that the link is measured with."""
    load = [(one.load[1], one.link) for one in rounds]
    drain = [(one.drain[1], one.link) for one in rounds if one.drain is not None]
    for how, pairs in (("", load), (", draining", drain)):
        if not pairs:
            continue
        ingest = [window.ingest_us for window, _ in pairs]
        every = [window.ingest_us + window.worker_us + window.client_us for window, _ in pairs]
        one_end, both_ends = zip(*[(link.router_us, link.router_us + link.dealer_us) for _, link in pairs], strict=True)
        report.ratios += [
            ratio(f"{name}{how}: ingest CPU / link CPU", "lower", ingest, one_end),
            ratio(f"{name}{how}: CPU of all / link CPU", "lower", every, both_ends),
        ]
        if whole:  # what others do on the machine slows two processes and four by different shares
            rates, link_rates = zip(*[(window.per_s, link.per_s) for window, link in pairs], strict=True)
            report.ratios.append(ratio(f"{name}{how}: messages/s / link", "higher", rates, link_rates))
