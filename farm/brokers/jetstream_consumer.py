"""One trigger's durable consumer: what was asked for, what came, what is held, what is settled and not confirmed.

    granted > pulls > deliveries > held > settled: +ACK > confirmed: gone
                                        > released: -NAK
The next pull goes out while the one before is still being filled. A delivery is known by its sequence in the stream,
however often it comes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from farm.broker import Delivery, OnDeliveries, Subscription
from farm.brokers.headers import from_headers
from farm.brokers.jetstream_api import NEXT, Stream
from farm.brokers.jetstream_publishes import REPLY_TO
from farm.brokers.jetstream_pulls import BEAT, Pulls
from farm.brokers.nats_connection import NatsConnection
from farm.brokers.nats_protocol import ACK_PREFIX, Raw, decode_headers, encode_word, status_of
from farm.message import Message
from farm.subject import compile_filter

HELD_LIMIT_BYTES: Final = 64 << 20
SETTLE_AGAIN_S: Final = 2.0
ACK: Final = b"+ACK"
NAK: Final = b"-NAK"
PROGRESS: Final = b"+WPI"
SHORT_ACK: Final = 9  # tokens, of servers without domains
_REPLY_TO: Final = REPLY_TO.encode()

NOBODY: Final = 503


class _Held(msgspec.Struct, eq=False, gc=False):
    """A delivery's place at the server.

    stored: when the message was stored, as the server writes it; ack: the subject of the newest delivery, which
    settles those before; sent_s: when the server was told last that it is settled.
    """

    seq: int
    stored: bytes
    ack: bytes
    size_bytes: int
    sent_s: float = 0.0


class Consumer:
    """Of one trigger.

    Args:
      wanted: asks for a turn, in which `turn` is called.
      lost: the consumer is no longer at the server: `place` is to follow.
    """

    def __init__(
        self,
        connection: NatsConnection,
        subscription: Subscription,
        on_deliveries: OnDeliveries,
        wanted: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self.subscription: Final = subscription
        self.granted = 0  # what may still be handed over
        self.placed = False
        self.last = 0  # the highest sequence that came
        self.received = 0  # deliveries that came, since it was asked last
        self.confirmed = 0  # acknowledgements that were confirmed, likewise
        self._connection: Final = connection
        self._on_deliveries: Final = on_deliveries
        self._wanted: Final = wanted
        self._lost: Final = lost
        self._stream: Stream | None = None
        self._next_subject = ""
        self._source = ""
        self._held: dict[int, _Held] = {}
        self._held_bytes = 0
        self._settled: dict[int, _Held] = {}
        self._released: Final[set[int]] = set()  # of a consumer that is ours alone: they come again
        self._floor = 0  # what is below it and not held was settled
        self._fresh: list[Delivery] = []
        self._waiting: Final[deque[Delivery]] = deque()  # more than was granted came
        self._early: dict[int, Raw] = {}  # came while it is not placed: it will be known of which stream they are
        self._pulls: Final = Pulls()
        self._quiet = False
        topic = subscription.topic
        wild = topic[0] in "*>"  # then what is reserved may be among it
        self._matches: Final = compile_filter(topic, "nats") if wild else None
        self._inbox: Final = connection.new_inbox()
        self._cut: Final = len(self._inbox) + 1
        acks = connection.new_inbox()
        self._acks: Final = f"{acks}.".encode()
        self._sid = connection.subscribe(f"{self._inbox}.*", self._heard)
        connection.subscribe(f"{acks}.*", self._confirmed)

    @property
    def open(self) -> int:
        """How many settled deliveries the server has not confirmed."""
        return len(self._settled)

    @property
    def start(self) -> int:
        """The sequence from which on a consumer made anew must deliver; 0: nothing has come yet."""
        return min([*self._held, *self._released, *self._early], default=self.last + 1 if self.last else 0)

    def place(self, stream: Stream, start: int = 0) -> None:
        """It is at the server, on this stream. What was held of another stream is nobody's any more.

        Args:
          start: the sequence that it was made anew with. A server may remember an older one of that name, and deliver
            what was settled: of a consumer that is ours alone we know better.
        """
        if not self.is_on(stream):
            self._refuse_early()
            self._held, self._settled, self._floor = {}, {}, 0
            self._held_bytes = 0
            self._released.clear()
            self._waiting.clear()
            self.last = 0
        if start and not self.subscription.group:
            self._floor = start
        self._stream = stream
        self._source = f"{stream.token}:{stream.name}:"
        self._next_subject = f"{NEXT}.{stream.name}.{self.subscription.durable}"
        self.placed = True
        self._pulls.forget()
        early, self._early = self._early, {}
        for raw in early.values():
            self._take(raw)
        self._settle_again(time.monotonic() + SETTLE_AGAIN_S)
        self.keep()
        self._wanted()

    def lose(self) -> None:
        """The connection is gone, and what was asked for with it; leases go on until they end."""
        self.placed = False
        self._pulls.forget()

    @property
    def was_on(self) -> Stream | None:
        """The stream that it was placed on last."""
        return self._stream

    def is_on(self, stream: Stream) -> bool:
        """Whether it was placed on this stream, and not on another of its name."""
        return self._stream is not None and self._stream.created == stream.created

    def grant(self, count: int) -> None:
        """Allow this many more."""
        self.granted += count
        self._wanted()

    def turn(self) -> None:
        """Hand over what came, within grants, and ask for more."""
        while self._waiting and self.granted > 0:
            self.granted -= 1
            self._fresh.append(self._waiting.popleft())
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            self._on_deliveries(fresh)
        if self.placed and not self._quiet and self._held_bytes <= HELD_LIMIT_BYTES:
            for number, wish in self._pulls.wishes(self.granted, time.monotonic()):
                self._connection.publish(self._next_subject, wish, f"{self._inbox}.{number}")

    def settle(self, deliveries: Iterable[Delivery], now_s: float) -> None:
        """Have the server forget these."""
        in_hand, settled, newly = self._held, self._settled, list[_Held]()
        for delivery in deliveries:
            held = delivery.token
            assert isinstance(held, _Held)
            if in_hand.get(held.seq) is held:
                self._drop(held)
                settled[held.seq] = held
                newly.append(held)
        if newly:
            self._acknowledge(newly, now_s)

    def release(self, delivery: Delivery) -> None:
        """Have the server give it to somebody, at once."""
        held = delivery.token
        assert isinstance(held, _Held)
        if self._held.get(held.seq) is not held:
            return
        self._drop(held)
        if not self.subscription.group:
            self._released.add(held.seq)
        if self.placed:
            self._say((held.ack,), NAK)

    def keep(self) -> None:
        """Extend the lease of all that is held."""
        if self.placed:
            self._say([held.ack for held in self._held.values()], PROGRESS)

    def tick(self, now_s: float) -> None:
        """Settle again what has no answer, and forget pulls that nothing was heard of."""
        if not self.placed:
            return
        self._settle_again(now_s)
        if self._pulls.expire(now_s):
            self._wanted()

    def quiet(self) -> None:
        """Take nothing more. What is on its way is given back."""
        if not self._quiet:
            self._quiet = True
            self._connection.drain(self._sid)
            self._pulls.forget()
            self._refuse_early()
            waiting = list(self._waiting)
            self._waiting.clear()
            for delivery in waiting:
                self.release(delivery)

    def give_back(self) -> None:
        """The farm ends: nothing that is held will be settled here."""
        if self.placed:
            self._say([held.ack for held in self._held.values()], NAK)
        self._held.clear()
        self._held_bytes = 0
        self._fresh.clear()

    def _refuse_early(self) -> None:
        self._say([ack for _, ack, _, _ in self._early.values()], NAK)
        self._early.clear()

    def _drop(self, held: _Held) -> None:
        del self._held[held.seq]
        self._held_bytes -= held.size_bytes

    def _heard(self, raws: list[Raw]) -> None:
        """Deliveries, or what became of a pull."""
        came = 0
        self._pulls.heard(time.monotonic())
        for raw in raws:
            if raw[1].startswith(ACK_PREFIX):
                came += 1
                self._take(raw)
            else:
                self._pulls.filled(came)
                self.received += came
                came = 0
                self._hear_of_pull(raw)
        self._pulls.filled(came)
        self.received += came
        self._wanted()

    def _take(self, raw: Raw) -> None:
        subject, ack, head, payload = raw
        tokens = ack.split(b".")
        place = 4 if len(tokens) == SHORT_ACK else 6
        try:
            deliveries, seq, stored = int(tokens[place]), int(tokens[place + 1]), tokens[place + 3]
        except (IndexError, ValueError):
            return  # no place of a consumer's: nobody could settle it
        if self._quiet:
            self._say((ack,), NAK)
            return
        if not self.placed:  # given back it would come at once, on a pull that is open, and again and again
            self._early[seq] = raw
            return
        if seq > self.last:
            self.last = seq
        else:  # it may have come before
            known = self._held.get(seq) or self._settled.get(seq)
            if known is not None:
                self._take_again(known, stored, ack)
                return
            self._released.discard(seq)
        text = subject.decode(errors="replace")
        if seq < self._floor or (self._matches is not None and not self._matches(text)):
            self._say((ack,), ACK)
            return
        size_bytes = len(head) + len(payload)
        held = self._held[seq] = _Held(seq, stored, ack, size_bytes)
        self._held_bytes += size_bytes
        source_id = f"{self._source}{seq}"
        message = message_of(text, head, payload, source_id)
        delivery = Delivery(self.subscription.trigger, message, held, deliveries, source_id)
        if self.granted > 0:
            self.granted -= 1
            self._fresh.append(delivery)
        else:
            self._waiting.append(delivery)

    def _take_again(self, known: _Held, stored: bytes, ack: bytes) -> None:
        """The server has not heard in time that we hold this, or that it is settled."""
        if known.stored != stored:  # another stream has got the name of ours
            self._say((ack,), NAK)
            self._is_gone()
            return
        known.ack = ack
        if known.seq in self._settled:
            self._acknowledge([known], time.monotonic())

    def _hear_of_pull(self, raw: Raw) -> None:
        """One waits, or has ended; or nothing is to be had of the consumer, which must be looked at."""
        code, text = status_of(raw[2])
        if code == BEAT:
            return
        if self._pulls.is_end(code, text):
            self._pulls.ended(raw[0][self._cut :].decode(errors="replace"), raw[2], text)
        elif self.placed:  # else it has been heard: all pulls of that time are refused
            self._pulls.refused(text)
            self._is_gone()

    def _is_gone(self) -> None:
        if self.placed:
            self.placed = False
            self._pulls.forget()
            self._lost()

    def _acknowledge(self, settled: list[_Held], now_s: float) -> None:
        """Tell the server that these are settled."""
        acks, lines = self._acks, list[bytes]()
        for held in settled:
            held.sent_s = now_s
            lines.append(encode_word(held.ack, ACK, b"%b%d" % (acks, held.seq)))
        self._connection.publish_all(lines, len(lines) * len(ACK))

    def _say(self, to: Sequence[bytes], word: bytes) -> None:
        self._connection.publish_all([encode_word(ack, word) for ack in to], len(to) * len(word))

    def _settle_again(self, now_s: float) -> None:
        late = [held for held in self._settled.values() if now_s - held.sent_s >= SETTLE_AGAIN_S]
        if late:
            self._acknowledge(late, now_s)

    def _confirmed(self, raws: list[Raw]) -> None:
        """The server has forgotten these, or never heard of them: either way they are no longer ours. What nobody has
        taken (the consumer is gone, or its leader is being chosen) is settled again once it is placed.
        """
        cut, settled = len(self._acks), self._settled
        for raw in raws:
            if raw[2] and status_of(raw[2])[0] == NOBODY:
                self._is_gone()
                continue
            try:
                settled.pop(int(raw[0][cut:]), None)
            except ValueError:
                continue  # another's
            self.confirmed += 1
        if not settled:
            self._wanted()


def message_of(subject: str, head: bytes, payload: bytes, source_id: str) -> Message:
    """Never raises: whatever it is, it was delivered."""
    if not head:
        return Message(source_id, subject, payload)
    pairs = decode_headers(head)
    reply_to = None
    if _REPLY_TO in head.lower():
        reply_to = next((value for name, value in pairs if name.lower() == REPLY_TO), None)
    envelope = from_headers(pairs, source_id)
    return Message(envelope.id, subject, payload, envelope.headers, reply_to, envelope.cause, envelope.hops)
