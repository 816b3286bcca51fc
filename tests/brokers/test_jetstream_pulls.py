from __future__ import annotations

import json

import pytest

from farm.brokers.jetstream_pulls import (
    BATCH_LIMIT,
    BATCH_LIMIT_BYTES,
    BEAT_S,
    DEAF_S,
    GRACE_S,
    PULL_S,
    PULLS_LIMIT,
    Pulls,
)


def counts(pulls: Pulls, granted: int, now_s: float = 0.0) -> list[int]:
    return [json.loads(wish)["batch"] for _, wish in pulls.wishes(granted, now_s)]


def end(code: int, unfilled: int | None, unfilled_bytes: int = 0) -> bytes:
    lines = [f"NATS/1.0 {code} text"]
    if unfilled is not None:
        lines += [f"Nats-Pending-Messages: {unfilled}", f"Nats-Pending-Bytes: {unfilled_bytes}"]
    return "\r\n".join([*lines, "", ""]).encode()


def test_what_is_granted_is_asked_for_once() -> None:
    pulls = Pulls()
    assert counts(pulls, 10) == [10]
    assert counts(pulls, 10) == []
    assert pulls.asked == 10


def test_much_is_asked_for_in_batches_of_which_few_are_open() -> None:
    pulls = Pulls()
    assert counts(pulls, 10_000) == [BATCH_LIMIT] * PULLS_LIMIT
    assert counts(pulls, 10_000) == []


def test_a_little_more_waits_until_half_of_what_was_asked_for_is_here() -> None:
    pulls = Pulls()
    assert counts(pulls, 100) == [100]
    pulls.filled(49)
    assert counts(pulls, 100) == []
    pulls.filled(1)
    assert counts(pulls, 100) == [50]


def test_one_by_one_is_possible() -> None:
    pulls = Pulls()
    for _ in range(5):
        assert counts(pulls, 1) == [1]
        pulls.filled(1)


def test_what_a_pull_was_not_filled_with_is_asked_for_again() -> None:
    pulls = Pulls()
    assert counts(pulls, 100) == [100]
    pulls.filled(30)
    pulls.ended("1", end(408, 70), "Request Timeout")
    assert pulls.asked == 0
    assert counts(pulls, 70) == [70]


def test_the_server_says_what_is_left_of_each_when_it_fills_them_in_turn() -> None:
    pulls = Pulls()
    assert counts(pulls, 512) == [256, 256]
    pulls.filled(256)  # 128 of each
    pulls.ended("1", end(408, 128), "Request Timeout")
    assert pulls.asked == 128
    pulls.ended("2", end(408, 128), "Request Timeout")
    assert pulls.asked == 0


def test_an_end_without_a_word_of_what_is_left_is_reckoned() -> None:
    pulls = Pulls()
    assert counts(pulls, 10) == [10]
    pulls.filled(4)
    pulls.ended("1", end(409, None), "Exceeded MaxWaiting")
    assert pulls.asked == 0


def test_a_pull_of_which_nothing_is_heard_is_forgotten() -> None:
    pulls = Pulls()
    assert counts(pulls, 10, now_s=100.0) == [10]
    pulls.heard(100.0 + PULL_S)  # of another
    assert not pulls.expire(100.0 + PULL_S + GRACE_S)
    assert pulls.expire(100.1 + PULL_S + GRACE_S)
    assert counts(pulls, 10) == [10]


def test_pulls_that_wait_are_kept_while_the_server_says_that_they_do() -> None:
    pulls = Pulls()
    [(_, wish)] = pulls.wishes(10, 100.0)
    assert json.loads(wish)["idle_heartbeat"] == BEAT_S * 1e9
    assert 2 * BEAT_S <= PULL_S, "the server refuses more"
    pulls.heard(100.0 + BEAT_S)
    assert not pulls.expire(100.0 + DEAF_S + 1)
    assert counts(pulls, 10) == []


def test_pulls_are_forgotten_when_the_server_says_nothing_at_all() -> None:
    """As when it has stood still and is back, and its consumer's leader is another: it does not know of them."""
    pulls = Pulls()
    assert counts(pulls, 1000, now_s=100.0) == [256, 256, 256]
    pulls.heard(101.0)
    assert not pulls.expire(101.0 + DEAF_S)
    assert pulls.expire(101.1 + DEAF_S)
    assert counts(pulls, 1000, now_s=101.1 + DEAF_S) == [256, 256, 256]
    assert not pulls.expire(101.2 + DEAF_S)


def test_what_the_server_says_of_forgotten_pulls_makes_nothing_be_asked_for_twice() -> None:
    """It has kept them: each that ended would make place for one more, again and again."""
    pulls = Pulls()
    assert counts(pulls, 512) == [256, 256]
    pulls.forget()
    assert counts(pulls, 512) == [256, 256]
    pulls.ended("1", end(408, 256), "Request Timeout")
    pulls.ended("2", end(408, None), "Request Timeout")
    assert counts(pulls, 512) == []
    pulls.ended("3", end(408, 256), "Request Timeout")
    assert counts(pulls, 512) == [256]


def test_what_was_lost_on_its_way_is_not_waited_for_when_no_pull_is_open() -> None:
    """As when a route between two servers breaks: theirs has handed it out, and says that the batch is complete."""
    pulls = Pulls()
    assert counts(pulls, 10) == [10]
    pulls.filled(7)
    pulls.ended("1", end(409, 0), "Batch Completed")
    assert counts(pulls, 3) == [3]


def test_what_was_lost_on_its_way_is_not_waited_for_for_ever_where_no_end_is_heard_of() -> None:
    pulls = Pulls()
    assert counts(pulls, 20) == [20]
    pulls.filled(10)
    assert counts(pulls, 20, now_s=100.0) == [10]
    pulls.filled(6)  # 3 of each
    pulls.ended("2", end(409, 7, 1000), "Message Size Exceeds MaxBytes")
    pulls.filled(4)
    pulls.heard(101.0)
    assert pulls.asked == 3
    assert not pulls.expire(101.0 + DEAF_S)
    assert pulls.expire(101.1 + DEAF_S)
    assert counts(pulls, 3, now_s=101.1 + DEAF_S) == [3]


def test_a_bound_in_bytes_is_lifted_only_when_a_message_does_not_fit_alone() -> None:
    pulls = Pulls()
    [(_, first)] = pulls.wishes(10, 0.0)
    assert json.loads(first)["max_bytes"] == BATCH_LIMIT_BYTES
    pulls.filled(4)
    pulls.ended("1", end(409, 6, 1000), "Message Size Exceeds MaxBytes")
    [(_, second)] = pulls.wishes(6, 0.0)
    assert json.loads(second)["max_bytes"] == BATCH_LIMIT_BYTES
    pulls.ended("2", end(409, 6, BATCH_LIMIT_BYTES), "Message Size Exceeds MaxBytes")
    [(_, third)] = pulls.wishes(6, 0.0)
    assert "max_bytes" not in json.loads(third)


def test_when_the_connection_is_lost_so_is_all_that_was_asked_for() -> None:
    pulls = Pulls()
    assert counts(pulls, 100) == [100]
    pulls.forget()
    assert counts(pulls, 100) == [100]


@pytest.mark.parametrize(
    ("code", "text", "is_end"),
    [
        (404, "No Messages", True),
        (408, "Request Timeout", True),
        (409, "Message Size Exceeds MaxBytes", True),
        (409, "Batch Completed", True),
        (409, "Server Shutdown", True),  # a look at the consumer would find none, and make one that begins too late
        (409, "Consumer Deleted", False),
        (409, "Leadership Change", False),
        (409, "Exceeded MaxRequestBatch of 10", False),
        (503, "", False),
    ],
)
def test_what_a_status_says_of_the_consumer(code: int, text: str, is_end: bool) -> None:
    assert Pulls.is_end(code, text) is is_end


def test_a_limit_that_is_named_again_is_kept_to() -> None:
    """The first time it may be an edit of the consumer, which is undone."""
    pulls = Pulls()
    for named, asked in [(10, BATCH_LIMIT), (20, BATCH_LIMIT), (20, 20), (1000, 20), (1000, BATCH_LIMIT)]:
        pulls.refused(f"Exceeded MaxRequestBatch of {named}")
        pulls.refused("Consumer Deleted")
        pulls.forget()
        assert counts(pulls, asked) == [asked]
        if asked == 20:
            assert counts(pulls, 10_000) == [20] * (PULLS_LIMIT - 1)
