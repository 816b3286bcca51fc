"""What `farm status` says of brokers and components. Names and meanings are a promise.

received, and per component dead_lettered, count messages (once for each trigger); handled, failed, retried count
attempts; waiting: accepted and not yet given to a worker, retries and a memory broker's queue included; in_flight:
given to one; refused: publishes not taken; unmatched: taken, with neither trigger nor listener; gaps: times something
may be missing; dropped: messages taken and lost; at: where the server is, without userinfo; fault: why the broker is
not up, null while it is. set_aside: seconds until a component that kept killing workers is
tried again, 0 while it is being tried, null otherwise; paused: why nothing more is taken for it, null otherwise.
gateway is null here: the supervisor knows who listens.

Of ingest itself: stale, answers of workers to an attempt that is not open any more (nothing of them is published);
ignored, words of workers to another life of ingest; left_out, messages that listeners had no credit for (each has seen
a gap); take_backs, times that work was taken back from a worker in a long call; taken_back, messages moved by these.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from farm.broker import Broker
from farm.ingest.circuit import Circuit, LastError
from farm.ingest.table import Lane, Trigger
from farm.spec import FarmSpec


class BrokerStatus(msgspec.Struct, frozen=True):
    """One broker. keeps_letters: its dead letters are there, as messages on `farm.dlq.<subject>`."""

    type: str
    at: str
    state: str
    fault: str | None
    gateway: str | None
    keeps_letters: bool
    received: int
    published: int
    refused: int
    unmatched: int
    gaps: int
    dropped: int


class ComponentStatus(msgspec.Struct, frozen=True):
    """One component."""

    digest: str
    received: int
    handled: int
    failed: int
    retried: int
    dead_lettered: int
    in_flight: int
    waiting: int
    last_error: LastError | None
    set_aside: float | None
    paused: str | None


class IngestStatus(msgspec.Struct, frozen=True):
    """Ingest itself. life: what tells this one from those before it, in hex."""

    life: str
    stale: int
    ignored: int
    left_out: int
    take_backs: int
    taken_back: int


class Status(msgspec.Struct, frozen=True):
    """Ingest's half of `farm status --json`."""

    ingest: IngestStatus
    brokers: dict[str, BrokerStatus]
    components: dict[str, ComponentStatus]


class Reporter:
    """Answers how brokers and components are."""

    def __init__(
        self,
        spec: FarmSpec,
        brokers: dict[str, Broker],
        lanes: dict[str, Lane],
        triggers: Iterable[Trigger],
        circuit: Circuit,
    ) -> None:
        self._spec = spec
        self._brokers = brokers
        self._lanes = lanes
        self._triggers = list(triggers)
        self._circuit = circuit

    def status(self, now_s: float, ingest: IngestStatus) -> Status:
        """How they are now."""
        return Status(
            ingest=ingest,
            brokers={name: self._broker(broker) for name, broker in self._brokers.items()},
            components={name: self._component(lane, now_s) for name, lane in self._lanes.items()},
        )

    def json(self, now_s: float, ingest: IngestStatus) -> bytes:
        """The same as JSON."""
        return msgspec.json.encode(self.status(now_s, ingest))

    def _broker(self, broker: Broker) -> BrokerStatus:
        counters = broker.counters
        return BrokerStatus(
            type=self._spec.brokers[broker.name].type,
            at=self._spec.brokers[broker.name].at,
            state=broker.state,
            fault=broker.fault or None,
            gateway=None,
            keeps_letters=broker.confirms,
            received=counters.received,
            published=counters.published,
            refused=counters.refused,
            unmatched=counters.unmatched,
            gaps=counters.gaps,
            dropped=counters.dropped,
        )

    def _component(self, lane: Lane, now_s: float) -> ComponentStatus:
        left_s = lane.quarantine.left_s(now_s)
        mine = [trigger for trigger in self._triggers if trigger.component == lane.name]
        pauses = {why for trigger in mine for why in trigger.pauses}
        queued = sum(self._brokers[trigger.spec.broker].waiting_for(trigger.number) for trigger in mine)
        return ComponentStatus(
            digest=self._spec.components[lane.name].digest,
            received=lane.received + queued,
            handled=lane.handled,
            failed=lane.failed,
            retried=lane.retried,
            dead_lettered=lane.dead_lettered,
            in_flight=lane.size - lane.waiting,
            waiting=lane.waiting + queued,
            last_error=self._circuit.last_errors.get(lane.name),
            set_aside=None if left_s is None else round(left_s, 1),
            paused="; ".join(sorted(pauses)) or None,
        )
