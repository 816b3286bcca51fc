"""What came for triggers that have no grant yet: of a server that cannot be told to wait.

server > put > [waiting] > on_deliveries          within grants, at once: whoever has a backlog `weighs`
                  +-> dropped                      the newest, beyond a bound: counted, and a gap
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from farm.broker import BrokerCounters, Delivery, OnDeliveries, grants_of
from farm.brokers.grants import take
from farm.message import Message

COUNT_LIMIT: Final = 10_000
LIMIT_BYTES: Final = 64 << 20


class _Queue:
    __slots__ = ("granted", "on_deliveries", "waiting")

    def __init__(self, on_deliveries: OnDeliveries) -> None:
        self.on_deliveries = on_deliveries
        self.granted = 0
        self.waiting: deque[Delivery] = deque()


class Backlog:
    """The triggers of one broker. Its bounds hold for all of them together."""

    def __init__(self, counters: BrokerCounters, limit: int = COUNT_LIMIT, limit_bytes: int = LIMIT_BYTES) -> None:
        self._counters: Final = counters
        self._limit: Final = limit
        self._limit_bytes: Final = limit_bytes
        self._queues: Final[dict[int, _Queue]] = {}
        self._count = self._size_bytes = 0
        self._overflows = False

    def __len__(self) -> int:
        return self._count

    def open(self, trigger: int, on_deliveries: OnDeliveries) -> None:
        """A trigger has subscribed."""
        self._queues[trigger] = _Queue(on_deliveries)

    def waiting_for(self, trigger: int) -> int:
        """How many messages wait for a trigger's grant."""
        return len(self._queues[trigger].waiting)

    def put(self, trigger: int, messages: Sequence[Message]) -> None:
        """These have come for a trigger."""
        queue = self._queues[trigger]
        self._counters.received += len(messages)
        ready, granted = 0, queue.granted
        for message in messages:
            if granted <= 0:
                break
            granted -= grants_of(message)
            ready += 1
        queue.granted = granted
        for message in messages[ready:]:
            self._keep(queue, Delivery(trigger, message))
        if ready:  # last: whoever gets them may grant more at once
            queue.on_deliveries([Delivery(trigger, message) for message in messages[:ready]])

    def grant(self, trigger: int, count: int) -> None:
        """Allow `count` more; what waits is handed over at once."""
        queue = self._queues[trigger]
        deliveries, queue.granted = take(queue.waiting, queue.granted + count)
        if not deliveries:
            return
        self._count -= len(deliveries)
        self._size_bytes -= sum(delivery.message.size_bytes for delivery in deliveries)
        self._overflows = False
        queue.on_deliveries(deliveries)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """These wait again, before all others."""
        for delivery in reversed(deliveries):
            self._queues[delivery.trigger].waiting.appendleft(delivery)
            self._size_bytes += delivery.message.size_bytes
        self._count += len(deliveries)

    def drop(self) -> int:
        """Forget everything; how much was lost, which is counted."""
        lost, self._count, self._size_bytes = self._count, 0, 0
        self._counters.dropped += lost
        self._queues.clear()
        return lost

    def _keep(self, queue: _Queue, delivery: Delivery) -> None:
        size_bytes = delivery.message.size_bytes
        if self._count >= self._limit or self._size_bytes + size_bytes > self._limit_bytes:
            self._counters.dropped += 1
            if not self._overflows:
                self._overflows = True
                self._counters.gaps += 1
            return
        queue.waiting.append(delivery)
        self._count += 1
        self._size_bytes += size_bytes
