"""The calling end of the relay on an event loop: the gateway's.

A publish is a future; a listener is an object that is told (`Ears`), not a queue that must be read: what to do with
words that come too fast is its own rule. All that is published in one turn of the loop travels in one batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol, TypeVar

from farm.client.bulk import Receipt, receipt_of
from farm.client.failures import error_of
from farm.client.session import Answer, Ended, Gap, Heard, Live, News, Session, Settled
from farm.errors import FarmError, Problem, Unanswered
from farm.wire import relay
from farm.wire.relay import HeardMessage, Publish, Refusal
from farm.wire.sockets import Dealer, Pump, Sockets

T = TypeVar("T")

ANSWER_S: Final = 5.0
CREDIT: Final = 4096  # messages of one listener that were not `consumed` yet
FULL_S: Final = 0.01  # how long to leave a socket alone whose queue is full


class Ears(Protocol):
    """Who listens."""

    def heard(self, messages: list[HeardMessage], missed: int) -> None:
        """Messages, in order; `missed` were left out just before them."""
        ...

    def gap(self) -> None:
        """Ingest has begun a new life; what was missed cannot be counted."""
        ...

    def ended(self, error: FarmError) -> None:
        """The listener was refused, and is gone."""
        ...


class _Listener:
    """Whom to tell, and whether it is live."""

    def __init__(self, ears: Ears, live: asyncio.Future[None]) -> None:
        self.ears = ears
        self.live = live
        live.add_done_callback(_retrieve)

    def end(self, error: FarmError) -> None:
        if self.live.done():
            self.ears.ended(error)
        else:
            self.live.set_exception(error)


class Relay:
    """This process's connection to ingest. Belongs to the loop that runs when it is made."""

    def __init__(self, sockets: Sockets, address: str) -> None:
        self._sockets = sockets
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._session = Session()
        self._unsent: deque[relay.FromClient] = deque()
        self._publishes: dict[int, asyncio.Future[Settled]] = {}
        self._questions: dict[int, asyncio.Future[bytes]] = {}
        self._listeners: dict[int, _Listener] = {}
        self._due = False
        self._wake: asyncio.TimerHandle | None = None
        self._dealer, self._pump = self._connect()

    async def publish(self, item: Publish) -> Receipt:
        """Publish one message and wait until ingest has it. The caller has checked subject and size.

        Raises:
          BrokerFull, BrokerUnavailable: not now.
          Unanswered: no answer within ANSWER_S; whether it was taken is unknown.
          FarmError: another refusal of ingest's, as the error it names.
        """
        ticket = self._session.publish(item, self._loop.time() + ANSWER_S)
        future: asyncio.Future[Settled] = self._loop.create_future()
        self._publishes[ticket] = future
        self._touch()
        try:
            settled = await future
        finally:
            del self._publishes[ticket]
        if isinstance(settled.outcome, Refusal):
            raise error_of(settled.outcome.code, settled.outcome.text)
        return receipt_of(settled.outcome, item.broker or settled.broker)

    def listen(self, pattern: str, broker: str, ears: Ears) -> int:
        """Have `ears` told what is published; the listener's number. Wait with `live` until it hears."""
        number = self._session.listen(pattern, CREDIT, broker)
        self._listeners[number] = _Listener(ears, self._loop.create_future())
        self._touch()
        return number

    async def live(self, listener: int) -> None:
        """Wait until a listener hears what is published.

        Raises:
          Unanswered: no answer within ANSWER_S.
          FarmError: refused, as the error ingest names.
        """
        await self._answered(self._listeners[listener].live)

    def consumed(self, listener: int, count: int) -> None:
        """`count` of the messages a listener was told are done with: as many more may come."""
        self._session.consumed(listener, count)
        self._touch()

    def unlisten(self, listener: int) -> None:
        """No more."""
        if self._listeners.pop(listener, None) is not None:
            self._session.unlisten(listener)
            self._touch()

    async def status(self) -> bytes:
        """How brokers and components are: JSON.

        Raises: Unanswered: no answer within ANSWER_S.
        """
        question = self._session.ask()
        future = self._questions[question] = self._loop.create_future()
        self._touch()
        try:
            return await self._answered(future)
        finally:
            self._questions.pop(question, None)

    def reconnect(self) -> None:
        """Ingest has begun a new life: connect to it, subscribe again, tell every listener of a possible gap."""
        self._receive(1 << 20)  # what the old life had still answered
        self._close_socket()
        self._unsent.clear()
        self._dealer, self._pump = self._connect()
        self._tell(self._session.reconnect())
        self._touch()

    def close(self) -> None:
        """Close the connection; whoever still waits is told that nobody answers."""
        self._close_socket()
        if self._wake is not None:
            self._wake.cancel()
        error = Unanswered(Problem("the gateway is closing"))
        starting = (one.live for one in self._listeners.values())
        for future in (*self._publishes.values(), *starting, *self._questions.values()):
            if not future.done():
                future.set_exception(error)

    async def _answered(self, future: asyncio.Future[T]) -> T:
        try:
            return await asyncio.wait_for(asyncio.shield(future), ANSWER_S)
        except TimeoutError as error:
            raise Unanswered(Problem("the farm gave no answer", why=f"within {ANSWER_S:g} s")) from error

    def _connect(self) -> tuple[Dealer, Pump]:
        dealer = self._sockets.dealer(self._address)
        return dealer, Pump(dealer, self._loop, self._ready)

    def _close_socket(self) -> None:
        self._pump.close()
        self._dealer.close()

    def _touch(self) -> None:
        """Send at the end of this turn, with all else that this turn brings."""
        if not self._due:
            self._due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._due = False
        self._unsent.extend(self._session.outgoing())
        while self._unsent:
            if self._dealer.send(relay.pack(self._unsent[0])) != "sent":
                self._loop.call_later(FULL_S, self._touch)
                break
            self._unsent.popleft()
        self._pump.touched()
        self._set_alarm()

    def _ready(self) -> bool:
        return self._receive(32)

    def _receive(self, limit: int) -> bool:
        taken = self._dealer.receive(limit)
        for frames in taken:
            self._tell(self._session.hear(relay.from_ingest(frames)))
        if taken:
            self._touch()
        return len(taken) == limit

    def _set_alarm(self) -> None:
        wake_s = self._session.next_wake_s()
        if wake_s is not None and self._wake is None:
            self._wake = self._loop.call_at(wake_s, self._alarm)

    def _alarm(self) -> None:
        self._wake = None
        self._tell(self._session.expire(self._loop.time()))
        self._set_alarm()

    def _tell(self, news: list[News]) -> None:
        for one in news:
            match one:
                case Settled(ticket):
                    _resolve(self._publishes.get(ticket), one)
                case Heard(listener, messages, missed):
                    if (one_listener := self._listeners.get(listener)) is not None:
                        one_listener.ears.heard(messages, missed)
                case _:
                    self._tell_rare(one)

    def _tell_rare(self, one: News) -> None:
        match one:
            case Live(listener, _):
                if (known := self._listeners.get(listener)) is not None:
                    _resolve(known.live, None)
            case Gap(listener):
                if (known := self._listeners.get(listener)) is not None:
                    known.ears.gap()
            case Ended(listener, code, text):
                if (known := self._listeners.get(listener)) is not None:
                    known.end(error_of(code, text))
            case Answer(question, status):
                _resolve(self._questions.get(question), status)
            case _:
                raise AssertionError(one)


def _retrieve(future: asyncio.Future[None]) -> None:
    """Whoever waited may have gone: nobody need hear of the error."""
    if not future.cancelled():
        future.exception()


def _resolve(future: asyncio.Future[T] | None, value: T) -> None:
    if future is not None and not future.done():
        future.set_result(value)
