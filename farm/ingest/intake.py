"""Intake: how much each trigger may have in hand, and the way from a broker into the dispatcher.

    broker > note > take > dispatcher.offered          closed (settled, released) > grant > broker
A trigger may hold 1024 messages or 64 MiB, a farm 8192 or 512 MiB: with more than eight triggers each gets its even
part. A broker that weighs takes a grant for each 64 KiB, so that neither bound is passed by more than a message. What
another's will weigh nobody knows before they come; it is reckoned by those that came last, 64 KiB at first. A trigger
that is paused for any reason gets no new grants; what was granted before may still come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from farm.broker import GRANT_BYTES, LIGHT_BYTES, Broker, Delivery, Subscription, grants_of
from farm.ingest.dispatcher import Dispatcher
from farm.ingest.table import ESTIMATE_BYTES, Record, Trigger
from farm.message import Message

TRIGGER_LIMIT: Final = 1024
TRIGGER_LIMIT_BYTES: Final = 64 << 20
FARM_LIMIT: Final = 8192
FARM_LIMIT_BYTES: Final = 512 << 20
ESTIMATE_MIN_BYTES: Final = 1024
DELIVERIES_LIMIT: Final = 20  # by the server's count


def weight(message: Message) -> int:
    """What a message counts against a trigger's bound, in bytes: of most the payload, without a property's cost."""
    return message.size_bytes if message.headers else len(message.payload)


class Intake:
    """Every trigger of the farm, and its grants."""

    def __init__(
        self,
        triggers: Sequence[Trigger],
        brokers: Mapping[str, Broker],
        dispatcher: Dispatcher,
        wanted: Callable[[], None],
    ) -> None:
        """
        Args:
          wanted: called when something was noted: ask for a turn, in which `take` and `grant` are called.
        """
        self.triggers = triggers
        self.on_worn_out: Callable[[list[Record]], None] = _keep_none
        self._brokers = brokers
        self._dispatcher = dispatcher
        self.wanted = wanted
        self._noted: list[tuple[Trigger, list[Delivery]]] = []
        self._owed: set[Trigger] = set()
        count = max(1, len(triggers))
        self._limit = max(1, min(TRIGGER_LIMIT, FARM_LIMIT // count))
        self._limit_bytes = min(TRIGGER_LIMIT_BYTES, FARM_LIMIT_BYTES // count)

    def open(self) -> None:
        """Subscribe every trigger, and grant what it may have."""
        for trigger in self.triggers:
            broker = self._brokers[trigger.spec.broker]
            subscription = Subscription(trigger.number, trigger.spec.topic, trigger.spec.group, trigger.durable)
            broker.deliver(subscription, self._note_for(trigger))
        self._owed.update(self.triggers)
        self.grant()

    def take(self) -> bool:
        """Offer what was noted to the dispatcher; whether there was anything."""
        noted, self._noted = self._noted, []
        for trigger, deliveries in noted:
            count = len(deliveries)
            size_bytes = sum(weight(delivery.message) for delivery in deliveries)
            broker = self._brokers[trigger.spec.broker]
            if broker.weighs:
                heavy = size_bytes > LIGHT_BYTES  # perhaps one of them, else none
                trigger.granted -= sum(grants_of(one.message) for one in deliveries) if heavy else count
            else:
                trigger.granted = max(0, trigger.granted - count)
            trigger.held += count
            trigger.held_bytes += size_bytes
            _reckon(trigger, size_bytes // count)
            self._dispatcher.offered(trigger, self._sound(trigger, deliveries) if broker.counts else deliveries)
        return bool(noted)

    def closed(self, records: Iterable[Record]) -> None:
        """These are settled or released: their triggers may have others."""
        owed: Trigger | None = None
        for record in records:
            trigger = record.trigger
            if trigger is not owed:
                self._owed.add(trigger)
                owed = trigger
            trigger.held -= 1
            trigger.held_bytes -= weight(record.delivery.message)

    def pause(self, triggers: Iterable[Trigger], why: str) -> None:
        """Grant these nothing, until the same reason is lifted."""
        for trigger in triggers:
            trigger.pauses.add(why)

    def resume(self, triggers: Iterable[Trigger], why: str) -> None:
        """This reason to pause them is over."""
        for trigger in triggers:
            trigger.pauses.discard(why)
            self._owed.add(trigger)
        self.wanted()

    def grant(self) -> None:
        """Let the brokers hand over what there is room for. May note deliveries before it returns."""
        owed, self._owed = self._owed, set()
        for trigger in owed:
            if trigger.pauses:
                continue
            broker = self._brokers[trigger.spec.broker]
            each_bytes = GRANT_BYTES if broker.weighs else trigger.estimate_bytes
            room = self._limit - trigger.held - trigger.granted
            by_bytes = (self._limit_bytes - trigger.held_bytes) // each_bytes - trigger.granted
            # One message is always let in, or one that weighs more than was reckoned would shut its trigger for good.
            least = 1 - trigger.granted if trigger.held == 0 and trigger.granted <= 0 else 0
            count = max(min(room, by_bytes), least)
            if count > 0:
                trigger.granted += count
                broker.grant(trigger.number, count)

    def _sound(self, trigger: Trigger, deliveries: list[Delivery]) -> list[Delivery]:
        """Those that may be run. One that its server has handed out again and again may be what kills its takers."""
        worn_out = [delivery for delivery in deliveries if delivery.deliveries > DELIVERIES_LIMIT]
        if not worn_out:
            return deliveries
        self.on_worn_out(self._dispatcher.not_to_run(trigger, worn_out))
        return [delivery for delivery in deliveries if delivery.deliveries <= DELIVERIES_LIMIT]

    def _note_for(self, trigger: Trigger) -> Callable[[list[Delivery]], None]:
        def note(deliveries: list[Delivery]) -> None:
            if deliveries:  # a broker of somebody else's may hand over nothing
                self._noted.append((trigger, deliveries))
                self.wanted()

        return note


def _keep_none(_: list[Record]) -> None:
    raise AssertionError("nobody takes what is worn out")


def _reckon(trigger: Trigger, mean_bytes: int) -> None:
    """Believe in heavier messages at once, in lighter ones little by little."""
    estimate = trigger.estimate_bytes
    if mean_bytes > estimate:
        trigger.estimate_bytes = mean_bytes
    elif estimate > ESTIMATE_MIN_BYTES:
        trigger.estimate_bytes = max(ESTIMATE_MIN_BYTES, mean_bytes, estimate - (estimate >> 3))
    assert trigger.estimate_bytes <= max(ESTIMATE_BYTES, mean_bytes, estimate)
