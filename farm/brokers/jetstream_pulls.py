"""What one consumer was asked for and has not delivered yet. Pure: neither sends nor waits.

    granted > wishes: pulls for what is granted and not asked for yet > filled, one message after the other
                                                                      > ended: by the server, which says what is left
                                                                      > forgotten: nothing was heard, or all are lost
    a server that has nothing for a pull says so every BEAT_S: a consumer whose leader has changed may have lost it
The server fills the pulls that wait in turn, so how much of each is left is known only when one ends; how much is asked
for in all is known, but for what is lost on its way between servers.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Final

from farm.brokers.nats_protocol import decode_headers

PULL_S: Final = 20.0  # a pull waits at the server for so long at most
GRACE_S: Final = 5.0  # and of one of which nothing is heard for so much longer nothing will be
BEAT_S: Final = 5.0
DEAF_S: Final = 12.0  # nothing was heard for so long, no beat either: whoever had the pulls has them no more
BATCH_LIMIT: Final = 256
BATCH_LIMIT_BYTES: Final = 8 << 20  # what messages weigh is known only when they are here
PULLS_LIMIT: Final = 8  # at once: with what is held, 128 MiB and a message at most
NS: Final = 1_000_000_000
TOO_MANY: Final = re.compile(r"exceeded maxrequestbatch of (\d+)", re.IGNORECASE)
TOO_LARGE: Final = "message size exceeds"  # in the text of a pull's end
COMPLETED: Final = "batch completed"
SHUTDOWN: Final = "server shutdown"  # its connection ends too; until then it denies consumers that it has kept
BEAT: Final = 100  # it waits
ENDED: Final = (404, 408)  # nothing is there; its time is over
UNFILLED: Final = "nats-pending-messages"
UNFILLED_BYTES: Final = "nats-pending-bytes"


class _Pull:
    """left: at most, as far as can be told."""

    __slots__ = ("left", "number", "until_s")

    def __init__(self, number: int, left: int, until_s: float) -> None:
        self.number = number
        self.left = left
        self.until_s = until_s


class Pulls:
    """Of one consumer."""

    def __init__(self) -> None:
        self.asked = 0
        self._open: Final[deque[_Pull]] = deque()
        self._number = 0
        self._forgotten = 0  # the last that was forgotten: what is left of those up to it is counted no more
        self._heard_s = 0.0  # when anything came, or the first of those that are open was asked for
        self._limit = BATCH_LIMIT  # of a pull
        self._refused = 0  # the limit that was named when a pull had too many; 0: none has
        self._limit_bytes = BATCH_LIMIT_BYTES  # of a pull; 0: none, for a message did not fit

    def wishes(self, granted: int, now_s: float) -> Iterator[tuple[int, bytes]]:
        """Numbers and bodies of the requests to send now: few and large ones, none for one or two messages more while
        much is asked for already.
        """
        missing = granted - self.asked
        while missing > 0 and (missing >= self.asked or missing >= self._limit) and len(self._open) < PULLS_LIMIT:
            count = min(missing, self._limit)
            self._number += 1
            if not self._open:
                self._heard_s = now_s
            self._open.append(_Pull(self._number, count, now_s + PULL_S + GRACE_S))
            self.asked += count
            missing -= count
            wish = {"batch": count, "expires": int(PULL_S * NS), "idle_heartbeat": int(BEAT_S * NS)}
            if self._limit_bytes:
                wish["max_bytes"] = self._limit_bytes
            yield self._number, json.dumps(wish).encode()

    def heard(self, now_s: float) -> None:
        """Messages, or a word about a pull."""
        self._heard_s = now_s

    def filled(self, count: int) -> None:
        """So many messages came."""
        self.asked = max(0, self.asked - count)
        while count and self._open:
            first = self._open[0]
            part = min(count, first.left)
            count -= part
            first.left -= part
            if not first.left:
                self._open.popleft()

    @staticmethod
    def is_end(code: int, text: str) -> bool:
        """Whether a status is that of a pull's end, and the next one may be asked for at once. Any other says that the
        consumer does nothing of the kind now: it is gone, it moves, or somebody has changed what it allows.
        """
        said = text.lower()
        return code in ENDED or said.startswith((TOO_LARGE, COMPLETED, SHUTDOWN))

    def refused(self, text: str) -> None:
        """The server says that the consumer does nothing of the kind. Where somebody has changed how many may be asked
        for at once that is undone; named again all the same, it is a limit of the server's.
        """
        if found := TOO_MANY.match(text):
            named = int(found[1])
            if 0 < named == self._refused:
                self._limit = min(named, BATCH_LIMIT)
            self._refused = named

    def ended(self, number: str, head: bytes, text: str) -> None:
        """The server says that a pull is over. head: its headers; text: that of its status."""
        said = {name.lower(): value for name, value in decode_headers(head)}
        found = next((pull for pull in self._open if str(pull.number) == number), None)
        if found is not None:
            self._open.remove(found)
        if number.isdigit() and int(number) > self._forgotten:
            unfilled = said.get(UNFILLED, "")
            left = int(unfilled) if unfilled.isdigit() else found.left if found is not None else 0
            self.asked = max(0, self.asked - left) if self._open else 0
        if TOO_LARGE in text.lower() and said.get(UNFILLED_BYTES) == str(self._limit_bytes):
            self._limit_bytes = 0

    def expire(self, now_s: float) -> bool:
        """Forget those that nothing is heard of, and what was lost on its way; whether there was any."""
        before = len(self._open)
        if self.asked and now_s - self._heard_s > DEAF_S:
            self.forget()
            return True
        while self._open and now_s > self._open[0].until_s:
            self.asked = max(0, self.asked - self._open.popleft().left)
        return len(self._open) < before

    def forget(self) -> None:
        """All are lost."""
        self._open.clear()
        self.asked = 0
        self._forgotten = self._number
