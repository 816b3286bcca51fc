"""What a server confirms with a PONG: that it has done all that was written before the PING.

ask(done)  ..  ask(done)    > sent: one PING for all of them    > answered: each hears Flushed()
                                                                > lost, or late: each hears why nobody knows
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Flushed:
    """What became of all that was written before a flush.

    fault: empty: the server has it; else nobody knows. denied: subjects of it that we may not publish to, or
    may not have answers on.
    """

    fault: str = ""
    denied: frozenset[str] = frozenset()


OnFlushed = Callable[[Flushed], None]
_OK: Final = Flushed()


class Pings:
    """The PINGs of one connection, answered in their order. Pure: it neither writes nor waits."""

    def __init__(self) -> None:
        self._asked: list[OnFlushed] = []
        self._sent: Final[deque[tuple[float, list[OnFlushed]]]] = deque()
        self._denied: Final[set[str]] = set()

    @property
    def asked(self) -> bool:
        """Whether somebody waits for a PING to be sent."""
        return bool(self._asked)

    def ask(self, done: OnFlushed) -> None:
        """Have `done` hear of the next one."""
        self._asked.append(done)

    def sent(self, now_s: float) -> None:
        """One was sent, for all that asked."""
        self._sent.append((now_s, self._asked))
        self._asked = []

    def deny(self, subject: str) -> None:
        """The server has refused what was published to this subject, before the next PONG."""
        self._denied.add(subject)

    def answered(self) -> None:
        """A PONG. One that nobody asked for is none."""
        if not self._sent:
            return
        flushed = _OK
        if self._denied:
            flushed = Flushed(denied=frozenset(self._denied))
            self._denied.clear()
        for done in self._sent.popleft()[1]:
            done(flushed)

    def unanswered_s(self, now_s: float) -> float:
        """How long the oldest has been without an answer; 0: there is none."""
        return now_s - self._sent[0][0] if self._sent else 0.0

    def give_up(self, sent_before_s: float) -> None:
        """Whoever asked for one that was sent before this waits no longer. Its PONG may still come."""
        late: list[OnFlushed] = []
        for sent_s, waiting in self._sent:
            if sent_s < sent_before_s and waiting:
                late += waiting
                waiting.clear()
        _tell(late, Flushed("no confirmation in time"))

    def lose(self, fault: str) -> None:
        """The connection is gone, and with it every answer."""
        waiting = [done for _, some in self._sent for done in some] + self._asked
        self._sent.clear()
        self._asked = []
        self._denied.clear()
        _tell(waiting, Flushed(fault))


def _tell(waiting: list[OnFlushed], flushed: Flushed) -> None:
    for done in waiting:
        done(flushed)
