"""What is published to an MQTT server: QoS 1 until the server confirms it, QoS 0 until it is written.

    publish > waiting > in flight > PUBACK > done        in flight: as many as the server takes unconfirmed
                   +--------+-----> connection gone, or no PUBACK in time: unknown (BrokerUnavailable)
What is unknown is nobody's to send again but the publisher's: paho's own repetition is not used.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from farm.broker import PublishDone, Published, Refused
from farm.brokers.mqtt_link import Link
from farm.brokers.mqtt_messages import Pack
from farm.brokers.mqtt_packets import Ack
from farm.brokers.mqtt_paho import NUMBERS_LIMIT, PACKET_MOST_BYTES
from farm.errors import (
    BrokerFull,
    BrokerUnavailable,
    InputError,
    InvalidSubject,
    NotPermitted,
    PayloadTooLarge,
    Problem,
)
from farm.message import Message

CONFIRM_S: Final = 4.0  # looked at every half second: an answer within 5 s
LEFT_S: Final = 30.0  # after that: a server that has not even then answered for a message is left
WINDOW: Final = 1024  # messages in flight, where the server takes more
CAREFUL_S: Final = 5.0
WINDOW_BYTES: Final = 8 << 20
WAITING_LIMIT: Final = 20_000
WAITING_LIMIT_BYTES: Final = 64 << 20
UNSENT_LIMIT_BYTES: Final = 16 << 20  # of QoS 0, which nobody confirms
FIRST_NUMBER: Final = 0x4000  # paho counts its own packets from 1 (a few for each connection)

_NOBODY, _NO = 0x10, 0x80  # reasons of MQTT 5: nobody has subscribed; 128 and up: no
_NOT_ALLOWED, _BAD_NAME, _TOO_LARGE, _QUOTA, _BAD_PAYLOAD = 0x87, 0x90, 0x95, 0x97, 0x99
_WORDS: Final = {
    _NO: "unspecified error",
    0x83: "implementation specific error",
    _NOT_ALLOWED: "not authorized",
    _BAD_NAME: "topic name invalid",
    0x91: "packet identifier in use",
    _TOO_LARGE: "packet too large",  # no reason of a PUBACK by the standard: mosquitto's, of its message_size_limit
    _QUOTA: "quota exceeded",
    _BAD_PAYLOAD: "payload format invalid",
}


class _Batch:
    """What was published in one call."""

    __slots__ = ("answers", "done", "due_s", "left")

    def __init__(self, count: int, done: PublishDone, due_s: float) -> None:
        self.answers: list[Published | Refused | None] = [None] * count
        self.left = count
        self.done = done
        self.due_s = due_s

    def answer(self, place: int, answer: Published | Refused) -> None:
        """What became of one; the publisher hears of it with the last."""
        if self.answers[place] is None:
            self.answers[place] = answer
            self.left -= 1
            if not self.left:
                self.done([each for each in self.answers if each is not None])


class _Letter:
    """One message on its way. published: the answer, once the server has it."""

    __slots__ = ("batch", "message", "pack", "place", "published")

    def __init__(self, batch: _Batch, place: int, message: Message, published: Published, pack: Pack) -> None:
        self.batch = batch
        self.place = place
        self.message = message
        self.published = published
        self.pack = pack


class Outbox:
    """Of one connection at a time."""

    def __init__(self, name: str, clock: Callable[[], float], of: Callable[[str], Published]) -> None:
        """
        Args:
          of: the answer to a publish to a subject that the server has taken.
        """
        self._name: Final = name
        self._clock: Final = clock
        self._of: Final = of
        self._link: Link | None = None
        self._why = "not connected yet"
        self._window = self._full_window = WINDOW
        self._packet_limit_bytes = PACKET_MOST_BYTES
        self._careful_until_s = 0.0
        self._number = FIRST_NUMBER
        self._flying: dict[int, _Letter] = {}
        self._flying_bytes = 0
        self._waiting: deque[_Letter] = deque()
        self._waiting_bytes = 0
        self._batches: deque[_Batch] = deque()  # by the time they are due
        self._emptied: asyncio.Future[None] | None = None  # somebody waits for that

    async def emptied(self) -> None:
        """Wait until everything is confirmed, or given up."""
        if self._flying or self._waiting:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied

    def connected(
        self, link: Link, window: int, packet_limit_bytes: int = PACKET_MOST_BYTES, *, careful: bool = False
    ) -> None:
        """There is a connection, over which the server takes so many messages unconfirmed.

        Args:
          packet_limit_bytes: what one packet may have; for a larger one the server ends the connection.
          careful: the last ones were cut. A server may do that for one publish (mosquitto 2.0.11 for one that is not
            allowed) and take with it what it has said of the others: so one at a time, until it has lasted a while.
        """
        self._link = link
        self._packet_limit_bytes = packet_limit_bytes
        self._full_window = min(window, WINDOW)
        self._window = 1 if careful else self._full_window
        self._careful_until_s = self._clock() + CAREFUL_S

    def disconnected(self, why: str) -> None:
        """There is none: what was on its way is unknown."""
        self._link, self._why = None, why
        letters = [*self._flying.values(), *self._waiting]
        self._flying.clear()
        self._waiting.clear()
        self._batches.clear()
        self._flying_bytes = self._waiting_bytes = 0
        for letter in letters:
            letter.batch.answer(letter.place, self._unavailable())
        self._look_empty()

    def publish(self, messages: Sequence[Message], done: PublishDone, pack: Pack) -> None:
        """Publish each and wait for the server's word.

        Args:
          pack: makes the packet of a message, with this number.
        """
        if self._link is None:
            done([self._unavailable()] * len(messages))
            return
        batch = _Batch(len(messages), done, self._clock() + CONFIRM_S)
        self._batches.append(batch)
        refused: list[int] = []
        for place, message in enumerate(messages):
            if len(self._waiting) >= WAITING_LIMIT or self._waiting_bytes > WAITING_LIMIT_BYTES:
                refused.append(place)
                continue
            self._waiting.append(_Letter(batch, place, message, self._of(message.subject), pack))
            self._waiting_bytes += len(message.payload)
        self._send()
        for place in refused:
            batch.answer(place, self._full())

    def write(self, messages: Sequence[Message], done: PublishDone, pack: Pack) -> None:
        """Publish each, and wait for nothing."""
        link = self._link
        if link is None:
            done([self._unavailable()] * len(messages))
            return
        answers: list[Published | Refused] = []
        unsent_bytes = link.unsent_bytes
        for message in messages:
            if unsent_bytes > UNSENT_LIMIT_BYTES:
                answers.append(self._full())
                continue
            packet = pack(message, 0)
            if len(packet) > self._packet_limit_bytes:
                answers.append(PayloadTooLarge(len(packet), self._packet_limit_bytes))
                continue
            link.send(packet)
            unsent_bytes += len(packet)
            answers.append(self._of(message.subject))
        done(answers)

    def acked(self, acks: Sequence[Ack]) -> None:
        """The server's word on these."""
        answered: list[tuple[_Letter, Ack]] = []
        for ack in acks:
            letter = self._flying.pop(ack.mid, None)
            if letter is not None:
                self._flying_bytes -= len(letter.message.payload)
                answered.append((letter, ack))
        self._send()
        for letter, ack in answered:
            letter.batch.answer(letter.place, self._answer(letter, ack) if ack.reason else letter.published)
        self._look_empty()

    def look(self) -> None:
        """Give up waiting for what is due; its number stays in use until the server has answered after all. One that
        never does is left.
        """
        now_s = self._clock()
        oldest = next(iter(self._flying.values()), None)
        if oldest is not None and self._link is not None and now_s - oldest.batch.due_s > LEFT_S:
            self._link.drop("it confirms nothing")
        if self._window < self._full_window and now_s > self._careful_until_s:
            self._window = self._full_window
            self._send()
        due: list[_Batch] = []
        while self._batches and (not self._batches[0].left or self._batches[0].due_s <= now_s):
            due.append(self._batches.popleft())
        if not any(batch.left for batch in due):
            return
        kept: deque[_Letter] = deque()
        for letter in self._waiting:
            if letter.batch.due_s <= now_s:
                self._waiting_bytes -= len(letter.message.payload)
            else:
                kept.append(letter)
        self._waiting = kept
        for batch in due:
            for place in range(len(batch.answers)):
                batch.answer(place, self._unavailable(f"no confirmation within {CONFIRM_S:g} s"))

    def _look_empty(self) -> None:
        if self._emptied is not None and not (self._flying or self._waiting or self._emptied.done()):
            self._emptied.set_result(None)

    def _send(self) -> None:
        """Send what the server takes now."""
        link = self._link
        if link is None:
            return
        flying, waiting = self._flying, self._waiting
        limit_bytes, large = self._packet_limit_bytes, list[tuple[_Letter, int]]()
        while waiting and len(flying) < self._window:
            size_bytes = len(waiting[0].message.payload)
            if flying and self._flying_bytes + size_bytes > WINDOW_BYTES:
                break
            letter = waiting.popleft()
            self._waiting_bytes -= size_bytes
            number = self._next_number()
            packet = letter.pack(letter.message, number)
            if len(packet) > limit_bytes:
                large.append((letter, len(packet)))
                continue
            self._flying_bytes += size_bytes
            flying[number] = letter
            link.send(packet)
        for letter, found_bytes in large:
            letter.batch.answer(letter.place, PayloadTooLarge(found_bytes, limit_bytes))

    def _next_number(self) -> int:
        """One that nothing in flight has."""
        while True:
            self._number = self._number + 1 if self._number < NUMBERS_LIMIT else FIRST_NUMBER
            if self._number not in self._flying:
                return self._number

    def _answer(self, letter: _Letter, ack: Ack) -> Published | Refused:
        """What a reason of the server's means. Source: MQTT 5.0, section 3.4.2.1."""
        reason = ack.reason
        if reason == _NOBODY:
            return msgspec.structs.replace(letter.published, receivers=0)
        if reason < _NO:
            return letter.published
        why = ack.text or _WORDS.get(reason, f"reason {reason:#x}")
        problem = Problem(f"the server refuses {letter.message.subject!r}", where=self._name, why=why)
        if reason == _NOT_ALLOWED:
            return NotPermitted(problem)
        if reason == _BAD_NAME:
            return InvalidSubject(problem)
        if reason in (_TOO_LARGE, _BAD_PAYLOAD):
            return InputError(problem)
        return BrokerFull(problem) if reason == _QUOTA else BrokerUnavailable(problem)

    def _unavailable(self, why: str = "") -> BrokerUnavailable:
        return BrokerUnavailable(Problem(f"broker {self._name!r} is down", why=why or self._why))

    def _full(self) -> BrokerFull:
        why = f"{len(self._waiting)} messages, {self._waiting_bytes} bytes wait for the server"
        return BrokerFull(Problem("the broker takes no more", where=self._name, why=why, todo="Try again later"))
