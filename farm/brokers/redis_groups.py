"""The consumer side of streams: what triggers of `redis-streams`, and queues of `redis`, read.

    a trigger's stream   farm:{topic}:stream:NAME, with one group, which all farms of a queue share
    each life            make stream and group if they are not there > our own pending entries > new ones, as granted
                         once a second: entries that nobody has worked on for `claim_after`, if they are still theirs
                         every 5 s: have publishers know of the stream, if they know no more
    in hand              leases, at a third of `claim_after`, in one script with a look at the owner
    settle, release      noted; once per turn of the loop one script for each stream; again until confirmed
One coroutine reads for each trigger, on a connection of its own: the server holds it up for a second at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, cast

from farm import log
from farm.broker import BrokerCounters, Delivery, Home, OnDeliveries, Subscription, grants_of
from farm.brokers.redis_consumer import Consumer
from farm.brokers.redis_entries import message_of
from farm.brokers.redis_life import ENDING, Life, told
from farm.brokers.redis_link import ANSWER_S, Link, LinkFault, ServerFault, Word
from farm.brokers.redis_reading import GroupOptions, Reading
from farm.brokers.redis_scripts import (
    DONE_DIGEST,
    ENSURE_DIGEST,
    FREE_DIGEST,
    GROUP,
    KEEP_DIGEST,
    RELEASED,
    TAKE_DIGEST,
)
from farm.errors import BrokerUnavailable, Problem

BLOCK_MS: Final = 1000
SCAN_S: Final = 1.0
SCAN_LIMIT: Final = 256
CLAIMS_LIMIT: Final = 64  # entries of others that are claimed in a second: no storm after an outage
PART: Final = 256  # entries that one script looks at
TEND_S: Final = 1.0
ENSURE_S: Final = 5.0  # how often to see that publishers know of a stream: no reader notices that they do not
SURE: Final = 2 / 3  # of `claim_after`: that long after the last look a lease cannot have run out
AGAIN_S: Final = 2.0
NOBODY: Final = (b"", RELEASED.encode())
GONE: Final = ("NOGROUP", "UNBLOCKED")

Entry = tuple[bytes, list[bytes], int]  # its id, its words, how often it was delivered


class Groups:
    """All streams of one broker."""

    def __init__(
        self, broker: str, counters: BrokerCounters, options: GroupOptions, hindered: Callable[[str], None]
    ) -> None:
        """
        Args:
          hindered: hears what keeps a trigger from its messages while the server is there; nothing: all may read.
        """
        self.readings: Final[dict[int, Reading]] = {}
        self.topics: Final[set[str]] = set()  # which are read here
        self.unmade: Mapping[str, BrokerUnavailable] = {}  # by topic: its reader could not be made: nothing would keep
        self._consumer: Consumer | None = None
        self._broker: Final = broker
        self._counters: Final = counters
        self._options: Final = options
        self._hindered: Final = hindered
        self._life: Life | None = None
        self._quiet = False
        self._flushing = False
        self._claims: list[float] = [0.0, 0]  # second, and how many were claimed in it

    @property
    def idle(self) -> bool:
        """Whether the server has confirmed all that it was told."""
        return not any(reading.closing for reading in self.readings.values())

    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> Reading:
        """Begin a trigger's subscription."""
        kind, topic = self._options.kind, subscription.topic
        key = f"farm:{{{topic}}}:{kind}:{subscription.durable}"
        self.topics.add(topic)
        members = sum(reading.key == key for reading in self.readings.values())
        reading = self.readings[subscription.trigger] = Reading(subscription, key, members, on_deliveries)
        reading.name_consumer("" if self._consumer is None else self._consumer.name)
        if self._life is not None:
            reading.kept_s = time.monotonic()
            self._life.spawn(self._read(self._life, reading))
        return reading

    def prepare(self, home: Home) -> None:
        """Have a name for our consumers, before the first life. Raises: NotPermitted: it cannot be kept."""
        if self._consumer is None:
            self._consumer = Consumer(home, self._broker)
            for reading in self.readings.values():
                reading.name_consumer(self._consumer.name)

    def close(self) -> None:
        """Let others have that name."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def grant(self, trigger: int, count: int) -> None:
        """Allow more."""
        reading = self.readings[trigger]
        reading.granted += count
        if reading.granted > 0:
            reading.wanted.set()

    def settle(self, deliveries: Iterable[Delivery]) -> None:
        """They are done with."""
        self._close(deliveries, done=True)

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Others may have them."""
        self._close(deliveries, done=False)

    def forget(self, delivery: Delivery) -> None:
        """The server has settled it already."""
        self.readings[delivery.trigger].held.discard(cast("bytes", delivery.token))

    def sure(self) -> set[Reading]:
        """Where nobody can have claimed what we hold: the leases were looked after in time."""
        since_s = time.monotonic() - self._options.claim_after_s * SURE
        return {each for each in self.readings.values() if each.kept_s is not None and each.kept_s > since_s}

    def quiet(self) -> None:
        """Read no more."""
        self._quiet = True

    def begin(self, life: Life) -> None:
        """The server is there."""
        self._life = life
        self.unmade = {}
        for reading in self.readings.values():
            reading.hindrance = ""
            if not reading.held:
                reading.kept_s = time.monotonic()
            life.spawn(self._read(life, reading))
        life.spawn(self._tend(life))

    async def whole(self, life: Life) -> None:
        """Returns once publishers find every group that the server allows. Raises: LinkFault, ServerFault."""
        await self._ensure_each(life, self.readings.values(), self._hinder)

    async def remind(self, life: Life, topic: str = "") -> None:
        """Have publishers know of the streams of a topic, or of all. Raises: LinkFault, ServerFault: it is over."""
        readings = (each for each in self.readings.values() if topic in ("", each.topic))
        await self._ensure_each(life, readings, self._complain)

    def lost(self) -> None:
        """The server is gone. What it has not confirmed it will be told again."""
        self._life = None
        for reading in self.readings.values():
            reading.unsent = list(reading.closing)
            reading.kept_s = None

    async def _ensure(self, life: Life, reading: Reading) -> None:
        """Have the stream, its group, and a note for publishers. Raises: LinkFault, ServerFault."""
        note = f"farm:{{{reading.topic}}}:{self._options.kind}s"
        words = (ENSURE_DIGEST, 2, reading.key, note, reading.name)
        if await life.commands(reading.key).ask("EVALSHA", *words) and reading.known:
            self._counters.gaps += 1
            text = "a stream or its group was gone from the server, perhaps with what was in it, and is made again"
            log.get().warning(text, broker=self._broker, key=reading.key)
        reading.known = True
        if self.unmade:
            self._note_unmade()

    async def _ensure_each(self, life: Life, readings: Iterable[Reading], say: Callable[[Reading, str], None]) -> None:
        """As `_ensure`, of all at once: a message that comes between two would be for the first alone."""
        each = list(readings)
        said = await asyncio.gather(*(self._ensure(life, reading) for reading in each), return_exceptions=True)
        for reading, fault in zip(each, said, strict=True):
            if isinstance(fault, ServerFault) and fault.code not in ENDING:
                say(reading, told(fault))
            elif fault is not None:
                raise fault

    def _close(self, deliveries: Iterable[Delivery], *, done: bool) -> None:
        for delivery in deliveries:
            reading, entry = self.readings[delivery.trigger], cast("bytes", delivery.token)
            reading.held.discard(entry)
            reading.closing[entry] = done
            reading.unsent.append(entry)
        if not self._flushing and self._life is not None:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        life = self._life
        if life is None:
            return
        for reading in self.readings.values():
            unsent, reading.unsent = reading.unsent, []
            for at in range(0, len(unsent), PART):
                part = unsent[at : at + PART]
                done = [entry for entry in part if reading.closing.get(entry) is True]
                free = [entry for entry in part if reading.closing.get(entry) is False]
                if done:
                    self._tell(life, reading, done, (DONE_DIGEST, 1, reading.key))
                if free:
                    xnack = int(life.features.xnack)
                    self._tell(life, reading, free, (FREE_DIGEST, 1, reading.key, reading.consumer, xnack))

    def _tell(self, life: Life, reading: Reading, entries: list[bytes], words: tuple[Word, ...]) -> None:
        def confirmed(reply: object) -> None:
            if isinstance(reply, LinkFault):
                return  # the next life begins with them
            if isinstance(reply, ServerFault):
                if reply.code in ENDING:
                    life.end(life.told(reply))
                    return
                if reply.code not in GONE:
                    self._complain(reading, told(reply))
                    reading.unsent += entries
                    return
            else:
                reading.fault = ""
            for entry in entries:
                reading.closing.pop(entry, None)

        life.commands(reading.key).send(("EVALSHA", *words, *entries), confirmed)

    async def _read(self, life: Life, reading: Reading) -> None:
        """Read for a trigger while the life lasts. Raises: LinkFault."""
        link = await life.open(reading.key)
        while not self._quiet:
            try:
                await self._ensure(life, reading)
                await self._read_own(life, reading)
                await self._read_new(life, reading, link)
            except ServerFault as fault:
                if fault.code in ENDING:
                    raise
                if fault.code not in GONE:
                    self._hinder(reading, told(fault))
                    await asyncio.sleep(AGAIN_S)

    async def _read_own(self, life: Life, reading: Reading) -> None:
        """What is pending and ours by name, but not in hand: of an earlier process, or of a reply that was lost."""
        commands, cursor = life.commands(reading.key), b"-"
        while not self._quiet:
            said = await commands.ask("XPENDING", reading.key, GROUP, cursor, "+", PART, reading.consumer)
            pending = cast("list[tuple[bytes, bytes, int, int]]", said)
            if not pending:
                return
            entries = [entry for entry, *_ in pending if not reading.is_ours(entry)]
            while entries and not self._quiet:
                await reading.wanted.wait()
                count = reading.next_count()
                part, entries = entries[:count], entries[count:]
                await self._take(life, reading, [(entry, reading.consumer.encode()) for entry in part])
            cursor = b"(" + pending[-1][0]

    async def _read_new(self, life: Life, reading: Reading, link: Link) -> None:
        head = ("XREADGROUP", "GROUP", GROUP, reading.consumer, "COUNT")
        tail = ("BLOCK", BLOCK_MS, "STREAMS", reading.key, ">")
        scan_s = 0.0
        while not self._quiet:
            await reading.wanted.wait()
            if (now_s := time.monotonic()) >= scan_s:
                scan_s = now_s + SCAN_S
                await self._claim(life, reading)
            count = reading.next_count()
            if not count:
                continue
            said = await link.ask(*head, count, *tail, patience_s=BLOCK_MS / 1000 + ANSWER_S)
            self._hinder(reading, "")
            for _, entries in cast("list[tuple[bytes, list[tuple[bytes, list[bytes]]]]]", said or []):
                # a group that was made again hands out what is in hand, too: that makes it ours again, and nothing else
                self._hand_over(reading, [(entry, words, 1) for entry, words in entries if not reading.is_ours(entry)])

    async def _claim(self, life: Life, reading: Reading) -> None:
        """Take over what nobody has worked on for long, or has given back."""
        idle_ms = int(self._options.claim_after_s * 1000)
        said = await life.commands(reading.key).ask(
            "XPENDING", reading.key, GROUP, "IDLE", idle_ms, "-", "+", SCAN_LIMIT
        )
        pairs: list[tuple[bytes, bytes]] = []
        count = reading.next_count()
        for entry, owner, *_ in cast("list[tuple[bytes, bytes | None, int, int]]", said):
            if len(pairs) >= count:
                break
            whose = owner or b""
            ours = whose == reading.consumer.encode()
            if ours and reading.is_ours(entry):
                continue
            if ours or whose in NOBODY or self._may_claim():
                pairs.append((entry, whose))
        if pairs:
            await self._take(life, reading, pairs)

    def _may_claim(self) -> bool:
        second = float(int(time.monotonic()))
        if self._claims[0] != second:
            self._claims = [second, 0]
        self._claims[1] += 1
        return self._claims[1] <= CLAIMS_LIMIT

    async def _take(self, life: Life, reading: Reading, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        idle_ms = int(self._options.claim_after_s * 1000)
        words = [word for pair in pairs for word in pair]
        head = (TAKE_DIGEST, 1, reading.key, reading.consumer, idle_ms)
        said = await life.commands(reading.key).ask("EVALSHA", *head, *words)
        entries, gone = cast("tuple[list[Entry], int]", said)
        if gone:
            self._counters.gaps += 1
            text = "entries were deleted or trimmed before they were handled"
            log.get().warning(text, broker=self._broker, key=reading.key, entries=gone)
        self._hand_over(reading, entries)

    def _hand_over(self, reading: Reading, entries: Sequence[Entry]) -> None:
        body, key, trigger, topic = self._options.body, reading.key, reading.trigger, reading.topic
        deliveries, held = list[Delivery](), reading.held
        size_bytes = grants = 0
        for entry, words, count in entries:
            source_id = f"{key}:{entry.decode()}"
            message = message_of(topic, words, body, source_id)
            size_bytes += len(message.payload)
            grants += grants_of(message)
            deliveries.append(Delivery(trigger, message, entry, count, source_id))
            held.add(entry)
        if not deliveries:
            return
        reading.mean_bytes = max(1, size_bytes // len(entries))
        reading.fault = ""
        if self._quiet:
            self.release(deliveries)
            return
        reading.granted -= grants
        if reading.granted <= 0:
            reading.wanted.clear()
        self._counters.received += len(deliveries)
        reading.on_deliveries(deliveries)

    async def _tend(self, life: Life) -> None:
        """Tell again what was not confirmed, extend leases, and have publishers know of all streams."""
        third_s = self._options.claim_after_s / 3
        due_s = ensure_s = 0.0  # what we have had in hand for a whole outage comes first
        while True:
            self._flush()
            if (now_s := time.monotonic()) >= due_s:
                due_s = now_s + third_s
                for reading in list(self.readings.values()):
                    await self._extend(life, reading)
            if now_s >= ensure_s:
                ensure_s = now_s + ENSURE_S
                await self.remind(life)
            await asyncio.sleep(min(TEND_S, third_s))

    async def _extend(self, life: Life, reading: Reading) -> None:
        held, began_s = list(reading.held), time.monotonic()
        for at in range(0, len(held), PART):
            head = (KEEP_DIGEST, 1, reading.key, reading.consumer)
            try:
                said = await life.commands(reading.key).ask("EVALSHA", *head, *held[at : at + PART])
            except ServerFault as fault:
                if fault.code in ENDING:
                    raise
                if fault.code not in GONE:
                    self._complain(reading, told(fault))
                return
            others, gone = cast("tuple[list[bytes], list[bytes]]", said)
            lost = [entry for entry in others if entry in reading.held]
            reading.held.difference_update(lost, gone)  # those were settled, and we did not hear of it
            if lost:
                text = "entries are another consumer's now: they may be handled twice"
                log.get().warning(text, broker=self._broker, key=reading.key, entries=len(lost))
        reading.kept_s = began_s

    def _hinder(self, reading: Reading, why: str) -> None:
        """A trigger that hears nothing is no small matter, and nor is it that it hears again."""
        if reading.hindrance != why:
            reading.hindrance = why
            self._note_unmade()
            deaf = [each for each in self.readings.values() if each.hindrance]
            more = f" (and {len(deaf) - 1} more)" if len(deaf) > 1 else ""
            self._hindered(f"cannot read {deaf[0].key}: {deaf[0].hindrance}{more}" if deaf else "")

    def _note_unmade(self) -> None:
        what = f"broker {self._broker!r} has no place for this subject yet"
        self.unmade = {
            each.topic: BrokerUnavailable(Problem(what, why=each.hindrance))
            for each in self.readings.values()
            if each.hindrance and not each.known
        }

    def _complain(self, reading: Reading, why: str) -> None:
        """Say once what is wrong with a stream, if that does not keep its trigger from reading too."""
        if why not in (reading.fault, reading.hindrance):
            reading.fault = why
            log.get().warning("a stream cannot be used", broker=self._broker, key=reading.key, error=why)
