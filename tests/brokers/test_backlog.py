from __future__ import annotations

from farm.broker import BrokerCounters, Delivery
from farm.brokers.backlog import Backlog
from farm.message import Message


class Desk:
    def __init__(self, limit: int = 10, limit_bytes: int = 1000) -> None:
        self.counters = BrokerCounters()
        self.backlog = Backlog(self.counters, limit, limit_bytes)
        self.calls: list[list[Delivery]] = []
        for trigger in (0, 1):
            self.backlog.open(trigger, self.calls.append)

    def put(self, first: int, last: int, trigger: int = 0, payload: bytes = b"") -> None:
        self.backlog.put(trigger, [Message(f"{n}", "s", payload) for n in range(first, last)])

    def came(self) -> list[str]:
        return [delivery.message.id for call in self.calls for delivery in call]


def test_what_is_granted_is_handed_over_at_once_and_the_rest_waits() -> None:
    desk = Desk()
    desk.backlog.grant(0, 2)
    desk.put(0, 5)
    assert (desk.came(), desk.backlog.waiting_for(0), desk.backlog.waiting_for(1)) == (["0", "1"], 3, 0)
    desk.backlog.grant(0, 2)
    assert desk.came() == ["0", "1", "2", "3"]
    assert len(desk.calls) == 2
    desk.backlog.grant(0, 2)
    desk.put(5, 6)
    assert desk.came() == ["0", "1", "2", "3", "4", "5"]
    assert (desk.counters.received, desk.counters.dropped) == (6, 0)


def test_nothing_overtakes_what_waits() -> None:
    desk = Desk()
    desk.put(0, 2)
    desk.backlog.grant(0, 1)
    desk.put(2, 3)
    desk.backlog.grant(0, 5)
    assert desk.came() == ["0", "1", "2"]


def test_beyond_the_bound_the_newest_are_dropped_counted_and_are_one_gap() -> None:
    desk = Desk(limit=10)
    desk.put(0, 8)
    desk.put(0, 8, trigger=1)
    desk.put(8, 9)
    assert (len(desk.backlog), desk.counters.dropped, desk.counters.gaps) == (10, 7, 1)
    desk.backlog.grant(0, 100)
    assert desk.came() == [f"{n}" for n in range(8)]
    desk.put(0, 20, trigger=1)
    assert desk.counters.gaps == 2


def test_bytes_are_bounded_too() -> None:
    desk = Desk(limit_bytes=1000)
    desk.put(0, 5, payload=bytes(300))
    assert (len(desk.backlog), desk.counters.dropped) == (3, 2)
    desk.backlog.grant(0, 1)
    desk.put(5, 6, payload=bytes(300))
    assert (len(desk.backlog), desk.counters.dropped) == (3, 2)


def test_a_heavy_message_takes_a_grant_for_each_64_kib_it_weighs() -> None:
    desk = Desk(limit_bytes=64 << 20)
    desk.backlog.grant(0, 30)
    desk.put(0, 5, payload=bytes(1 << 20))  # and a subject: 17 grants
    assert (desk.came(), desk.backlog.waiting_for(0)) == (["0", "1"], 3)
    desk.backlog.grant(0, 4)
    assert desk.came() == ["0", "1"], "the second one took four more than were left"
    desk.backlog.grant(0, 18)
    assert desk.came() == ["0", "1", "2", "3"]
    desk.put(5, 6)
    desk.backlog.grant(0, 33)
    assert (desk.came()[4:], desk.backlog.waiting_for(0)) == (["4"], 1)
    desk.backlog.grant(0, 1)
    assert desk.backlog.waiting_for(0) == 0


def test_what_was_released_comes_first() -> None:
    desk = Desk()
    desk.backlog.grant(0, 2)
    desk.put(0, 3)
    desk.backlog.release(desk.calls[0])
    desk.backlog.grant(0, 3)
    assert desk.came() == ["0", "1", "0", "1", "2"]


def test_what_is_dropped_at_the_end_is_counted() -> None:
    desk = Desk()
    desk.put(0, 4)
    assert desk.backlog.drop() == 4
    assert (len(desk.backlog), desk.counters.dropped) == (0, 4)


def test_what_is_granted_while_it_is_handed_over_is_handed_over_at_once() -> None:
    backlog = Backlog(BrokerCounters())
    came: list[Delivery] = []

    def take(deliveries: list[Delivery]) -> None:
        came.extend(deliveries)
        backlog.grant(0, len(deliveries))

    backlog.open(0, take)
    backlog.grant(0, 2)
    backlog.put(0, [Message(f"{n}", "a", b"") for n in range(7)])
    assert [delivery.message.id for delivery in came] == [f"{n}" for n in range(7)]
