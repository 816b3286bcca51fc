"""A broker for servers that repeat each line `subject payload-in-hex` to everybody who is connected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from farm_lines_options import LinesSpec

from farm.backoff import Backoff
from farm.broker import Broker, Delivery, Home, Matches, OnDeliveries, OnMessages, PublishDone, Subscription
from farm.brokers.backlog import Backlog
from farm.errors import BrokerUnavailable
from farm.message import Message, new_id
from farm.spec import BrokerSpec
from farm.subject import Matcher, compile_filter

CONNECT_S = 4.0


class LinesBroker(Broker):
    """One `[brokers.NAME]` of type lines."""

    volatile = True  # what waits for a grant waits here, and nowhere else
    weighs = True  # as everybody does who has a `Backlog`

    def __init__(self, spec: BrokerSpec, home: Home) -> None:
        super().__init__(spec.name)
        assert isinstance(spec, LinesSpec)
        self._spec = spec
        self._matches = Matches(self.grammar)
        self._backlog = Backlog(self.counters)
        self._triggers: dict[int, Matcher] = {}
        self._listeners: dict[object, tuple[Matcher, OnMessages]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._life: asyncio.Task[None] | None = None

    async def start(self) -> None:
        tried = asyncio.Event()
        self._life = asyncio.create_task(self._live(tried))
        await tried.wait()

    async def close(self) -> None:
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])
        self._backlog.drop()
        self._became("down")

    def waiting_for(self, trigger: int) -> int:
        return self._backlog.waiting_for(trigger)

    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        self._matches.add(subscription)
        self._backlog.open(subscription.trigger, on_deliveries)
        self._triggers[subscription.trigger] = compile_filter(subscription.topic, self.grammar)

    def grant(self, trigger: int, count: int) -> None:
        self._backlog.grant(trigger, count)

    def listen(self, pattern: str, on_messages: OnMessages) -> Callable[[], None]:
        forget, key = self._matches.listen(pattern), object()
        self._listeners[key] = (compile_filter(pattern, self.grammar), on_messages)

        def end() -> None:
            forget()
            self._listeners.pop(key, None)

        return end

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """The server keeps nothing: there is nobody to tell."""

    def release(self, deliveries: Sequence[Delivery]) -> None:
        self._backlog.release(deliveries)

    def quiet(self) -> None:
        self._triggers.clear()

    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        if self._writer is None:
            done([BrokerUnavailable(f"broker {self.name!r} is down: {self.fault}")] * len(messages))
            return
        self._writer.writelines(f"{each.subject} {each.payload.hex()}\n".encode() for each in messages)
        done([self._matches.of(each.subject) for each in messages])

    async def _live(self, tried: asyncio.Event) -> None:
        """Connect, read until the connection ends, and again, for ever."""
        backoff, where = Backoff(), f"{self._spec.host}:{self._spec.port}"
        while True:
            try:
                async with asyncio.timeout(CONNECT_S):
                    reader, self._writer = await asyncio.open_connection(self._spec.host, self._spec.port)
                self._became("up")
                backoff.reset()
                tried.set()
                await self._read(reader)
                self._became("down", f"{where}: it closed the connection")
                self.counters.gaps += 1  # nobody knows what it said meanwhile
            except (OSError, TimeoutError) as error:
                self._became("down", f"{where}: {error or 'no answer'}")
            finally:
                if self._writer is not None:
                    self._writer.close()
                    self._writer = None
            tried.set()
            await asyncio.sleep(backoff.next_s())

    async def _read(self, reader: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await reader.read(1 << 16):  # all that has come: messages are handed on together
            *lines, rest = (rest + chunk).split(b"\n")
            messages = [message for line in lines if (message := _message(line)) is not None]
            for trigger, matches in self._triggers.items():
                if found := [message for message in messages if matches(message.subject)]:
                    self._backlog.put(trigger, found)
            for matches, on_messages in list(self._listeners.values()):
                if found := [message for message in messages if matches(message.subject)]:
                    on_messages(found)


def _message(line: bytes) -> Message | None:
    subject, _, payload = line.decode(errors="replace").partition(" ")
    try:
        return Message(new_id(), subject, bytes.fromhex(payload))
    except ValueError:
        return None  # no line of this protocol
