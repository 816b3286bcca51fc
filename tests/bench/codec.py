"""What calling a guest costs: the raw C call, farm's codec, a worker's call, wasmtime-py's own path; in pairs."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from typing import Final

from tests.bench import machine
from tests.bench.callee import Call, callee
from tests.bench.guests import Guest
from tests.bench.ratios import Better, quantile, ratio
from tests.bench.report import Effort, Report, Row, Say, Table, size_name

BLOCK_S: Final = 0.001  # of one way, before the next has its turn: less than a turn of the scheduler
LIST_BLOCK_S: Final = 0.01  # a list leaves no cache warm for what comes after it
LEAST_ROUNDS: Final = 5
SIZES: Final = (100, 1024, 10 << 10, 100 << 10)
GATE_SIZES: Final = (100, 10 << 10)
LIST_SIZE: Final = 10 << 10
HEADS: Final = {
    "guest": "guest",
    "body": "body",
    "raw": "raw us",
    "codec": "codec us",
    "call": "call us",
    "own": "own us",
    "codec_raw": "codec/raw",
    "call_raw": "call/raw",
    "own_call": "own/call",
}

QUOTIENTS: Final[tuple[tuple[str, str, Better], ...]] = (
    ("codec", "raw", "lower"),
    ("call", "raw", "lower"),
    ("own", "call", "higher"),
)

Rounds = dict[str, list[float]]


def body_of(size_bytes: int, kind: str) -> bytes:
    """Text of ASCII, or random bytes: the same at each run."""
    return b"x" * size_bytes if kind == "text" else random.Random(size_bytes).randbytes(size_bytes)


def measure(effort: Effort, say: Say) -> Report:
    """The whole section."""
    report = Report()
    rows: list[Row] = []
    sizes = SIZES if effort.whole else GATE_SIZES
    with ExitStack() as stack:
        for guest in ("tiny", "Python"):
            own = stack.enter_context(callee(guest))
            listed = stack.enter_context(callee(_list_guest(guest)))
            for kind in ("text", "binary"):
                for size in sizes if effort.whole or kind == "text" else (LIST_SIZE,):
                    say(f"codec: {guest}, {size_name(size)} {kind}")
                    rounds = paired(own.calls(body_of(size, kind)), effort.cell_s)
                    rows.append(_row(guest, f"{size_name(size)} {kind}", rounds, report))
            say(f"codec: {guest}, binary as text against list<u8>")
            body = body_of(LIST_SIZE, "binary")
            ways, since, others = listed.calls(body), len(report.ratios), machine.Others()
            rows.append(_row(guest, f"{size_name(LIST_SIZE)} list<u8>", paired(ways, effort.cell_s), report))
            both = {"list": ways["call"], "text": own.calls(body)["call"]}
            _beside_list(guest, paired(both, effort.cell_s, LIST_BLOCK_S), report)
            report.disturbed(since, others.share())  # lists fill the caches that all cores share
    note = "body: in and out; binary travels as hexadecimal digits, or as list<u8>. raw: result not decoded."
    report.tables.append(Table("codec", "codec: one call of a guest, medians of paired blocks", HEADS, rows, [note]))
    return report


def paired(ways: dict[str, Call], cell_s: float, block_s: float = BLOCK_S) -> Rounds:
    """Every way in turn, a block each, for `cell_s`: CPU microseconds a call, a list for each way, of one length."""
    counts = {way: _block(call, block_s) for way, call in ways.items()}
    names = list(ways)
    rounds: Rounds = {way: [] for way in names}
    end_s = time.perf_counter() + cell_s
    while time.perf_counter() < end_s or len(rounds[names[0]]) < LEAST_ROUNDS:
        for way in names:
            rounds[way].append(timed_us(ways[way], counts[way]))
        names.append(names.pop(0))  # another one goes first
    return rounds


def timed_us(call: Call, count: int) -> float:
    """Microseconds of this process's CPU time a call: what others do on the machine meanwhile does not count."""
    began_ns = time.process_time_ns()
    for _ in range(count):
        call()
    return (time.process_time_ns() - began_ns) / count / 1e3


def _block(call: Call, block_s: float) -> int:
    """How many calls make a block."""
    call()
    return max(1, int(block_s * 1e6 / timed_us(call, 3)))


def _list_guest(guest: Guest) -> Guest:
    return "tiny list" if guest == "tiny" else "Python list"


def _row(guest: str, body: str, rounds: Rounds, report: Report) -> Row:
    row: Row = {"guest": guest, "body": body, **{way: quantile(values, 0.5) for way, values in rounds.items()}}
    for over, under, better in QUOTIENTS:
        made = ratio(f"codec, {guest}, {body}: {over} / {under}", better, rounds[over], rounds[under])
        report.ratios.append(made)
        row[f"{over}_{under}"] = made.value
    return row


def _beside_list(guest: str, rounds: Rounds, report: Report) -> None:
    """Without wasmtime-py's way in the round: the memory that it gives back makes what comes after it slow."""
    name = f"codec, {guest}, {size_name(LIST_SIZE)} binary: list<u8> / as text"
    report.ratios.append(ratio(name, "higher", rounds["list"], rounds["text"]))
