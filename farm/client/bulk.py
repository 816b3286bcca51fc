"""Many publishes on their way: as fast as the farm takes them, and again what a full farm refused."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from farm.client.session import News, Session, Settled
from farm.errors import BrokerFull
from farm.wire import relay
from farm.wire.relay import Accepted, Publish, Refusal

AGAIN_S: Final = (0.01, 0.5)  # how long to leave a full farm alone: at first, and at most
SPAN: Final = (32, (relay.WINDOW + 2) * relay.BATCH_COUNT_LIMIT)  # how many may be unanswered: at least, and at most
GROWTH: Final = 0.25  # of the span, for each one accepted
FEED_LIMIT_BYTES: Final = 1 << 20  # with so much waiting to be sent, the source is left alone
IDLE_S: Final = 0.02  # how often to look at a source that has nothing right now


class Receipt(msgspec.Struct, frozen=True):
    """What publishing gave: the message's id, and how many triggers and listeners match its subject.

    nearest: with neither, the pattern that was perhaps meant; sequence: its number in the server's stream; receivers:
    how many subscribers the server itself counted.
    """

    id: str
    broker: str
    triggers: int
    listeners: int
    nearest: str | None = None
    sequence: int | None = None
    receivers: int | None = None


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
          wait: what is refused and may be taken later is offered again; so each item is given a key at its first
            offer, unless it has one: of what went unanswered nobody knows whether it was taken, and a key makes a
            second copy known by its id.
        """
        self._turn = turn
        self._session = session
        self._items = items
        self._wait = wait
        self._keys = secrets.token_urlsafe(16)  # what all begin with: drawn once, a draw costs more than a hash
        self._key_count = 0
        self._open: dict[int, Publish] = {}
        self._again: deque[Publish] = deque()
        self._again_s = 0.0  # not before
        self._pause_s = AGAIN_S[0]
        self._span: float = SPAN[1]
        self._gained = 0  # accepted since the last pause began
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
        left_s = self._again_s - time.monotonic()
        return left_s if self._again and left_s > 0 else 1.0

    def _feed(self) -> None:
        room = min(2 * relay.BATCH_COUNT_LIMIT - self._session.waiting_count, int(self._span) - len(self._open))
        if self._again and time.monotonic() < self._again_s:
            return  # the farm is full: what is new would be refused as well
        self._idle = False
        while room > 0 and self._session.waiting_bytes < FEED_LIMIT_BYTES:
            try:
                item = self._again.popleft() if self._again else self._first_offer()
            except StopIteration:
                self._dry = True
                return
            if item is None:
                self._idle = True
                return
            try:
                ticket = self._session.publish(item)
            except BrokerFull:  # one that is larger than all the room there is: it goes once what waits has gone
                self._again.appendleft(item)
                self._again_s = time.monotonic() + AGAIN_S[0]
                return
            self._open[ticket] = item
            room -= 1

    def _first_offer(self) -> Publish | None:
        item = next(self._items)
        if item is None or not self._wait or item.key is not None:
            return item
        self._key_count += 1
        return msgspec.structs.replace(item, key=f"{self._keys}#{self._key_count}")

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
                self._gained += 1
                self._span = min(SPAN[1], self._span + GROWTH)
                continue
            tally.refusal = outcome
            if self._wait and outcome.retry:
                self._again.append(item)
                self._leave_alone()
            else:
                tally.refused += 1

    def _leave_alone(self) -> None:
        """Pause, unless there is a pause already. Afterwards about as much is offered as was taken since the last one:
        what a full farm refuses costs it as much as what it takes.
        """
        now_s = time.monotonic()
        if now_s < self._again_s:
            return
        self._pause_s = AGAIN_S[0] if self._gained else min(AGAIN_S[1], self._pause_s * 2)
        self._again_s = now_s + self._pause_s
        self._span = max(SPAN[0], min(self._span, self._gained))
        self._gained = 0


def receipt_of(accepted: Accepted, broker: str) -> Receipt:
    """What an accepted publish gave."""
    return Receipt(
        accepted.id,
        broker,
        accepted.triggers,
        accepted.listeners,
        accepted.nearest,
        accepted.sequence,
        accepted.receivers,
    )
