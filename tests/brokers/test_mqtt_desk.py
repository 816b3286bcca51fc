from __future__ import annotations

from farm.broker import Delivery
from farm.brokers.mqtt_desk import Desk, Place
from farm.message import Message


def message(payload: bytes = b"x") -> Message:
    return Message("id", "a.b", payload)


def put(desk: Desk, place: Place, *payloads: bytes) -> list[bool]:
    found = [desk.put(place, message(payload), None) for payload in payloads]
    desk.hand_over()
    return found


def test_a_list_for_all_that_came_together() -> None:
    desk, place = Desk(), Place()
    calls: list[list[Delivery]] = []
    desk.join(place, 3, calls.append)
    desk.grant(3, 2)
    assert put(desk, place, b"1", b"2", b"3") == [True] * 3
    assert [[each.message.payload for each in call] for call in calls] == [[b"1", b"2"]]
    assert (len(desk), desk.waiting_for(3)) == (1, 1)
    desk.grant(3, 5)
    assert [each.message.payload for each in calls[-1]] == [b"3"]
    assert len(desk) == 0


def test_members_of_a_group_share_as_evenly_as_their_grants_allow() -> None:
    desk, place = Desk(), Place()
    came: dict[int, list[Delivery]] = {0: [], 1: [], 2: []}
    for trigger in came:
        desk.join(place, trigger, came[trigger].extend)
    desk.grant(0, 1)
    desk.grant(1, 10)
    desk.grant(2, 10)
    put(desk, place, *(b"%d" % n for n in range(9)))
    assert [len(each) for each in came.values()] == [1, 4, 4]
    assert all(delivery.trigger == trigger for trigger, each in came.items() for delivery in each)
    assert sorted(d.message.payload for each in came.values() for d in each) == [b"%d" % n for n in range(9)]


def test_what_waits_for_a_group_goes_to_whoever_is_granted_first() -> None:
    desk, place = Desk(), Place()
    came: dict[int, list[Delivery]] = {0: [], 1: []}
    for trigger in came:
        desk.join(place, trigger, came[trigger].extend)
    put(desk, place, b"1", b"2")
    assert (desk.waiting_for(0), desk.waiting_for(1)) == (2, 0)
    desk.grant(1, 1)
    desk.grant(0, 5)
    assert [each[0].message.payload for each in (came[1], came[0])] == [b"1", b"2"]


def test_a_member_that_grants_while_it_is_handed_something_gets_it_at_once() -> None:
    desk, place = Desk(), Place()
    came: list[Delivery] = []
    others: list[Delivery] = []

    def take(deliveries: list[Delivery]) -> None:
        came.extend(deliveries)
        desk.grant(0, len(deliveries))

    desk.join(place, 0, take)
    desk.join(place, 1, others.extend)
    desk.grant(1, 1)
    desk.grant(0, 1)
    put(desk, place, *(b"%d" % n for n in range(6)))
    assert len(came) + len(others) == 6
    assert len(others) == 1


def test_bounds_are_by_count_and_by_size() -> None:
    desk, place = Desk(limit=3, limit_bytes=1000), Place()
    desk.join(place, 0, lambda _: None)
    assert put(desk, place, bytes(900), bytes(200), b"x", b"y", b"z") == [True, False, True, True, False]
    assert not desk.is_roomy
    desk.grant(0, 10)
    assert desk.is_roomy


def test_what_is_granted_has_room_always() -> None:
    desk, place = Desk(limit=1), Place()
    came: list[Delivery] = []
    desk.join(place, 0, came.extend)
    desk.grant(0, 5)
    assert put(desk, place, *[b"x"] * 7) == [True] * 6 + [False]
    assert len(came) == 5


def test_a_heavy_message_takes_a_grant_for_each_64_kib_it_weighs() -> None:
    desk, place = Desk(), Place()
    came: list[Delivery] = []
    desk.join(place, 0, came.extend)
    desk.grant(0, 18)
    put(desk, place, *[bytes(1 << 20)] * 5)  # and a subject: 17 grants
    assert (len(came), desk.waiting_for(0)) == (2, 3)
    desk.grant(0, 16)
    assert len(came) == 2, "the second one took sixteen more than were left"
    desk.grant(0, 18)
    assert (len(came), desk.waiting_for(0)) == (4, 1)


def test_members_of_a_group_pay_for_what_each_was_handed() -> None:
    desk, place = Desk(), Place()
    came: dict[int, list[Delivery]] = {0: [], 1: []}
    for trigger, some in came.items():
        desk.join(place, trigger, some.extend)
        desk.grant(trigger, 20)
    put(desk, place, b"1", b"2", *[bytes(1 << 20)] * 4)
    assert ([len(each) for each in came.values()], len(desk)) == ([3, 2], 1)
    desk.grant(0, 13)
    assert len(desk) == 1, "both together have none left"
    desk.grant(1, 1)
    assert len(desk) == 0
    assert len(came[0]) + len(came[1]) == 6


def test_what_is_put_back_comes_first() -> None:
    desk, place = Desk(), Place()
    came: list[Delivery] = []
    desk.join(place, 0, came.extend)
    desk.grant(0, 2)
    put(desk, place, b"1", b"2", b"3")
    desk.put_back(came[:])
    came.clear()
    desk.grant(0, 3)
    assert [each.message.payload for each in came] == [b"1", b"2", b"3"]


def test_what_is_cleared_is_counted_where_nobody_else_has_it() -> None:
    desk, place = Desk(), Place()
    desk.join(place, 0, lambda _: None)
    desk.put(place, message(), None)
    desk.put(place, message(), object())
    assert desk.clear() == 1
    assert len(desk) == 0
