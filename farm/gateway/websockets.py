"""Fan-out: one listener at ingest for each (broker, pattern), however many WebSockets hear it.

    ingest > Relay > Channel: each message becomes one frame > every Reader's queue > one write of all that is queued
A frame of a server is the same for all its clients (no mask, no compression), so it is made once. A reader that does
not keep up is closed with 4408, and the others notice nothing: its queue has a bound, its write a deadline.
Sanic's `send` is gone round because a stalled client holds a lock in it that `ping` and `close` wait for; that is safe
as long as every write is whole frames.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, Protocol

from websockets.frames import Frame, Opcode
from websockets.protocol import State

from farm import log
from farm.client.aio import Relay
from farm.encodings import SHAPES, Format
from farm.errors import FarmError
from farm.gateway.counts import Counts
from farm.wire.relay import HeardMessage

QUEUE_COUNT_LIMIT: Final = 256
QUEUE_LIMIT_BYTES: Final = 1 << 20
WRITE_S: Final = 5.0
SLICE_COUNT: Final = 128  # messages that a channel hands out before the loop turns: what was written must get away
SLICE_BYTES: Final = 256 << 10

SLOW: Final = (4408, "slow")
GAP: Final = (4409, "gap")
UNSUBSCRIBED: Final = (1011, "unsubscribed")


class Pipe(Protocol):
    """What a Reader needs of its connection."""

    def is_open(self) -> bool:
        """Whether frames may still be written."""
        ...

    def is_writable(self) -> bool:
        """Whether the client takes what is written."""
        ...

    async def writable(self) -> None:
        """Wait until it does."""
        ...

    def write(self, frames: bytes) -> None:
        """Write whole frames."""
        ...

    def fail(self, code: int, reason: str) -> None:
        """Close without waiting for anything: a client that reads on sees the code after what it was sent."""
        ...


class SanicPipe:
    """The connection of one of Sanic's WebSockets."""

    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket
        self._io = websocket.io_proto

    def is_open(self) -> bool:
        """Whether frames may still be written."""
        return self._websocket.ws_proto.state is State.OPEN and self._io.transport is not None

    def is_writable(self) -> bool:
        """Whether the client takes what is written."""
        return self._io._can_write.is_set()

    async def writable(self) -> None:
        """Wait until it does."""
        await self._io._can_write.wait()

    def write(self, frames: bytes) -> None:
        """Write whole frames."""
        self._io.transport.write(frames)

    def fail(self, code: int, reason: str) -> None:
        """Close without waiting for anything."""
        self._websocket.fail_connection(code, reason)


class Reader:
    """One WebSocket that hears a pattern."""

    def __init__(self, pipe: Pipe, counts: Counts, ends_at_gap: bool = False) -> None:
        self.ends_at_gap = ends_at_gap
        self._pipe = pipe
        self._counts = counts
        self._queue: deque[bytes] = deque()
        self._queue_bytes = 0
        self._some = asyncio.Event()
        self._closed = False

    def offer(self, frame: bytes) -> None:
        """Queue a frame; close the reader if it does not keep up."""
        if self._closed:
            return
        if self._is_full(len(frame)) and self._pipe.is_writable():
            self._flush()
        if self._is_full(len(frame)):
            self._counts.slow += 1
            self.close(*SLOW)
            return
        self._queue.append(frame)
        self._queue_bytes += len(frame)
        self._some.set()

    async def run(self) -> None:
        """Write what is queued, until the reader is closed or too slow."""
        while not self._closed:
            await self._some.wait()
            self._some.clear()
            while self._queue and not self._closed:
                if not self._pipe.is_writable() and not await self._writable():
                    self._counts.slow += 1
                    self.close(*SLOW)
                    return
                self._flush()

    def close(self, code: int, reason: str) -> None:
        """Close with a code; what is queued is dropped."""
        if not self._closed:
            self._closed = True
            self._queue.clear()
            self._pipe.fail(code, reason)
            self._some.set()

    def finish(self) -> None:
        """Hand the connection what is queued, as far as it takes it: the listener is going away."""
        if self._pipe.is_writable():
            self._flush()

    def _is_full(self, size: int) -> bool:
        # One is always let in: as json, the largest message is 3.6 times the bound.
        return bool(self._queue) and (
            len(self._queue) >= QUEUE_COUNT_LIMIT or self._queue_bytes + size > QUEUE_LIMIT_BYTES
        )

    def _flush(self) -> None:
        if self._queue and self._pipe.is_open():
            self._pipe.write(b"".join(self._queue))
        self._queue.clear()
        self._queue_bytes = 0

    async def _writable(self) -> bool:
        try:
            await asyncio.wait_for(self._pipe.writable(), WRITE_S)
        except TimeoutError:
            return False
        return True


class Channel:
    """All readers of one pattern on one broker; ingest knows them as one listener."""

    def __init__(self, relay: Relay, place: tuple[str, str], form: Format, counts: Counts) -> None:
        self.broker, self.pattern = place
        self.users = 0
        self._relay = relay
        self._shape = SHAPES[form]
        self._opcode = Opcode.TEXT if self._shape.is_text else Opcode.BINARY
        self._counts = counts
        self._readers: set[Reader] = set()
        self._backlog: deque[HeardMessage] = deque()
        self._due = False
        self.listener = relay.listen(self.pattern, self.broker, self)

    def add(self, reader: Reader) -> None:
        """From now on it hears."""
        self._readers.add(reader)
        self._counts.sockets += 1

    def remove(self, reader: Reader) -> None:
        """It does not any more."""
        self._readers.discard(reader)
        self._counts.sockets -= 1

    def finish(self) -> None:
        """Hand every reader what waits for it, as far as it takes it."""
        for reader in self._readers:
            reader.finish()

    def heard(self, messages: list[HeardMessage], missed: int) -> None:
        """Messages from ingest, in order; `missed` were left out before them."""
        if missed:
            self._counts.missed += missed
            self._tell_gap()
        self._backlog.extend(messages)
        if not self._due:
            self._hand_out()

    def gap(self) -> None:
        """Ingest has begun a new life."""
        self._tell_gap()

    def ended(self, error: FarmError) -> None:
        """A new life of ingest does not know this pattern or broker any more."""
        log.get().warning("a subscription was ended", error=str(error))
        for reader in list(self._readers):
            reader.close(*UNSUBSCRIBED)

    def _hand_out(self) -> None:
        self._due = False
        count, room = 0, SLICE_BYTES
        while self._backlog and count < SLICE_COUNT and room > 0:
            message = self._backlog.popleft()
            count += 1
            room -= len(message.payload)
            data = self._shape.encode(message.payload, message.subject, self.broker, message.reply_to)
            if data is None:
                self._counts.unshown += 1
                continue
            frame = Frame(self._opcode, data).serialize(mask=False)
            for reader in list(self._readers):
                reader.offer(frame)
        self._relay.consumed(self.listener, count)
        if self._backlog:
            self._due = True
            asyncio.get_running_loop().call_soon(self._hand_out)

    def _tell_gap(self) -> None:
        self._counts.gaps += 1
        for reader in list(self._readers):
            if reader.ends_at_gap:
                reader.close(*GAP)


class Hub:
    """The channels of this gateway."""

    def __init__(self, relay: Relay, counts: Counts) -> None:
        self._relay = relay
        self._counts = counts
        self._channels: dict[tuple[str, str], Channel] = {}

    async def enter(self, broker: str, pattern: str, form: Format) -> Channel:
        """The channel of a pattern, live: what is published from now on is heard. Each `enter` needs its `leave`.

        Raises:
          Unanswered: ingest did not answer.
          FarmError: it refused, as the error it names.
        """
        channel = self._channels.get((broker, pattern))
        if channel is None:
            channel = self._channels[broker, pattern] = Channel(self._relay, (broker, pattern), form, self._counts)
        channel.users += 1
        try:
            await self._relay.live(channel.listener)
        except BaseException:
            self.leave(channel)
            raise
        return channel

    def leave(self, channel: Channel) -> None:
        """One user less; the last one takes the listener at ingest with it."""
        channel.users -= 1
        if channel.users == 0:
            del self._channels[channel.broker, channel.pattern]
            self._relay.unlisten(channel.listener)

    def finish(self) -> None:
        """Hand every client what waits for it, as far as it takes it: the gateway is going away."""
        for channel in self._channels.values():
            channel.finish()
