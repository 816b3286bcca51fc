"""Redis Streams as a broker: at least once, as durable as the Redis is.

    publish > RUN > farm:{subject}:stream:NAME     of each topic and queue that any farm has on this subject
                    farm:{subject}:live            a channel, where somebody listens
                    subject                        the stream of that key, where other programs read it
    commit  > RUN > the same, and XACK and XDEL of the source, in one step
A stream is never trimmed: that would delete what nobody has handled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from farm import log
from farm.broker import (
    Broker,
    Commit,
    CommitDone,
    Delivery,
    Home,
    Matches,
    OnDeliveries,
    OnMessages,
    PublishDone,
    Published,
    Refused,
    Subscription,
)
from farm.brokers.options.redis import RedisStreamsSpec
from farm.brokers.redis_connection import Connection
from farm.brokers.redis_entries import SUBJECT, count_of, message_of, unpacked, words_of
from farm.brokers.redis_groups import Groups
from farm.brokers.redis_inlets import Inlets
from farm.brokers.redis_life import Life
from farm.brokers.redis_publisher import Answer, Part, Publisher, set_apart
from farm.brokers.redis_reading import GroupOptions
from farm.brokers.redis_scripts import RUN_DIGEST
from farm.brokers.redis_subscriber import Heard, Subscriber
from farm.message import Message
from farm.spec import BrokerSpec

LETTERS: Final = "farm:dlq"
MUTE: Final = 2  # the script's answer where listeners could not be told
UNSETTLED: Final = 3  # and where all outputs are there, and their source could not be settled
NOWHERE: Final = ("", "")  # the source of what a client publishes


class RedisStreamsBroker(Broker):
    """One `[brokers.NAME]` of type redis-streams."""

    weighs = True
    commits = True
    counts = True

    def __init__(self, spec: BrokerSpec, home: Home) -> None:
        super().__init__(spec.name)
        assert isinstance(spec, RedisStreamsSpec)
        self.grammar = spec.grammar
        self.confirms = spec.abilities.confirms
        self._home: Final = home
        self._body: Final = spec.body_field.encode()
        self._matches: Final = Matches(self.grammar)
        self._connection: Final = Connection(spec, home, self, self._became)
        self._publisher: Final = Publisher(spec.name, self._connection, RUN_DIGEST)
        options = GroupOptions("stream", self._body, spec.claim_after_s)
        self._groups: Final = Groups(
            spec.name, self.counters, options, lambda why: self._connection.hinder("streams", why)
        )
        self._inlets: Final = Inlets(spec.name, self._ensure)
        self._subscriber: Final = Subscriber(self._refused)
        self._hears = False
        self._mute = False  # which was said in this life
        self._listeners: Final[dict[str, dict[object, OnMessages]]] = {}

    async def start(self) -> None:
        """Try once to reach the server, and go on behind."""
        await self._connection.start()

    async def close(self) -> None:
        """Flush for 2 s at most, then leave nothing."""
        await self._connection.finish(lambda: self._groups.idle and self._publisher.idle)
        self._groups.close()

    def prepare(self) -> None:
        """Have a name for our consumers. Raises: NotPermitted: it cannot be kept."""
        self._groups.prepare(self._home)

    async def begin(self, life: Life) -> None:
        """The servers are there."""
        self.dedups = life.features.idmp
        self._mute = False
        self._groups.begin(life)
        self._inlets.begin(life)
        self._subscriber.begin(life)
        await self._groups.whole(life)
        await self._subscriber.whole()
        self._hears = True

    def lost(self) -> None:
        """The connection is over."""
        self._publisher.lost()
        self._groups.lost()
        self._inlets.lost()
        if self._hears and self._listeners:
            self.counters.gaps += 1  # listeners hear what is published while they are connected, and nothing else
        self._hears = False
        self._subscriber.lost()

    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        """Begin a trigger's subscription."""
        self._matches.add(subscription)
        self._groups.deliver(subscription, on_deliveries)
        self._inlets.add(subscription.topic)

    def grant(self, trigger: int, count: int) -> None:
        """Allow `count` more."""
        self._groups.grant(trigger, count)

    def listen(self, pattern: str, on_messages: OnMessages) -> Callable[[], None]:
        """Begin a live subscription to a subject; the function that ends it."""
        forget, key = self._matches.listen(pattern), object()
        channel = f"farm:{{{pattern}}}:live"
        listeners = self._listeners.setdefault(pattern, {})
        if not listeners:
            self._subscriber.add(channel, lambda heard: self._heard(pattern, heard))
        listeners[key] = on_messages

        def end() -> None:
            forget()
            if listeners.pop(key, None) is not None and not listeners:
                self._listeners.pop(pattern, None)
                self._subscriber.remove(channel)

        return end

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """They are acknowledged and deleted, again until the server confirms it."""
        self._groups.settle(deliveries)

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Any farm of the group may have them at once."""
        self._groups.release(deliveries)

    def quiet(self) -> None:
        """Read no more."""
        self._groups.quiet()

    def store(self, messages: Sequence[Message], done: PublishDone) -> None:
        """Add dead letters to `farm:dlq`."""
        life = self._connection.life
        if life is None or not messages:
            done([self._publisher.away() for _ in messages])
            return
        answers: list[Published | Refused] = []

        def answered(reply: object) -> None:
            answers.append(Published(0, 0) if isinstance(reply, bytes) else self._publisher.why(life, reply))
            if len(answers) == len(messages):
                done(answers)

        for message in messages:
            words = (SUBJECT, message.subject, *words_of(message, self._body))
            life.commands(LETTERS).send(("XADD", LETTERS, "*", *words), answered)

    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        life = self._connection.life
        if life is None:
            done([self._publisher.away()] * len(messages))
            return
        if unmade := self._groups.unmade:
            messages, done = set_apart(messages, lambda each: unmade.get(each.subject), done)
            if not messages:
                done([])
                return

        def answered(answers: list[Answer]) -> None:
            self._note_mute(answers)
            of = self._matches.of
            pairs = zip(messages, answers, strict=True)
            done([of(message.subject) if isinstance(answer, int) else answer for message, answer in pairs])

        ask = self._publisher.begin(len(messages), answered)
        for message in messages:
            part = self._publisher.part(life, ask, message.subject, message.size_bytes)
            self._note(part, NOWHERE)
            part.words += ("", 1)
            self._put(part, message)

    def _commit(self, commits: Sequence[Commit], done: CommitDone) -> None:
        life = self._connection.life
        if life is None or not commits:
            done([self._publisher.away() for _ in commits])
            return
        if unmade := self._groups.unmade:
            commits, done = set_apart(
                commits, lambda each: next((unmade[o.subject] for o in each.outputs if o.subject in unmade), None), done
            )
            if not commits:
                done([])
                return
        if life.cluster:
            self._commit_apart(commits, done)
            return

        def answered(answers: list[Answer]) -> None:
            self._note_mute(answers)
            taken = 0
            for commit, answer in zip(commits, answers, strict=True):
                if isinstance(answer, int):
                    if answer == UNSETTLED:
                        self._groups.settle([commit.delivery])
                    else:
                        self._groups.forget(commit.delivery)
                    taken += not answer
                    self._count_unmatched(commit)
            if taken:
                text = "entries had become another consumer's: their outputs are left to it"
                log.get().warning(text, broker=self.name, entries=taken)
            done([None if isinstance(answer, int) else answer for answer in answers])

        ask = self._publisher.begin(len(commits), answered)
        sure_of = self._groups.sure()
        for commit in commits:
            delivery, outputs = commit.delivery, commit.outputs
            reading = self._groups.readings[delivery.trigger]
            entry = cast("bytes", delivery.token)
            size_bytes = outputs[0].size_bytes if len(outputs) == 1 else sum(each.size_bytes for each in outputs)
            part = self._publisher.part(life, ask, reading.topic, size_bytes)
            is_sure = reading in sure_of and entry in reading.held
            self._note(part, (reading.key, "" if is_sure else reading.consumer))
            part.words += (entry, len(outputs))
            for output in outputs:
                self._put(part, output)

    def _commit_apart(self, commits: Sequence[Commit], done: CommitDone) -> None:
        """First the outputs, then the sources: their keys have no slot in common."""
        outputs = [output for commit in commits for output in commit.outputs]

        def published(answers: Sequence[Published | Refused]) -> None:
            following = iter(answers)
            results: list[Refused | None] = []
            for commit in commits:
                told = [next(following) for _ in commit.outputs]
                results.append(next((each for each in told if not isinstance(each, Published)), None))
            good = [commit for commit, result in zip(commits, results, strict=True) if result is None]
            for commit in good:
                self._count_unmatched(commit)
            self._groups.settle([commit.delivery for commit in good])
            done(results)

        if outputs:
            self._publish(outputs, published)
        else:
            published([])

    def _note_mute(self, answers: list[Answer]) -> None:
        if not self._mute and MUTE in answers:
            self._mute = True
            log.get().warning("listeners hear nothing", broker=self.name, error="this user may not publish to them")

    def _count_unmatched(self, commit: Commit) -> None:
        for output in commit.outputs:
            found = self._matches.of(output.subject)
            self.counters.unmatched += not (found.triggers or found.listeners)

    def _note(self, part: Part, source: tuple[str, str]) -> None:
        """One more entry of a part, of this source: under the source's heading, which counts what stands beneath.

        Args:
          source: the stream, and the consumer that is to be its owner yet; each may be empty.
        """
        words = part.words
        if not words:
            words += (int(part.life.cluster), int(part.life.features.idmp))
        if part.source != source:
            part.source = source
            part.heading = len(words) + 2
            words += (*source, 0)
        words[part.heading] = cast("int", words[part.heading]) + 1

    def _put(self, part: Part, message: Message) -> None:
        words = words_of(message, self._body)
        dedup, needed = message.dedup if part.life.features.idmp else "", message.subject in self._groups.topics
        part.words += (message.subject, dedup, count_of(words, needed=needed))
        part.words += words

    def _heard(self, subject: str, heard: list[Heard]) -> None:
        messages: list[Message] = []
        for _, packed in heard:
            if (words := unpacked(packed)) is not None:
                messages.append(message_of(subject, words, self._body, ""))
        for on_messages in list(self._listeners.get(subject, {}).values()):
            on_messages(messages)

    def _refused(self, name: str, refused: Mapping[str, str]) -> None:
        if name in refused:
            log.get().warning("listeners hear nothing", broker=self.name, channel=name, error=refused[name])

    async def _ensure(self, topic: str) -> None:
        if (life := self._connection.life) is not None:
            await self._groups.remind(life, topic)
