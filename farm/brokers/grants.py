"""What grants allow, as messages weigh: how much of what waits goes, and who of a group gets it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from farm.broker import Delivery, OnDeliveries, grants_of


class Member:
    """A trigger that is one of a group. granted: what it may still be handed, less than nothing after a heavy one."""

    __slots__ = ("granted", "on_deliveries", "trigger")

    def __init__(self, trigger: int, on_deliveries: OnDeliveries) -> None:
        self.trigger = trigger
        self.on_deliveries = on_deliveries
        self.granted = 0


def take(waiting: deque[Delivery], granted: int) -> tuple[list[Delivery], int]:
    """Those of a queue that so many grants are for, which leave it, and what is left of the grants."""
    taken: list[Delivery] = []
    while granted > 0 and waiting:
        delivery = waiting.popleft()
        granted -= grants_of(delivery.message)
        taken.append(delivery)
    return taken, granted


def share(members: list[Member], deliveries: Sequence[Delivery]) -> None:
    """Hand each to a member, as evenly as their grants allow; who was handed some is then the last in line.

    All members together had a grant left before the last of them.
    """
    start = 0
    parts: dict[Member, list[Delivery]] = {}
    while start < len(deliveries):
        ready = [member for member in members if member.granted > 0]
        assert ready, "no more is handed over than was granted"
        for place, member in enumerate(ready):
            end = start + -(-(len(deliveries) - start) // (len(ready) - place))
            while start < end and member.granted > 0:
                delivery = deliveries[start]
                delivery.trigger = member.trigger
                member.granted -= grants_of(delivery.message)
                parts.setdefault(member, []).append(delivery)
                start += 1
    for member in parts:
        members.remove(member)
        members.append(member)
    for member, some in parts.items():  # last: who is handed something may grant more at once
        member.on_deliveries(some)
