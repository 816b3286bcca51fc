"""What has come for triggers, and who may have it: everything that this broker's sessions bring passes here.

    put > ready                 a member has a grant: handed over at the end of the turn, in one list
        > waiting               nobody has: within bounds
        > (no)                  beyond them: left at the server, or lost where that keeps nothing
A place is a trigger, or all triggers of one farm that are in a group: any of them that has a grant will do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from farm.broker import Delivery, OnDeliveries, grants_of
from farm.brokers.grants import Member, share, take
from farm.message import Message

COUNT_LIMIT: Final = 10_000
LIMIT_BYTES: Final = 64 << 20


class Place:
    """Where messages of one subscription go. granted: to all members, and not used yet, by what is ready neither; less
    than nothing after a heavy message. first: the member that all that waits is told of.
    """

    __slots__ = ("first", "granted", "members", "ready", "waiting")

    def __init__(self) -> None:
        self.first: Member | None = None
        self.members: list[Member] = []
        self.granted = 0
        self.ready: list[Delivery] = []
        self.waiting: deque[Delivery] = deque()


class Desk:
    """All places. The bounds are for all of them together."""

    def __init__(self, limit: int = COUNT_LIMIT, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit: Final = limit
        self._limit_bytes: Final = limit_bytes
        self._places: Final[dict[int, tuple[Place, Member]]] = {}
        self._touched: list[Place] = []
        self._count = self._size_bytes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def is_roomy(self) -> bool:
        """Whether a good part of the bounds is free."""
        return self._count <= self._limit // 4 and self._size_bytes <= self._limit_bytes // 4

    def join(self, place: Place, trigger: int, on_deliveries: OnDeliveries) -> None:
        """A trigger gets of what comes to this place."""
        member = Member(trigger, on_deliveries)
        place.members.append(member)
        place.first = place.first or member
        self._places[trigger] = place, member

    def waiting_for(self, trigger: int) -> int:
        """How many messages wait; those of a group are told of its first member."""
        place, member = self._places[trigger]
        return len(place.waiting) if place.first is member else 0

    def put(self, place: Place, message: Message, token: object) -> bool:
        """A message has come for a place; False: there is no room for it."""
        if place.granted > 0:
            place.granted -= grants_of(message)
            self._make_ready(place, [Delivery(place.members[0].trigger, message, token)])
            return True
        size_bytes = message.size_bytes
        if self._count >= self._limit or self._size_bytes + size_bytes > self._limit_bytes:
            return False
        place.waiting.append(Delivery(place.members[0].trigger, message, token))
        self._count += 1
        self._size_bytes += size_bytes
        return True

    def hand_over(self) -> None:
        """Everything that is ready goes to triggers."""
        touched, self._touched = self._touched, []
        for place in touched:
            deliveries, place.ready = place.ready, []
            if len(place.members) == 1:
                place.members[0].granted = place.granted
                place.members[0].on_deliveries(deliveries)
            else:
                share(place.members, deliveries)

    def grant(self, trigger: int, count: int) -> None:
        """Allow this trigger so many more; what waits is handed over at once."""
        place, member = self._places[trigger]
        member.granted += count
        place.granted += count
        deliveries, place.granted = take(place.waiting, place.granted)
        if deliveries:
            self._count -= len(deliveries)
            self._size_bytes -= sum(delivery.message.size_bytes for delivery in deliveries)
            self._make_ready(place, deliveries)
        self.hand_over()

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """These wait again, before all others."""
        for delivery in reversed(deliveries):
            self._places[delivery.trigger][0].waiting.appendleft(delivery)
            self._size_bytes += delivery.message.size_bytes
        self._count += len(deliveries)

    def _make_ready(self, place: Place, deliveries: list[Delivery]) -> None:
        if not place.ready:
            self._touched.append(place)
        place.ready += deliveries

    def clear(self) -> int:
        """Forget all that waits; how many had no token: nobody else has these."""
        lost = 0
        for place, _ in self._places.values():
            lost += sum(1 for delivery in place.waiting if delivery.token is None)
            place.waiting.clear()
        self._count = self._size_bytes = 0
        return lost
