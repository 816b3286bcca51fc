"""Dead letters kept by the broker that the message came from: as messages on `farm.dlq.<its subject>`.

For brokers that confirm what they store; the letters of others are in a file (`farm.ingest.dead_letters`). A letter is
confirmed before its source is settled. One that cannot be stored leaves its source unsettled and is tried again, 1 s to
60 s apart. One that is too large with all its headers is tried without those that its message brought, and then
without its payload, which is at the source that `farm-source` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from farm.broker import Broker, Published, Refused
from farm.errors import InputError, printable
from farm.ingest.dead_letters import AGAIN_LIMIT_S, AGAIN_S, Letter
from farm.ingest.table import Record
from farm.message import Headers, Message

PREFIX: Final = "farm.dlq."
ERROR_LIMIT: Final = 1024  # characters of the last error's text
SHORT_ERROR_LIMIT: Final = 128
SMALLEST: Final = 2  # the last way to cut a letter


class _Kept:
    """A letter on its way. cut: how much of it is left out; due_s: when it is tried again, None while it is asked."""

    __slots__ = ("cut", "due_s", "letter", "record", "wait_s")

    def __init__(self, letter: Letter, record: Record) -> None:
        self.letter = letter
        self.record = record
        self.cut = 0
        self.wait_s = AGAIN_S
        self.due_s: float | None = None


class BrokerLetters:
    """Stores letters at their brokers; those that cannot be stored wait here, and their sources with them."""

    def __init__(
        self,
        brokers: Mapping[str, Broker],
        clock: Callable[[], float],
        stored: Callable[[list[Record]], None],
        wanted: Callable[[], None],
    ) -> None:
        """
        Args:
          stored: hears of records whose letter is kept: their sources may be settled.
          wanted: called when a broker has answered, which may be between turns.
        """
        self._brokers = brokers
        self._clock = clock
        self._stored = stored
        self._wanted = wanted
        self._waiting: list[_Kept] = []
        self.fault = ""  # why the last letter could not be stored; empty once all are

    @property
    def waiting(self) -> list[Record]:
        """Records whose letter could not be stored yet."""
        return [one.record for one in self._waiting]

    def takes(self, record: Record) -> bool:
        """Whether a record's letter belongs here."""
        return self._brokers[record.trigger.spec.broker].confirms

    def add(self, record: Record, letter: Letter) -> None:
        """Store this one."""
        self._store(self._brokers[record.trigger.spec.broker], [_Kept(letter, record)])

    def wake(self, now_s: float) -> None:
        """Try again what is due."""
        due: dict[Broker, list[_Kept]] = {}
        for one in self._waiting:
            if one.due_s is not None and one.due_s <= now_s:
                one.due_s = None
                due.setdefault(self._brokers[one.record.trigger.spec.broker], []).append(one)
        for broker, ones in due.items():
            self._store(broker, ones)

    def next_wake_s(self) -> float | None:
        """When `wake` will have something to do; None: never."""
        return min((one.due_s for one in self._waiting if one.due_s is not None), default=None)

    def _store(self, broker: Broker, ones: list[_Kept]) -> None:
        def done(answers: Sequence[Published | Refused]) -> None:
            smaller: list[_Kept] = []
            stored: list[_Kept] = []
            for one, answer in zip(ones, answers, strict=True):
                if isinstance(answer, Published):
                    stored.append(one)
                elif isinstance(answer, InputError) and one.cut < SMALLEST:
                    one.cut += 1
                    smaller.append(one)
                else:
                    self._put_off(one, answer)
            if smaller:
                self._store(broker, smaller)
            self._end(stored)
            self._wanted()

        broker.store([message_of(one.letter, one.record, one.cut) for one in ones], done)

    def _put_off(self, one: _Kept, error: Refused) -> None:
        self.fault = str(error)
        if one in self._waiting:
            one.wait_s = min(AGAIN_LIMIT_S, one.wait_s * 2)
        else:
            self._waiting.append(one)
        one.cut = 0
        one.due_s = self._clock() + one.wait_s

    def _end(self, stored: list[_Kept]) -> None:
        if not stored:
            return
        if self._waiting:
            over = set(map(id, stored))
            self._waiting = [one for one in self._waiting if id(one) not in over]
        if not self._waiting:
            self.fault = ""
        self._stored([one.record for one in stored])


def message_of(letter: Letter, record: Record, cut: int = 0) -> Message:
    """The message that a letter is. cut 1: without the headers of its own message; 2: without its payload too."""
    source = record.delivery.message
    text = printable(f"{letter.error.kind}: {letter.error.text}")[: SHORT_ERROR_LIMIT if cut else ERROR_LIMIT]
    ours: Headers = (
        ("farm-reason", letter.reason),
        ("farm-attempt", str(letter.attempts)),
        ("farm-error", text),
        ("farm-component", letter.component),
        ("farm-topic", letter.topic),
        ("farm-at", letter.at),
    )
    if record.delivery.source_id:
        ours = (*ours, ("farm-source", record.delivery.source_id))
    return Message(
        source.id,
        PREFIX + source.subject,
        source.payload if cut < SMALLEST else b"",
        ours if cut else (*source.headers, *ours),
        source.reply_to if not cut else None,
        source.cause,
        source.hops,
    )
