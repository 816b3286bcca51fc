"""The calling end of the relay, pure: events in, words and news out; no socket, and the clock is passed in.

    caller  publish listen unlisten consumed ask  >  Session  >  outgoing()              words for ingest
    ingest  hear(word)                            >           >  Settled Live Heard ..   news for the caller
            reconnect()  expire(now_s)
Publishes are packed into batches of what waits when `outgoing` is called: deep when there is much to do, one by one
when there is not, and no delay in either case. A new life of ingest knows nothing of this client: `reconnect`
subscribes again, and says of every unanswered publish that nobody knows what became of it.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Final

import msgspec

from farm.errors import BrokerFull, Problem, WireError
from farm.wire import relay
from farm.wire.relay import Accepted, HeardMessage, Publish, Refusal

WAITING_COUNT_LIMIT: Final = 8192  # publishes that no batch has room for yet
WAITING_LIMIT_BYTES: Final = 32 << 20
ITEM_BYTES: Final = 48  # what an item takes beside its texts, at most

NEVER_SENT: Final = "the farm did not answer in time; the message was not sent"
UNKNOWN_FATE: Final = "the farm did not answer in time; whether it took the message is unknown"
ANOTHER_LIFE: Final = "the farm was restarting; whether it took the message is unknown"


class Settled(msgspec.Struct, frozen=True, gc=False):
    """What became of a publish. broker: the one that is meant when none is named; empty if nobody said."""

    ticket: int
    outcome: Accepted | Refusal
    broker: str = ""


class Live(msgspec.Struct, frozen=True, gc=False):
    """A listener hears from now on what is published to this broker."""

    listener: int
    broker: str


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A listener was refused. code as in `farm.errors`."""

    listener: int
    code: str
    text: str


class Heard(msgspec.Struct, frozen=True, gc=False):
    """Messages for a listener, in order. missed: how many were left out just before them."""

    listener: int
    messages: list[HeardMessage]
    missed: int = 0


class Gap(msgspec.Struct, frozen=True, gc=False):
    """Ingest began a new life: this listener may have missed messages, and nobody can say how many."""

    listener: int


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The answer to a question: JSON."""

    question: int
    status: bytes


News = Settled | Live | Ended | Heard | Gap | Answer


class _Listener:
    """What is known of one listener of ours."""

    __slots__ = ("ahead", "broker", "consumed", "consumed_bytes", "credit", "expected", "live", "pattern")

    def __init__(self, pattern: str, credit: int, broker: str | None) -> None:
        self.pattern = pattern
        self.credit = credit
        self.broker = broker
        self.live = False
        self.begin()

    def begin(self) -> None:
        """With a life of ingest, from nothing."""
        self.expected = 1
        self.consumed = self.consumed_bytes = 0
        self.ahead = relay.Ahead()


class Session:
    """One client's side of the relay."""

    def __init__(self) -> None:
        self._next = 0
        self._control: list[relay.FromClient] = []
        self._waiting: deque[tuple[int, Publish, int]] = deque()
        self._waiting_bytes = 0
        self._open: dict[int, int] = {}  # ticket -> its batch; 0: waiting
        self._batches: dict[int, list[int]] = {}  # unanswered: batch -> the tickets of its items
        self._deadlines: list[tuple[float, int]] = []
        self._listeners: dict[int, _Listener] = {}
        self._questions: set[int] = set()

    @property
    def waiting_count(self) -> int:
        """Publishes that were not sent yet."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """What those take in a batch, at most."""
        return self._waiting_bytes

    @property
    def unsettled_count(self) -> int:
        """Publishes of which nothing is known yet, the waiting ones included."""
        return len(self._open)

    def publish(self, item: Publish, deadline_s: float | None = None) -> int:
        """Have a message published; its ticket, which `Settled` will name.

        Args:
          deadline_s: by the clock of `expire`, when to give up on an answer; None: the caller has its own rule.
        Raises:
          BrokerFull: too much is waiting already.
        """
        size = _size(item)
        if self._waiting and (
            len(self._waiting) >= WAITING_COUNT_LIMIT or self._waiting_bytes + size > WAITING_LIMIT_BYTES
        ):
            raise BrokerFull(Problem("too many publishes are waiting", why=f"{len(self._waiting)} of them"))
        ticket = self._number()
        self._waiting.append((ticket, item, size))
        self._waiting_bytes += size
        self._open[ticket] = 0
        if deadline_s is not None:
            heapq.heappush(self._deadlines, (deadline_s, ticket))
        return ticket

    def listen(self, pattern: str, credit: int, broker: str | None = None) -> int:
        """Hear what is published on subjects that match; the listener's number.

        Args:
          credit: messages that may be on their way to us, told as `consumed` or not.
        """
        number = self._number()
        self._listeners[number] = _Listener(pattern, credit, broker)
        self._control.append(relay.Listen(number, pattern, credit, broker))
        return number

    def unlisten(self, listener: int) -> None:
        """No more; what is still on its way is dropped."""
        if self._listeners.pop(listener, None) is not None:
            self._control.append(relay.Unlisten(listener))

    def consumed(self, listener: int, count: int) -> None:
        """Make room for `count` more messages: the caller is done with as many."""
        known = self._listeners.get(listener)
        if known is None:
            return
        known.consumed += count
        known.consumed_bytes += known.ahead.take(count)
        if known.consumed * 2 >= known.credit or known.consumed_bytes * 2 >= relay.AHEAD_LIMIT_BYTES:
            self._control.append(relay.Grant(listener, known.consumed))
            known.consumed = known.consumed_bytes = 0

    def ask(self) -> int:
        """Ask how brokers and components are; the question's number, which `Answer` will name."""
        number = self._number()
        self._questions.add(number)
        self._control.append(relay.AskStatus(number))
        return number

    def outgoing(self) -> list[relay.FromClient]:
        """The words to send now; they are handed out once."""
        words, self._control = self._control, []
        while self._waiting and len(self._batches) < relay.WINDOW:
            batch = self._pack()
            if batch is not None:
                words.append(batch)
        return words

    def hear(self, word: relay.FromIngest) -> list[News]:
        """Take in what ingest said."""
        match word:
            case relay.Heard():
                return self._heard(word)
            case relay.Published():
                return self._published(word)
            case relay.Listening(listener, broker):
                if (known := self._listeners.get(listener)) is None:
                    return []
                known.live = True
                return [Live(listener, broker)]
            case relay.ListenRefused(listener, code, text):
                return [Ended(listener, code, text)] if self._listeners.pop(listener, None) else []
            case relay.StatusAnswer(question, status):
                if question not in self._questions:
                    return []
                self._questions.remove(question)
                return [Answer(question, status)]
            case relay.Ping():
                return []

    def reconnect(self) -> list[News]:
        """Start over with a new life of ingest, over a new connection."""
        news: list[News] = []
        for batch in list(self._batches):
            news += self._close_batch(batch, ANOTHER_LIFE)
        self._control = [relay.AskStatus(question) for question in sorted(self._questions)]
        for number, known in self._listeners.items():
            if known.live:
                news.append(Gap(number))
            known.live = False
            known.begin()
            self._control.append(relay.Listen(number, known.pattern, known.credit, known.broker))
        return news

    def expire(self, now_s: float) -> list[News]:
        """Give up on the publishes whose deadline has passed."""
        news: list[News] = []
        while self._deadlines and self._deadlines[0][0] <= now_s:
            _, ticket = heapq.heappop(self._deadlines)
            batch = self._open.pop(ticket, None)
            if batch is not None:
                news.append(Settled(ticket, _unanswered(UNKNOWN_FATE if batch else NEVER_SENT)))
        return news

    def next_wake_s(self) -> float | None:
        """When `expire` has something to do, by its clock; None: not before something else happens."""
        while self._deadlines and self._deadlines[0][1] not in self._open:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def check(self) -> None:
        """Assert what must hold between any two events."""
        assert len(self._batches) <= relay.WINDOW
        assert self._waiting_bytes == sum(size for _, _, size in self._waiting)
        sent = {ticket: batch for batch, tickets in self._batches.items() for ticket in tickets}
        assert all(sent.get(ticket, 0) == batch for ticket, batch in self._open.items())
        assert all(known.consumed < known.credit for known in self._listeners.values())

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _pack(self) -> relay.Publishes | None:
        """The next batch; None when all that waited has expired."""
        items: list[Publish] = []
        tickets: list[int] = []
        number = self._number()
        room = relay.BATCH_LIMIT_BYTES
        while self._waiting and len(items) < relay.BATCH_COUNT_LIMIT:
            ticket, item, size = self._waiting[0]
            if items and size > room:
                break
            self._waiting.popleft()
            self._waiting_bytes -= size
            if ticket in self._open:
                self._open[ticket] = number
                tickets.append(ticket)
                items.append(item)
                room -= size
        if not items:
            return None
        self._batches[number] = tickets
        return relay.Publishes(number, items)

    def _published(self, word: relay.Published) -> list[News]:
        tickets = self._batches.get(word.batch)
        if tickets is None:
            return []  # of a life before this one
        news: list[News] = []
        for outcome in (*word.accepted, *word.refused):
            if not 0 <= outcome.item < len(tickets):
                raise WireError(f"an answer for item {outcome.item} of a batch of {len(tickets)}")
            ticket = tickets[outcome.item]
            if self._open.pop(ticket, None) is not None:
                news.append(Settled(ticket, outcome, word.broker))
        return news + self._close_batch(word.batch, "the farm left this message out of its answer")

    def _close_batch(self, batch: int, why: str) -> list[News]:
        tickets = self._batches.pop(batch)
        return [Settled(t, _unanswered(why)) for t in tickets if self._open.pop(t, None) is not None]

    def _heard(self, word: relay.Heard) -> list[News]:
        known = self._listeners.get(word.listener)
        if known is None:
            return []
        missed = max(0, word.first - known.expected)
        known.expected = word.first + len(word.messages)
        if word.messages:
            known.ahead.put(len(word.messages), sum(len(message.payload) for message in word.messages))
        return [Heard(word.listener, word.messages, missed)]


def _unanswered(why: str) -> Refusal:
    return Refusal(0, "unanswered", why, retry=True)


def _size(item: Publish) -> int:
    """Bytes that an item takes in a batch, at most."""
    size = ITEM_BYTES + len(item.payload) + 4 * len(item.subject)
    for name, value in item.headers:
        size += 8 + 4 * (len(name) + len(value))
    return size + 4 * (len(item.reply_to or "") + len(item.key or "") + len(item.broker or ""))
