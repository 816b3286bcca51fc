from __future__ import annotations

from farm.wire.relay import Ahead


def test_what_is_done_with_is_no_longer_ahead() -> None:
    ahead = Ahead()
    ahead.put(10, 1000)
    ahead.put(2, 500)
    assert ahead.take(4) == 400
    assert ahead.take(7) == 600 + 250
    assert ahead.size_bytes == 250
    assert ahead.take(1) == 250
    assert ahead.size_bytes == 0


def test_bytes_do_not_get_lost_between_messages_of_one_word() -> None:
    ahead = Ahead()
    ahead.put(3, 100)
    assert sum(ahead.take(1) for _ in range(3)) == 100


def test_more_than_there_is_takes_what_there_is() -> None:
    ahead = Ahead()
    ahead.put(1, 7)
    assert ahead.take(5) == 7
    assert ahead.take(5) == 0
