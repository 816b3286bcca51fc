from __future__ import annotations

from farm.gateway.counts import Counts


def test_nothing_that_happened_is_nothing_said() -> None:
    assert str(Counts()) == ""


def test_one_is_said_as_one_and_many_as_many() -> None:
    one, many = Counts(1, 1, 1, 1, 1), Counts(2, 2, 2, 2, 2)
    assert str(one) == "1 WebSocket, 1 closed as slow, 1 message not shown: not UTF-8, 1 message missed, 1 gap"
    assert str(many) == "2 WebSockets, 2 closed as slow, 2 messages not shown: not UTF-8, 2 messages missed, 2 gaps"
