"""Many publishes on their way: as fast as the farm takes them, and again what a full farm refused."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from farm.client.session import News, Session, Settled
from farm.wire import relay
from farm.wire.relay import Accepted, Publish, Refusal

AGAIN_S: Final = (0.01, 0.5)  # how long to leave a full farm alone: at first, and at most
IDLE_S: Final = 0.02  # how often to look at a source that has nothing right now


class Receipt(msgspec.Struct, frozen=True):
    """What publishing gave: the message's id, and how many triggers and listeners match its subject.

    nearest: with neither, the pattern that was perhaps meant.
    """

    id: str
    broker: str
    triggers: int
    listeners: int
    nearest: str | None = None


class Tally(msgspec.Struct):
    """How far publishing many has come."""

    accepted: int = 0
    refused: int = 0
    left: int = 0  # given up: neither accepted nor refused when patience ended
    unmatched: int = 0  # accepted, and no trigger or listener matches
    last: Receipt | None = None
    refusal: Refusal | None = None  # the last one that counts, or that was being waited out


class Bulk:
    """One run over many messages."""

    def __init__(
        self, turn: Callable[[float], list[News]], session: Session, items: Iterator[Publish | None], wait: bool
    ) -> None:
        """Ready to run.

        Args:
          turn: waits at most so many seconds for news.
          items: None stands for "nothing right now": what came before it is not held back.
          wait: what is refused and may be taken later is offered again.
        """
        self._turn = turn
        self._session = session
        self._items = items
        self._wait = wait
        self._open: dict[int, Publish] = {}
        self._again: deque[Publish] = deque()
        self._again_s = 0.0  # not before
        self._pause_s = AGAIN_S[0]
        self._dry = False
        self._idle = False
        self._tally = Tally()

    def run(self, patience_s: float, progress: Callable[[Tally], None] | None) -> Tally:
        """Publish them all, or until nothing was accepted for `patience_s`; how it ended."""
        tally = self._tally
        moved_s = time.monotonic()
        while True:
            self._feed()
            if not self._open and not self._again and self._dry:
                return tally
            before = tally.accepted + tally.refused
            self._take(self._turn(self._patient_s()))
            now_s = time.monotonic()
            if tally.accepted + tally.refused > before:
                moved_s = now_s
                if progress is not None:
                    progress(tally)
            elif not self._open and not self._again:
                moved_s = now_s  # what is waited for is the source
            elif now_s - moved_s > patience_s:
                tally.left = len(self._open) + len(self._again)
                return tally

    def _patient_s(self) -> float:
        if self._idle:
            return IDLE_S
        if not self._again:
            return 1.0
        return max(0.0, self._again_s - time.monotonic())

    def _feed(self) -> None:
        room = 2 * relay.BATCH_COUNT_LIMIT - self._session.waiting_count
        if self._again and time.monotonic() < self._again_s:
            return  # the farm is full: what is new would be refused as well
        self._idle = False
        while room > 0:
            try:
                item = self._again.popleft() if self._again else next(self._items)
            except StopIteration:
                self._dry = True
                return
            if item is None:
                self._idle = True
                return
            self._open[self._session.publish(item)] = item
            room -= 1

    def _take(self, news: list[News]) -> None:
        tally = self._tally
        for one in news:
            if not isinstance(one, Settled) or (item := self._open.pop(one.ticket, None)) is None:
                continue
            outcome = one.outcome
            if isinstance(outcome, Accepted):
                tally.accepted += 1
                tally.unmatched += not (outcome.triggers or outcome.listeners)
                tally.last = receipt_of(outcome, item.broker or one.broker)
                self._pause_s = AGAIN_S[0]
                continue
            tally.refusal = outcome
            if self._wait and outcome.retry:
                if not self._again:
                    self._again_s = time.monotonic() + self._pause_s
                    self._pause_s = min(AGAIN_S[1], self._pause_s * 2)
                self._again.append(item)
            else:
                tally.refused += 1


def receipt_of(accepted: Accepted, broker: str) -> Receipt:
    """What an accepted publish gave."""
    return Receipt(accepted.id, broker, accepted.triggers, accepted.listeners, accepted.nearest)
