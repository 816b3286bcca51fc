"""The bar of the burst: far more than fits, against a handler of 10 ms. Each message is accepted or refused with a
clear answer, what was accepted is handled, and ingest holds no more than it promises.

    relay   publishes that do not wait for a full farm (`farm publish --no-wait`)
    HTTP    POST /publish on CONNECTIONS connections, several requests ahead on each
"""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from farm.broker import Delivery
from farm.ingest.dispatcher import Dispatcher
from farm.ingest.table import Trigger
from farm.message import Message, new_id
from farm.spec import ComponentSpec, TriggerSpec
from farm.wire.relay import Publish
from tests.bench.bars_http import post_all
from tests.bench.bars_witness import PATIENCE_S, Bar, Ear, Sent, Witness, exactly, mib, peak_bytes, rss_bytes
from tests.bench.ledger import Ledger, uneven
from tests.guests import wat
from tests.system.family import Family, family

WORKERS: Final = 8
ANSWER_BYTES: Final = 32  # what the guest answers with of a payload

# What farm promises of ingest's memory: here as figures, so that other figures in its code are noticed.
QUEUE_LIMIT: Final = 10_000
QUEUE_LIMIT_BYTES: Final = 64 << 20
IN_FLIGHT_LIMIT: Final = 1024
IN_FLIGHT_LIMIT_BYTES: Final = 64 << 20

# What may be on its way besides, as frames and as objects: batches of a client that are unanswered, one of each worker.
COPIES: Final = 2
CLIENTS: Final = 2
UNANSWERED: Final = 4
RELAY_BATCH: Final = (256, 256 << 10)  # messages, bytes
WORK_BATCH: Final = (64, 1 << 20)

MANIFEST: Final = """
[app]
name = "burst"
[brokers.test]
type = "memory"
gateway = { port = 0 }
[components.nap]
source = "nap.wasm"
triggers = [{ broker = "test", topic = "in", publish = { subject = "out" } }]
"""


@dataclass(frozen=True)
class Burst:
    """What to send. count: messages; payload_bytes: of each, at least 16; handler_ms: how long a call takes."""

    title: str
    count: int
    payload_bytes: int
    by_http: bool
    handler_ms: int = 10


@dataclass
class Outcome:
    """What a burst found. held_bytes: what ingest grew by, at its peak; allowed_bytes: what it may."""

    faults: list[str] = field(default_factory=list[str])
    accepted: int = 0
    codes: Counter[str] = field(default_factory=Counter[str])
    held_bytes: int = 0
    allowed_bytes: int = 0
    waiting: int = 0
    took_s: float = 0.0


FULL: Final = (
    Burst("1,000,000 of 16 B, relay", 1_000_000, 16, by_http=False),
    Burst("1,000,000 of 16 B, HTTP", 1_000_000, 16, by_http=True),
    Burst("20,000 of 100 KB, relay", 20_000, 100_000, by_http=False),
    Burst("20,000 of 100 KB, HTTP", 20_000, 100_000, by_http=True),
)


def burst(folder: Path, wanted: Burst) -> Outcome:
    """One burst against a farm of its own, to the end of all that was accepted."""
    found = Outcome(allowed_bytes=allowed_bytes(wanted.payload_bytes))
    sent = Sent("burst", lambda number: b"%d %d " % (wanted.handler_ms, number))
    ledger = Ledger()
    with family(folder, MANIFEST, {"nap": wat.wasm("nap")}) as farm:
        farm.env["FARM_LOG_LEVEL"] = "warning"  # the guest prints
        farm.up(WORKERS)
        (ingest,) = farm.pids("ingest")
        before = rss_bytes(ingest)
        with Ear(farm, "out", ledger) as ear:
            began_s = time.monotonic()
            unanswered = (_by_http if wanted.by_http else _by_relay)(farm, wanted, ledger, sent, found)
            found.took_s = time.monotonic() - began_s
            found.waiting = farm.component("nap")["waiting"]
            ear.wait_for_all()
        found.held_bytes = peak_bytes(ingest) - before
        found.accepted = ledger.accepted_count
        found.faults += [*unanswered, *ledger.faults(), *_counted(farm, found)]
        if found.accepted + found.codes.total() != wanted.count:
            found.faults.append(f"{wanted.count:,} sent, {found.accepted + found.codes.total():,} answered")
        if (code := farm.down()) != 0:
            found.faults.append(f"farm ended with {code}")
    return found


def bars(folder: Path) -> Iterator[Bar]:
    """The full size."""
    for number, wanted in enumerate(FULL):
        found = burst(folder / str(number), wanted)
        refused = ", ".join(f"{count:,} {code}" for code, count in found.codes.items())
        rate = wanted.count / found.took_s
        what = f"{found.accepted:,} accepted and handled, refused {refused or 'none'}; {rate:,.0f}/s"
        yield exactly(f"{wanted.title}: accepted or refused, none dropped", what, found.faults)
        yield Bar(
            f"{wanted.title}: memory of ingest at its peak, above idle",
            mib(found.held_bytes),
            f"<= {mib(found.allowed_bytes)}",
            found.held_bytes <= found.allowed_bytes and found.codes.total() > 0,  # nothing refused: it was never full
        )


def allowed_bytes(payload_bytes: int) -> int:
    """What ingest may hold above idle with a full queue, all that may be in flight, and every link full.

    The promise counts payloads; what Python takes for a message beside its payload is weighed here.
    """
    waiting = min(QUEUE_LIMIT, QUEUE_LIMIT_BYTES // payload_bytes)
    in_flight = min(IN_FLIGHT_LIMIT, IN_FLIGHT_LIMIT_BYTES // payload_bytes)
    each_bytes = payload_bytes + overhead_bytes()
    relay_bytes, work_bytes = (max(each_bytes, min(n * each_bytes, limit)) for n, limit in (RELAY_BATCH, WORK_BATCH))
    moving_bytes = CLIENTS * UNANSWERED * relay_bytes + WORKERS * work_bytes
    return (waiting + in_flight) * each_bytes + COPIES * moving_bytes


def overhead_bytes() -> int:
    """What one message in ingest's in-flight table takes, beside its payload; one that only waits takes less."""
    count = 1000
    trigger = Trigger(0, "nap", TriggerSpec("test", "in", None))
    dispatcher = Dispatcher([ComponentSpec(name="nap", source=Path("nap.wasm"), triggers=(trigger.spec,))])
    tracemalloc.start()
    dispatcher.offered(trigger, [Delivery(0, Message(new_id(), "in", b"")) for _ in range(count)])
    size_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size_bytes // count


def _whole(sent: Sent, wanted: Burst, number: int) -> bytes:
    return sent.payload(number).ljust(wanted.payload_bytes, b".")


def _answer(sent: Sent, wanted: Burst, number: int) -> bytes:
    return _whole(sent, wanted, number)[:ANSWER_BYTES]


def _by_relay(farm: Family, wanted: Burst, ledger: Ledger, sent: Sent, found: Outcome) -> list[str]:
    answer = Sent(sent.run, lambda number: _answer(sent, wanted, number))
    with Witness(farm.rundir, ledger, answer) as client:
        items = (Publish("in", _whole(sent, wanted, n), key=sent.key(n)) for n in range(wanted.count))
        tally = client.publish_many(items, PATIENCE_S, wait=False)
        found.codes = client.codes
    faults = [f"{tally.left:,} without an answer"] if tally.left else []
    if tally.refused != client.codes.total() or tally.accepted != ledger.accepted_count:
        faults.append(f"the client counted {tally.accepted:,} accepted, {tally.refused:,} refused")
    return faults + [f"refused with {code}" for code in client.codes if code != "full, try again"]


def _by_http(farm: Family, wanted: Burst, ledger: Ledger, sent: Sent, found: Outcome) -> list[str]:
    def accept(number: int, message_id: str) -> None:
        ledger.accept(message_id, _answer(sent, wanted, number))

    bodies = (_whole(sent, wanted, number) for number in range(wanted.count))
    address = farm.status()["brokers"]["test"]["gateway"]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(post_all(address, "/publish/in", bodies, accept))
    found.codes = answers.codes
    faults = [f"{count:,} answered {what}" for what, count in answers.unclear.items()]
    return faults + [f"refused with {code}" for code in answers.codes if code != "full"]


def _counted(farm: Family, found: Outcome) -> Iterator[str]:
    status = farm.counters()
    quiet = dict.fromkeys(("failed", "retried", "dead_lettered", "waiting", "in_flight"), 0)
    accepted = found.accepted
    yield from uneven(status["components"]["nap"], {"received": accepted, "handled": accepted, **quiet})
    yield from uneven(status["brokers"]["test"], {"published": 2 * accepted, "refused": found.codes.total()})
