from __future__ import annotations

from collections import deque

import pytest

from farm.broker import Delivery, grants_of
from farm.brokers.grants import Member, share, take
from farm.message import Message

HEAVY = Message("h", "s", bytes(1 << 20))  # 17 grants
LIGHT = Message("l", "s", b"x")


def deliveries(*messages: Message) -> list[Delivery]:
    return [Delivery(0, message) for message in messages]


def members(*granted: int) -> tuple[list[Member], dict[int, list[Delivery]]]:
    came: dict[int, list[Delivery]] = {number: [] for number in range(len(granted))}
    line = [Member(number, some.extend) for number, some in came.items()]
    for member, count in zip(line, granted, strict=True):
        member.granted = count
    return line, came


@pytest.mark.parametrize(
    ("granted", "count", "left"),
    [(0, 0, 0), (-3, 0, -3), (1, 1, -16), (17, 1, 0), (18, 2, 0), (19, 3, -16), (99, 3, 64)],
)
def test_of_a_queue_goes_what_is_granted_and_the_last_may_be_heavy(granted: int, count: int, left: int) -> None:
    waiting = deque(deliveries(HEAVY, LIGHT, HEAVY))
    taken, rest = take(waiting, granted)
    assert (len(taken), len(waiting), rest) == (count, 3 - count, left)


def test_a_member_is_handed_no_more_than_its_own_grants_and_a_message() -> None:
    line, came = members(30, 994)
    share(line, deliveries(*[HEAVY] * 61))
    assert [len(some) for some in came.values()] == [2, 59]
    assert {member.trigger: member.granted for member in line} == {0: -4, 1: -9}
    assert all(delivery.trigger == trigger for trigger, some in came.items() for delivery in some)


def test_what_even_parts_leave_over_goes_to_whoever_has_grants() -> None:
    line, came = members(10, 10)
    some = deliveries(LIGHT, LIGHT, HEAVY, HEAVY)
    share(line, some)
    assert sorted(map(id, came[0] + came[1])) == sorted(map(id, some))
    assert sum(member.granted for member in line) == 20 - sum(grants_of(one.message) for one in some)


def test_who_was_handed_something_is_last_in_line() -> None:
    line, _ = members(5, 0, 5)
    share(line, deliveries(LIGHT))
    assert [member.trigger for member in line] == [1, 2, 0]
    share(line, deliveries(LIGHT))
    assert [member.trigger for member in line] == [1, 0, 2]
