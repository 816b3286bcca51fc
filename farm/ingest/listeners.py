"""Listeners: who hears what is published, live, on the relay.

    broker > channel (one for each broker and pattern)  > listeners > one Heard each and turn of the loop
A listener has credit, in messages, and in bytes that it was sent and has not granted again: a client that reads nothing
has a few MiB waiting for it in ingest, and not whatever its credit may weigh. What is published while it has none is
left out for it and shows as a gap in the numbers: the newest is left out, never the oldest, and nobody else notices. So
is a message of more than 16 MiB for everybody. If nothing follows a gap, a Heard without messages tells of it: with the
next grant, or within 10 s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from farm.broker import Broker
from farm.errors import FarmError, InputError, Problem, UnknownBroker
from farm.ingest.outputs import suggestion
from farm.message import Message
from farm.subject import Matcher, compile_filter, validate_filter
from farm.wire.relay import (
    AHEAD_LIMIT_BYTES,
    LISTENERS_LIMIT,
    Ahead,
    FromIngest,
    Heard,
    HeardMessage,
    Listen,
    Listening,
    ListenRefused,
)

HEARD_LIMIT_BYTES: Final = 256 << 10  # of payload in one word; one larger message alone
CREDIT_LIMIT: Final = 1 << 20
MATCHING_LIMIT: Final = 4096  # subjects whose listeners are remembered

Send = Callable[[bytes, FromIngest], bool]


class _Channel:
    """A pattern on a broker, and what came in this turn."""

    __slots__ = ("end", "heard", "listeners", "matches")

    def __init__(self, matches: Matcher) -> None:
        self.matches = matches
        self.listeners: dict[tuple[bytes, int], _Listener] = {}
        self.heard: list[HeardMessage] = []
        self.end: Callable[[], None] | None = None


class _Listener:
    """credit: messages that may still come unasked; ahead: what has come and was not granted again; next: the number of
    the next message, left-out ones included; told: that which the client takes for the next.
    """

    __slots__ = ("ahead", "credit", "key", "next", "told")

    def __init__(self, key: tuple[str, str], credit: int) -> None:
        self.key = key
        self.credit = credit
        self.next = self.told = 1
        self.ahead = Ahead()


class Listeners:
    """All listeners of all clients."""

    def __init__(self, brokers: Mapping[str, Broker], send: Send, wanted: Callable[[], None]) -> None:
        """
        Args:
          send: says a word to a client; False when it was not taken.
          wanted: called when something was heard: ask for a turn, in which `flush` is called.
        """
        self._brokers = brokers
        self._first = next(iter(brokers), "")
        self._send = send
        self._wanted = wanted
        self._channels: dict[tuple[str, str], _Channel] = {}
        self._clients: dict[bytes, dict[int, _Listener]] = {}
        self._noisy: set[tuple[str, str]] = set()
        self._matching: dict[tuple[str, str], int] = {}
        self.left_out = 0
        self.generation = 0  # another one whenever the patterns may be others

    def listen(self, client: bytes, word: Listen) -> None:
        """Begin, and say so; or say why not."""
        name = word.broker or self._first
        try:
            self._begin(client, word, name)
        except FarmError as error:
            self._send(client, ListenRefused(word.listener, error.code, str(error)))
        else:
            self._send(client, Listening(word.listener, name))

    def grant(self, client: bytes, listener: int, count: int) -> None:
        """Let more messages come. One that has ended meanwhile is no fault of the client."""
        if one := self._clients.get(client, {}).get(listener):
            one.credit = min(CREDIT_LIMIT, one.credit + max(0, count))
            one.ahead.take(max(0, count))
            self._tell_gap(client, listener, one)

    def unlisten(self, client: bytes, listener: int) -> None:
        """No more."""
        one = self._clients.get(client, {}).pop(listener, None)
        if one is None:
            return
        self._changed()
        channel = self._channels[one.key]
        del channel.listeners[client, listener]
        if not channel.listeners:
            assert channel.end is not None
            channel.end()
            del self._channels[one.key]

    def forget(self, client: bytes) -> None:
        """A client has gone."""
        for listener in list(self._clients.get(client, ())):
            self.unlisten(client, listener)
        self._clients.pop(client, None)

    def patterns(self, broker: str) -> list[str]:
        """What listeners want of a broker."""
        return [pattern for name, pattern in self._channels if name == broker]

    def matching(self, broker: str, subject: str) -> int:
        """How many listeners hear a subject of a broker."""
        key = (broker, subject)
        count = self._matching.get(key)
        if count is None:
            if len(self._matching) >= MATCHING_LIMIT:
                self._matching.clear()
            channels = (channel for (name, _), channel in self._channels.items() if name == broker)
            count = sum(len(channel.listeners) for channel in channels if channel.matches(subject))
            self._matching[key] = count
        return count

    def flush(self) -> None:
        """Send what was heard since."""
        noisy, self._noisy = self._noisy, set()
        for key in noisy:
            channel = self._channels.get(key)
            if channel is None:
                continue
            heard, channel.heard = channel.heard, []
            for (client, number), one in list(channel.listeners.items()):
                self._tell(client, number, one, heard)

    def tell_gaps(self) -> None:
        """Tell every listener that was left something out, and has heard nothing since."""
        for client, mine in list(self._clients.items()):
            for number, one in list(mine.items()):
                self._tell_gap(client, number, one)

    def _tell_gap(self, client: bytes, number: int, one: _Listener) -> None:
        if one.told != one.next and self._send(client, Heard(number, one.next, [])):
            one.told = one.next

    def _changed(self) -> None:
        self._matching.clear()
        self.generation += 1

    def _begin(self, client: bytes, word: Listen, name: str) -> None:
        broker = self._brokers.get(name)
        if broker is None:
            raise UnknownBroker(suggestion(name, self._brokers))
        mine = self._clients.setdefault(client, {})
        if word.listener in mine or len(mine) >= LISTENERS_LIMIT:
            raise InputError(Problem("cannot listen", why=f"{len(mine)} listeners, or this number is taken"))
        validate_filter(word.pattern, broker.grammar)
        key = (name, word.pattern)
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel(compile_filter(word.pattern, broker.grammar))
            channel.end = broker.listen(word.pattern, self._note_for(key, channel))
        self._changed()
        credit = min(CREDIT_LIMIT, max(0, word.credit))
        mine[word.listener] = channel.listeners[client, word.listener] = _Listener(key, credit)

    def _note_for(self, key: tuple[str, str], channel: _Channel) -> Callable[[list[Message]], None]:
        def note(messages: list[Message]) -> None:
            channel.heard += [HeardMessage(m.id, m.subject, m.payload, m.headers, m.reply_to) for m in messages]
            self._noisy.add(key)
            self._wanted()

        return note

    def _tell(self, client: bytes, number: int, one: _Listener, heard: list[HeardMessage]) -> None:
        first = one.next
        one.next += len(heard)
        told = 0
        for start, end, size_bytes in _portions(heard[: one.credit]):
            if size_bytes > AHEAD_LIMIT_BYTES:
                continue
            full = one.ahead.size_bytes + size_bytes > AHEAD_LIMIT_BYTES
            if full or not self._send(client, Heard(number, first + start, heard[start:end])):
                break
            one.ahead.put(end - start, size_bytes)
            told += end - start
            one.told = first + end
        one.credit -= told  # the others will not come: nobody will grant them again
        self.left_out += len(heard) - told


def _portions(heard: list[HeardMessage]) -> list[tuple[int, int, int]]:
    """Where to cut so that no word is too large, and the payload of each in bytes."""
    cuts: list[tuple[int, int, int]] = []
    start = size = 0
    for place, message in enumerate(heard):
        if place > start and size + len(message.payload) > HEARD_LIMIT_BYTES:
            cuts.append((start, place, size))
            start, size = place, 0
        size += len(message.payload)
    if heard:
        cuts.append((start, len(heard), size))
    return cuts
