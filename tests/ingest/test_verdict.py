from __future__ import annotations

from random import Random
from typing import Literal

import pytest

from farm.ingest.verdict import ACK, DeadLetter, RetryAt, Verdict, backoff_s, judge
from farm.invocation import Failed, FailureKind
from tests.ingest.pieces import STARTED_S, record_of, trigger_of

RETRIED: tuple[FailureKind, ...] = ("trap", "timeout", "memory", "guest_error", "retry", "died")


def verdict(kind: FailureKind, *, attempts: int = 1, died: int = 0, after_ms: int | None = None) -> Verdict:
    record = record_of(attempts=attempts, trigger=trigger_of(attempts=5, backoff_s=(0.2, 1.0, 5.0)))
    record.died = died
    return judge(Failed(kind, "no", after_ms=after_ms), record, STARTED_S, Random(1))


def test_an_answer_is_acknowledged() -> None:
    assert judge(None, record_of(), STARTED_S, Random(1)) is ACK


@pytest.mark.parametrize("kind", RETRIED)
def test_a_failure_is_tried_again_until_its_attempts_are_used_up(kind: FailureKind) -> None:
    assert [type(verdict(kind, attempts=n)) for n in range(1, 6)] == [RetryAt] * 4 + [DeadLetter]
    assert verdict(kind, attempts=5) == DeadLetter("attempts")


@pytest.mark.parametrize(("attempts", "step_s"), [(1, 0.2), (2, 1.0), (3, 5.0), (4, 5.0)])
def test_the_wait_follows_the_backoff_and_its_last_step_is_used_again(attempts: int, step_s: float) -> None:
    said = verdict("trap", attempts=attempts)
    assert isinstance(said, RetryAt)
    assert said.at_s - STARTED_S == pytest.approx(step_s, rel=0.2)


def test_waits_differ_by_at_most_a_fifth_either_way() -> None:
    rng = Random(5)
    waits = [backoff_s((10.0,), 1, rng) for _ in range(1000)]
    assert 8.0 <= min(waits) < 8.2
    assert 11.8 < max(waits) <= 12.0


def test_without_a_backoff_there_is_no_wait() -> None:
    assert backoff_s((), 1, Random(1)) == 0.0


@pytest.mark.parametrize("kind", ["rejected", "output"])
def test_what_would_fail_the_same_way_again_becomes_a_dead_letter_at_once(kind: Literal["rejected", "output"]) -> None:
    assert verdict(kind) == DeadLetter(kind)


def test_the_third_worker_that_dies_with_a_message_is_the_last() -> None:
    assert isinstance(verdict("died", attempts=2, died=2), RetryAt)
    assert verdict("died", attempts=3, died=3) == DeadLetter("died")


def test_a_guest_says_when_it_wants_to_be_asked_again() -> None:
    assert verdict("retry", after_ms=2500) == RetryAt(STARTED_S + 2.5)


@pytest.mark.parametrize(("after_ms", "wait_s"), [(-5, 0.0), (10**12, 3600.0)])
def test_what_a_guest_asks_for_is_bounded(after_ms: int, wait_s: float) -> None:
    assert verdict("retry", after_ms=after_ms) == RetryAt(STARTED_S + wait_s)


def test_only_a_retry_says_when() -> None:
    said = verdict("trap", after_ms=900_000)
    assert isinstance(said, RetryAt)
    assert said.at_s < STARTED_S + 1
