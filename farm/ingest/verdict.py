"""The verdict: what becomes of a message after an attempt. Pure.

answered                                    -> Ack: publish its outputs, settle its source
trap, timeout, memory, guest_error, died    -> RetryAt after the trigger's backoff, until its attempts are used up
retry                                       -> RetryAt when the guest said; counts an attempt like any other
rejected, output, or hops used up           -> DeadLetter at once: another attempt would say the same
RetryAt while farm stops                    -> GiveBack to a broker that keeps the message, else DeadLetter: there is no
                                               time to wait, and attempts at once would burn them all
"""

from __future__ import annotations

from random import Random
from typing import Final, Literal

import msgspec

from farm.ingest.table import Record
from farm.invocation import Failed

DIED_LIMIT: Final = 3
JITTER: Final = 0.2
RETRY_LIMIT_S: Final = 3600.0  # a guest may ask for no later attempt than this

# attempts: all used up; died: three workers with it; stopping: farm ended before the next attempt was due, and its
# broker does not keep it; rejected, output, loop, full: see above and `farm.ingest.settlement`; redelivered: its server
# has handed it out too often
Reason = Literal["attempts", "died", "rejected", "output", "loop", "full", "stopping", "redelivered"]


class Ack(msgspec.Struct, frozen=True):
    """Publish the outputs, then settle the source."""


class RetryAt(msgspec.Struct, frozen=True):
    """Run it again, not before `at_s` on the clock that was passed in."""

    at_s: float


class DeadLetter(msgspec.Struct, frozen=True):
    """Keep it where a person finds it, then settle the source."""

    reason: Reason


class GiveBack(msgspec.Struct, frozen=True):
    """Let its broker have it back, for another farm or a later one."""


Verdict = Ack | RetryAt | DeadLetter | GiveBack

ACK: Final = Ack()
GIVE_BACK: Final = GiveBack()


def judge(failed: Failed | None, record: Record, now_s: float, rng: Random) -> Verdict:
    """What becomes of a record whose attempt has ended and is counted already."""
    if failed is None:
        return ACK
    if failed.kind == "rejected" or failed.kind == "output":
        return DeadLetter(failed.kind)
    if record.died >= DIED_LIMIT:
        return DeadLetter("died")
    if record.attempts >= record.trigger.spec.attempts:
        return DeadLetter("attempts")
    if failed.kind == "retry" and failed.after_ms is not None:
        return RetryAt(now_s + min(max(failed.after_ms, 0) / 1000, RETRY_LIMIT_S))
    return RetryAt(now_s + backoff_s(record.trigger.spec.backoff_s, record.attempts, rng))


def at_the_end(verdict: Verdict, *, kept: bool) -> Verdict:
    """What becomes of a verdict while farm stops.

    Args:
      kept: the record's broker has the message still, and may be given it back.
    """
    if not isinstance(verdict, RetryAt):
        return verdict
    return GIVE_BACK if kept else DeadLetter("stopping")


def backoff_s(steps_s: tuple[float, ...], attempts: int, rng: Random) -> float:
    """How long to wait after so many attempts: the step of that place, the last one again and again, give or take a
    fifth.
    """
    if not steps_s:
        return 0.0
    return steps_s[min(attempts, len(steps_s)) - 1] * (1 + JITTER * (2 * rng.random() - 1))
