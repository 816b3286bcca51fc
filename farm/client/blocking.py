"""A running farm, from a program that waits: what the CLI is made of, and what Python users import.

    with Farm.connect(rundir.of(Path("farm.toml"))) as farm:
        farm.publish("hello.world", b"Ada")
        with farm.subscribe("good.*", broker="secondary") as heard:
            for word in heard: ..
For one thread. A restart of ingest is noticed by its socket, which is another one then: no process tells a client.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import msgspec

from farm import message, subject
from farm.client.bulk import Bulk, Receipt, Tally, receipt_of
from farm.client.failures import error_of
from farm.client.session import Answer, Ended, Gap, Heard, Live, News, Session, Settled
from farm.errors import NotRunning, PayloadTooLarge, Problem, StillStarting, Unanswered
from farm.rundir import Rundir
from farm.wire import relay
from farm.wire.relay import HeardMessage, Publish, Refusal
from farm.wire.sockets import Dealer, Sockets

ANSWER_S: Final = 5.0
PATIENCE_S: Final = 30.0
CREDIT: Final = 4096  # messages of one subscription that its caller has not had yet
LOOK_S: Final = 0.5  # how often to look for another life of ingest while nothing comes
GONE_S: Final = 3.0  # with nobody at any socket for so long, the farm has ended


class Missed(msgspec.Struct, frozen=True):
    """Here messages are missing from a subscription. count 0: farm restarted, and nobody can say how many, if any."""

    count: int


class Farm:
    """A connection to a running farm."""

    def __init__(self, rundir: Rundir, answer_s: float = ANSWER_S) -> None:
        """As `connect`, without asking whether a farm runs."""
        self._rundir = rundir
        self._answer_s = answer_s
        self._session = Session()
        self._sockets = Sockets()
        self._dealer = self._sockets.dealer(rundir.relay)
        self._life = self._socket_identity()
        self._poll = select.poll()
        self._poll.register(self._dealer.fd, select.POLLIN)
        self._unsent: deque[relay.FromClient] = deque()
        self._subscriptions: dict[int, Subscription] = {}
        self._looked_s = self._seen_s = time.monotonic()

    @classmethod
    def connect(cls, rundir: Rundir, answer_s: float = ANSWER_S) -> Self:
        """Connect to the farm of these directories.

        Args:
          answer_s: how long any one answer may take.
        Raises:
          NotRunning: nobody listens there.
          StillStarting: not yet.
        """
        found = rundir.running()
        if not _anybody(found):
            raise _absence(found)
        return cls(found, answer_s)

    def close(self) -> None:
        """Close the connection; what was sent gets half a second to leave."""
        self._dealer.close()
        self._sockets.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def publish(
        self,
        to: str,
        payload: bytes | bytearray | memoryview | str,
        broker: str | None = None,
        headers: message.Headers | Mapping[str, str] = (),
        key: str | None = None,
    ) -> Receipt:
        """Publish one message and wait until ingest has it.

        Args:
          to: the subject.
          broker: None: the first of the running farm's manifest.
          headers: pairs of name and value, or a dict; those that may not travel are left out, as the gateway does.
          key: an idempotency key: publishing again with it gives the message the same id.
        Raises:
          InvalidSubject, PayloadTooLarge, UnknownBroker: it cannot be published.
          BrokerFull, BrokerUnavailable: not now.
          Unanswered: no answer in time; whether the message was taken is unknown.
          TypeError: the payload is neither bytes nor text, or a header is no text.
          UnicodeEncodeError: a text that is none in UTF-8.
        """
        body = _bytes_of(payload)
        subject.validate(to)
        if len(body) > message.PAYLOAD_LIMIT_BYTES:
            raise PayloadTooLarge(len(body), message.PAYLOAD_LIMIT_BYTES)
        pairs = _pairs_of(headers)
        _check_texts(broker, key, *chain.from_iterable(pairs))
        item = Publish(to, body, broker, pairs, None, key)
        ticket = self._session.publish(item, time.monotonic() + self._answer_s)
        while True:
            for news in self.turn(self._answer_s):
                if isinstance(news, Settled) and news.ticket == ticket:
                    if isinstance(news.outcome, Refusal):
                        raise error_of(news.outcome.code, news.outcome.text)
                    return receipt_of(news.outcome, broker or news.broker)

    def publish_many(
        self,
        items: Iterable[Publish | None],
        patience_s: float = PATIENCE_S,
        wait: bool = True,
        progress: Callable[[Tally], None] | None = None,
    ) -> Tally:
        """Publish many messages, in batches; how it ended.

        Args:
          items: taken one by one, as fast as the farm takes them; None says that there is nothing right now.
          patience_s: give up when nothing was accepted for so long.
          wait: what a full farm refuses, and what a restart of ingest left unanswered, is offered again until patience
            ends; else it counts as refused. What was unanswered may have been taken, and be there twice then: so each
            item without a key is given a random one, and both copies have the same id, `key-<hash>` (without `wait`
            an item without a key has a UUIDv7).
          progress: called now and then, with the tally so far.
        """
        return Bulk(self.turn, self._session, iter(items), wait).run(patience_s, progress)

    def subscribe(self, pattern: str, broker: str | None = None) -> Subscription:
        """Hear what is published from now on; live when this returns.

        Raises:
          InvalidSubject, UnknownBroker: no such subscription is possible.
          Unanswered: no answer in time.
          UnicodeEncodeError: a text that is none in UTF-8.
        """
        _check_texts(pattern, broker)
        number = self._session.listen(pattern, CREDIT, broker)
        found = self._subscriptions[number] = Subscription(self, self._session, number)
        end = time.monotonic() + self._answer_s
        while not found.broker:
            left_s = end - time.monotonic()
            if left_s <= 0:
                found.close()
                raise Unanswered(Problem("the farm gave no answer", why=f"within {self._answer_s:g} s"))
            self.turn(left_s)
            if found.error is not None:
                found.close()
                raise found.error
        return found

    def status(self, timeout_s: float = 1.0) -> dict[str, Any]:
        """`{"brokers": {..}, "components": {..}}`, as `farm status --json` shows them.

        Raises: Unanswered: no answer within `timeout_s`.
        """
        question = self._session.ask()
        end = time.monotonic() + timeout_s
        while (left_s := end - time.monotonic()) > 0:
            for news in self.turn(left_s):
                if isinstance(news, Answer) and news.question == question:
                    return json.loads(news.status)
        raise Unanswered(Problem("the farm gave no answer", why=f"within {timeout_s:g} s"))

    def turn(self, wait_s: float) -> list[News]:
        """Send what may go, wait at most `wait_s` for words, and hand subscriptions their share; the news.

        Raises: NotRunning: the farm has ended.
        """
        self._flush()
        wake_s = self._session.next_wake_s()
        limit_s = wait_s if wake_s is None else min(wait_s, max(0.0, wake_s - time.monotonic()))
        if not self._dealer.readable():
            self._poll.poll(int(min(limit_s, 0.01 if self._unsent else LOOK_S) * 1000 + 0.999))
        news: list[News] = []
        for frames in self._dealer.receive():
            news += self._session.hear(relay.from_ingest(frames))
        now_s = time.monotonic()
        if news:
            self._seen_s = now_s
        elif now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            news += self._look(now_s)
        news += self._session.expire(now_s)
        for one in news:
            if isinstance(one, Live | Ended | Heard | Gap) and one.listener in self._subscriptions:
                self._subscriptions[one.listener].take(one)
        self._flush()
        return news

    def forget(self, listener: int) -> None:
        """A subscription has closed."""
        self._subscriptions.pop(listener, None)
        self._session.unlisten(listener)
        self._flush()

    def _flush(self) -> None:
        self._unsent.extend(self._session.outgoing())
        while self._unsent and self._dealer.send(relay.pack(self._unsent[0])) == "sent":
            self._unsent.popleft()

    def _look(self, now_s: float) -> list[News]:
        life = self._socket_identity()
        if life is not None and life != self._life:
            self._life = life
            return self._reconnect()
        if _anybody(self._rundir):
            self._seen_s = now_s
        elif now_s - self._seen_s > GONE_S:
            raise NotRunning(Problem("the farm has ended"))
        return []

    def _reconnect(self) -> list[News]:
        news: list[News] = []
        for frames in self._dealer.receive(1 << 20):
            news += self._session.hear(relay.from_ingest(frames))
        self._poll.unregister(self._dealer.fd)
        self._dealer.close()
        self._unsent.clear()
        self._dealer: Dealer = self._sockets.dealer(self._rundir.relay)
        self._poll.register(self._dealer.fd, select.POLLIN)
        return news + self._session.reconnect()

    def _socket_identity(self) -> tuple[int, int] | None:
        try:
            found = Path(self._rundir.relay.removeprefix("ipc://")).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_ctime_ns


class Subscription:
    """What is heard on one pattern: iterate over it, or ask for the `next` word."""

    def __init__(self, farm: Farm, session: Session, listener: int) -> None:
        self._farm = farm
        self._session = session
        self._listener = listener
        self._words: deque[HeardMessage | Missed] = deque()
        self.broker = ""
        self.error: Exception | None = None

    def next(self, timeout_s: float) -> HeardMessage | Missed | None:
        """The next word; None when none comes within `timeout_s`.

        Raises: NotRunning: the farm has ended.
        """
        end = time.monotonic() + timeout_s
        while not self._words:
            if self.error is not None:
                raise self.error
            left_s = end - time.monotonic()
            if left_s < 0:
                return None
            self._farm.turn(left_s)
        word = self._words.popleft()
        if isinstance(word, HeardMessage):
            self._session.consumed(self._listener, 1)
        return word

    def __iter__(self) -> Iterator[HeardMessage | Missed]:
        while True:
            word = self.next(3600.0)
            if word is not None:
                yield word

    def take(self, news: Live | Ended | Heard | Gap) -> None:
        """News of this subscription."""
        match news:
            case Live(_, broker):
                self.broker = broker
            case Ended(_, code, text):
                self.error = error_of(code, text)
            case Gap():
                self._words.append(Missed(0))
            case Heard(_, messages, missed):
                if missed:
                    self._words.append(Missed(missed))
                self._words.extend(messages)

    def close(self) -> None:
        """Hear no more."""
        self._farm.forget(self._listener)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _bytes_of(payload: object) -> bytes:
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(cast("bytes", payload))
    raise TypeError(f"a payload is bytes or text, not {type(payload).__name__}; json.dumps makes text of it")


def _pairs_of(headers: message.Headers | Mapping[str, str]) -> message.Headers:
    return tuple(_pair_of(*pair) for pair in (headers.items() if isinstance(headers, Mapping) else headers))


def _pair_of(name: object, value: object) -> tuple[str, str]:
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"a header is two texts, not {name!r}: {value!r}")
    return name.lower(), value


def _check_texts(*texts: str | None) -> None:
    """Sent, one that is none in UTF-8 would hold up for ever whatever is asked for afterwards.

    Raises: UnicodeEncodeError.
    """
    for text in texts:
        if text is not None:
            text.encode()


def _absence(rundir: Rundir) -> NotRunning:
    """Why nobody listens."""
    holder = rundir.holder()
    if holder is None:
        return NotRunning(Problem("no farm is running here", todo="Start one with `farm up`"))
    return StillStarting(
        Problem(
            "the farm here is still starting",
            where=f"pid {holder.pid}",
            why="it builds and compiles its components",
            todo="Try again when `farm status` says that it is ready",
        )
    )


def _anybody(rundir: Rundir) -> bool:
    """Whether the supervisor or ingest listens: while one restarts, the other is there."""
    for path in (str(rundir.admin), rundir.relay.removeprefix("ipc://")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(path)
            except (OSError, ValueError):
                continue  # nobody there, or no path that a socket can have
            return True
    return False
