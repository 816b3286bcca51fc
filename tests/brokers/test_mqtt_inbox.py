"""What a session brings, with a connection that only notes what is sent over it."""

from __future__ import annotations

import tracemalloc
from typing import cast

import pytest

from farm.broker import BrokerCounters, Delivery
from farm.brokers.mqtt_desk import Desk, Place
from farm.brokers.mqtt_inbox import Inbox, Token, settle
from farm.brokers.mqtt_link import Link
from farm.brokers.mqtt_messages import Raw
from farm.brokers.mqtt_packets import Arrival, Frames, puback, publish, read_publish, write_extras
from farm.brokers.mqtt_routes import Routes

DUP = 0x08
FIRST = b"\x0b\x01"  # the property that is a subscription's identifier
FIVE_OF = {"a/b": FIRST, "#": b"\x0b\x02", "$share/g/a/b": b"\x0b\x03"}


class Line:
    """A connection."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, packet: bytes) -> None:
        self.sent.append(packet)

    @property
    def link(self) -> Link:
        return cast("Link", self)


def arrival(mid: int, payload: bytes = b"x", topic: str = "a/b", flags: int = 0, extras: bytes = FIRST) -> Arrival:
    [(first, body, _)] = Frames(1 << 24).cut(publish(topic.encode(), payload, mid, extras))
    return read_publish(first | flags, body, five=True)


class House:
    """A desk, an inbox with triggers on it, and a connection."""

    def __init__(self, limit: int = 100, **topics: str) -> None:
        self.counters = BrokerCounters()
        self.desk = Desk(limit)
        self.routes = Routes[Place](five=True, known={})
        self.inbox = Inbox(self.routes, self.desk, self.counters)
        self.line = Line()
        self.came: list[Delivery] = []
        self.read = Raw(five=True).read
        for number, topic in enumerate(topics.values()):
            self.trigger(number, topic)
        self.inbox.connected(self.line.link, resumed=False)

    def trigger(self, number: int, topic: str) -> None:
        place = Place()
        self.desk.join(place, number, self.came.extend)
        self.routes.add(topic, place)

    def take(self, *arrivals: Arrival) -> None:
        self.inbox.take(arrivals, self.read, lambda _: True)
        self.desk.hand_over()

    def grant(self, *triggers: int, count: int = 100) -> None:
        for trigger in triggers:
            self.desk.grant(trigger, count)

    def again(self, *, resumed: bool = True) -> None:
        self.inbox.disconnected()
        self.line = Line()
        self.inbox.connected(self.line.link, resumed=resumed)

    @property
    def payloads(self) -> list[bytes]:
        return [delivery.message.payload for delivery in self.came]


def test_the_server_hears_of_a_message_once_its_delivery_is_settled() -> None:
    house = House(topic="a/b")
    house.grant(0)
    house.take(arrival(7))
    assert house.payloads == [b"x"]
    assert house.line.sent == []
    settle(house.came)
    assert house.line.sent == [puback(7)]


def test_one_copy_for_two_triggers_is_acknowledged_with_the_last() -> None:
    house = House(one="a/b", two="#")
    house.grant(0, 1)
    house.take(arrival(7, extras=FIVE_OF["a/b"] + FIVE_OF["#"]))
    assert len(house.came) == 2
    settle(house.came[:1])
    assert house.line.sent == []
    settle(house.came[1:])
    assert house.line.sent == [puback(7)]


def test_a_copy_for_each_subscription_goes_to_its_own_triggers() -> None:
    house = House(one="a/b", two="#", three="$share/g/a/b")
    house.grant(0, 1, 2)
    house.take(*(arrival(mid, extras=extras) for mid, extras in enumerate(FIVE_OF.values(), start=1)))
    assert [delivery.trigger for delivery in house.came] == [0, 1, 2]
    settle(house.came)
    assert house.line.sent == [puback(1), puback(2), puback(3)]


def test_what_is_held_is_known_when_it_comes_again_and_acknowledged_there() -> None:
    house = House(topic="a/b")
    house.grant(0)
    house.take(arrival(1, b"held"), arrival(2, b"settled meanwhile"))
    house.inbox.disconnected()
    settle(house.came[1:])
    house.again()
    house.take(arrival(1, b"held", flags=DUP), arrival(2, b"settled meanwhile", flags=DUP))
    assert len(house.came) == 2
    assert house.line.sent == [puback(2)]
    settle(house.came[:1])
    assert house.line.sent == [puback(2), puback(1)]


def test_what_was_settled_before_it_came_again_is_not_acknowledged_out_of_turn() -> None:
    house = House(topic="a/b")
    house.grant(0)
    house.take(arrival(1))
    house.again()
    settle(house.came)
    assert house.line.sent == []
    house.take(arrival(1, flags=DUP))
    assert house.line.sent == [puback(1)]


def test_a_number_that_the_server_has_given_to_another_message_is_another() -> None:
    house = House(topic="a/b")
    house.grant(0)
    house.take(arrival(1, b"first"))
    house.again(resumed=False)
    house.take(arrival(1, b"second"))
    assert house.payloads == [b"first", b"second"]
    settle(house.came[:1])
    assert house.line.sent == []
    settle(house.came[1:])
    assert house.line.sent == [puback(1)]


def test_the_same_number_with_another_payload_is_another_message_even_in_a_kept_session() -> None:
    house = House(topic="a/b")
    house.grant(0)
    house.take(arrival(1, b"first"))
    house.again()
    house.take(arrival(1, b"second", flags=DUP))
    settle(house.came[:1])
    assert house.line.sent == []
    settle(house.came[1:])
    assert house.line.sent == [puback(1)]


def test_the_same_number_and_payload_is_another_message_where_it_does_not_come_again() -> None:
    """A server that was killed gives numbers again that it has forgotten; one message is often like another."""
    house = House(topic="a/b")
    house.grant(0)
    house.take(arrival(1, b"on"))
    house.again()
    house.take(arrival(1, b"on"))
    assert house.payloads == [b"on", b"on"]
    settle(house.came[:1])
    assert house.line.sent == []
    settle(house.came[1:])
    assert house.line.sent == [puback(1)]


def test_what_is_held_of_a_message_is_what_it_weighs() -> None:
    """Of its properties only some reach a component, and those alone are counted."""
    house = House(topic="a/b")
    house.grant(0)
    large = FIRST + write_extras([("x-large", "v" * 50_000)] * 20)
    tracemalloc.start()
    try:
        for mid in range(1, 21):
            house.take(arrival(mid, extras=large))
        held_bytes, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [delivery.message.size_bytes < 100 for delivery in house.came] == [True] * 20
    assert held_bytes < len(large) < most_bytes


def test_what_there_is_no_room_for_stays_at_the_server_until_there_is() -> None:
    house = House(limit=2, topic="a/b")
    house.take(*(arrival(mid, b"%d" % mid) for mid in (1, 2, 3)))
    assert house.inbox.owed
    assert len(house.desk) == 2
    house.grant(0)
    settle(house.came)
    assert house.line.sent == [puback(1), puback(2)]
    house.again()
    house.take(arrival(3, b"3", flags=DUP))
    assert house.payloads == [b"1", b"2", b"3"]
    assert not house.inbox.owed
    assert (house.counters.dropped, house.counters.gaps) == (0, 0)


def test_of_what_there_is_no_room_for_nothing_is_kept_here() -> None:
    house = House(limit=1, one="a/b", two="#")
    house.grant(0, count=1)
    both = FIVE_OF["a/b"] + FIVE_OF["#"]
    house.take(*(arrival(mid, bytes(50), extras=both) for mid in (1, 2, 3)))
    held = vars(house.inbox)["_held"]
    assert sorted(held) == [1]  # 1: both triggers have it; of 2 and 3 neither has
    settle(house.came)
    assert house.inbox.owed


def test_what_only_some_had_room_for_is_forgotten_once_these_are_done_with_it() -> None:
    house = House(limit=0, one="a/b", two="#")
    house.grant(0, count=1)
    house.take(arrival(1, extras=FIVE_OF["a/b"] + FIVE_OF["#"]))
    assert house.payloads == [b"x"]
    settle(house.came)
    assert house.line.sent == []
    assert vars(house.inbox)["_held"] == {}


def test_what_comes_before_its_trigger_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.brokers.mqtt_inbox.EARLY_LIMIT_BYTES", 2500)
    house = House()
    large = FIRST + write_extras([("x-large", "v" * 500)])
    house.take(*(arrival(mid, bytes(500), extras=large) for mid in (1, 2, 3)))
    assert house.inbox.owed
    house.trigger(0, "a/b")
    house.grant(0)
    house.inbox.take_early(house.read, lambda _: True)
    house.desk.hand_over()
    assert len(house.came) == 2


def test_what_the_server_does_not_keep_is_dropped_and_counted_as_one_gap() -> None:
    house = House(limit=2, topic="a/b")
    house.take(*(arrival(0, b"%d" % n) for n in range(5)))
    assert (house.counters.dropped, house.counters.gaps) == (3, 1)
    house.grant(0)
    assert house.payloads == [b"0", b"1"]
    assert all(delivery.token is None for delivery in house.came)


def test_what_comes_before_its_trigger_waits_for_it() -> None:
    house = House()
    house.take(arrival(1))
    assert house.line.sent == []
    house.trigger(0, "a/b")
    house.grant(0)
    house.inbox.take_early(house.read, lambda _: True)
    house.desk.hand_over()
    assert house.payloads == [b"x"]


def test_what_is_for_nobody_is_done_with_once_everybody_is_known() -> None:
    house = House()
    house.take(arrival(1))
    house.inbox.take_early(house.read, lambda _: True, all_known=True)
    house.take(arrival(2))
    assert house.line.sent == [puback(1), puback(2)]


def test_what_was_retained_and_is_not_wanted_is_done_with() -> None:
    house = House(topic="a/b")
    house.grant(0)
    house.inbox.take([arrival(1, flags=1)], house.read, lambda _: False)
    house.desk.hand_over()
    assert house.came == []
    assert house.line.sent == [puback(1)]


def test_what_was_retained_and_has_come_before_is_not_passed_over() -> None:
    house = House(topic="a/b")
    house.grant(0)
    house.inbox.take([arrival(1, flags=1 | DUP)], house.read, lambda _: False)
    house.desk.hand_over()
    assert house.payloads == [b"x"]


def test_a_quiet_inbox_leaves_everything_at_the_server() -> None:
    house = House(topic="a/b")
    house.grant(0)
    house.inbox.quiet()
    house.take(arrival(1))
    assert (house.came, house.line.sent) == ([], [])


def test_the_token_says_which_message_it_is() -> None:
    house = House(topic="a/b")
    house.grant(0)
    house.take(arrival(5))
    token = house.came[0].token
    assert isinstance(token, Token)
    assert token.mid == 5


@pytest.mark.parametrize("topic", ["farm/dlq/a/b", "$SYS/x"])
def test_no_wildcard_brings_a_reserved_topic(topic: str) -> None:
    house = House(one="a/b", two="#")
    house.grant(0, 1)
    house.take(arrival(1, topic=topic, extras=FIVE_OF["#"]))
    assert house.came == []
