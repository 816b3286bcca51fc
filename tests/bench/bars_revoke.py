"""The bar of taking back: what waits behind a long call runs elsewhere, and no guest runs twice on a message.

Quick calls with a long one (over 20 ms, when ingest revokes) among every 25. Each call prints the payload it was given,
so the farm's log is a ledger of runs that ingest has no hand in: an answer that is fenced off still leaves its line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from farm.wire.relay import Publish
from tests.bench.bars_witness import PATIENCE_S, Bar, Ear, Sent, Witness, exactly
from tests.bench.ledger import Ledger, uneven
from tests.guests import wat
from tests.system.family import Family, family

WORKERS: Final = 8
ROUND: Final = 100
LONG_EVERY: Final = 25
LONG_MS: Final = (25, 65)  # above what a call may take before others are helped, below what would only take long
AHEAD: Final = 50  # so many may be unheard of when the next round begins: workers with nothing to do are needed

MANIFEST: Final = """
[app]
name = "revoke"
[brokers.test]
type = "memory"
[components.nap]
source = "nap.wasm"
triggers = [{ broker = "test", topic = "in", publish = { subject = "out" } }]
"""


@dataclass
class Revoked:
    """What a run found. take_backs: times; taken_back: messages."""

    take_backs: int = 0
    taken_back: int = 0
    messages: int = 0
    faults: list[str] = field(default_factory=list[str])


def revoke(folder: Path, take_backs: int) -> Revoked:
    """Rounds of messages until farm has taken back so often."""
    ledger, sent, found = Ledger(), Sent("revoke", payload), Revoked()
    with family(folder, MANIFEST, {"nap": wat.wasm("nap")}) as farm:
        farm.up(WORKERS)
        with Ear(farm, "out", ledger) as ear, Witness(farm.rundir, ledger, sent) as client:
            end_s = time.monotonic() + PATIENCE_S
            while client.status(5.0)["ingest"]["take_backs"] < take_backs and time.monotonic() < end_s:
                numbers = range(found.messages, found.messages + ROUND)
                client.publish_many(Publish("in", sent.payload(n), key=sent.key(n)) for n in numbers)
                found.messages += ROUND
                while ledger.accepted_count - ledger.seen_count > AHEAD and time.monotonic() < end_s:
                    time.sleep(0.001)
            ear.wait_for_all()
        _compare(farm, ledger, found)
        if (code := farm.down()) != 0:
            found.faults.append(f"farm ended with {code}")
    return found


def bars(folder: Path) -> Iterator[Bar]:
    """The full size."""
    wanted = 2000
    found = revoke(folder, wanted)
    what = f"{found.take_backs:,} take-backs moved {found.taken_back:,} of {found.messages:,} messages"
    yield exactly("taken back from a long call: none lost, none run twice", what, found.faults)
    yield Bar("take-backs in that run", f"{found.take_backs:,}", f">= {wanted:,}", found.take_backs >= wanted)


def payload(number: int) -> bytes:
    """How long the call is to take, in ms, and its number."""
    first, last = LONG_MS
    return b"%d %d" % (first + number % (last - first) if number % LONG_EVERY == 0 else 0, number)


def _compare(farm: Family, ledger: Ledger, found: Revoked) -> None:
    for message_id in runs(farm.log_text()):
        ledger.run(message_id)
    status, count = farm.counters(), found.messages
    found.take_backs, found.taken_back = status["ingest"]["take_backs"], status["ingest"]["taken_back"]
    quiet = dict.fromkeys(("failed", "retried", "dead_lettered", "waiting", "in_flight"), 0)
    found.faults += ledger.faults()
    found.faults += uneven(status["components"]["nap"], {"received": count, "handled": count, **quiet})
    found.faults += uneven(status["ingest"], {"stale": 0, "ignored": 0, "left_out": 0})


def runs(log: str) -> Iterator[str]:
    """The message of each run, as the guest's own lines in farm's log say."""
    for line in log.splitlines():
        said = json.loads(line)
        if said["event"] == "guest":
            yield said["message_id"]
