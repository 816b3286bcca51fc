"""Which streams and consumers there must be, found or made: for the triggers of one broker, and for dead letters.

    a topic > its stream      the one of the manifest, if something of it is there; else the only one that takes it in;
                              else one that farm makes
    farm.dlq.> > its stream   any that is there; made, unless all streams in use are somebody else's
    a trigger > its consumer  durable, made where its topic's stream is
What farm made says so in its metadata, and is changed only to take in more. What it did not make is never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from farm import log
from farm.broker import Subscription
from farm.brokers.jetstream_api import MADE_BY, ApiFault, Config, JetStreamApi, Stream
from farm.brokers.jetstream_filters import REST, covered, joined, overlap, stored, target_filter
from farm.brokers.options.nats import JetStreamSpec
from farm.errors import BrokerError, Problem
from farm.subject import RESERVED_PREFIXES

DEAD_LETTERS: Final = "farm.dlq.>"
DEAD_LETTERS_STREAM: Final = "farm-dead-letters"
NS: Final = 1_000_000_000
UNLIMITED: Final = -1
# What somebody else may have put into the configuration of a consumer, and what would keep messages or their payloads
# from its trigger, or would have it refuse our pulls.
FOREIGN: Final = ("filter_subjects", "headers_only", "backoff", "max_batch", "max_bytes", "max_expires")
NO_REPLICAS: Final = (10005, 10074)  # too few servers for them; one server alone. Source: nats-server, errors.json


class Streams:
    """Of one broker. app: of the manifest."""

    def __init__(self, api: JetStreamApi, spec: JetStreamSpec, app: str) -> None:
        self._api: Final = api
        self._spec: Final = spec
        self._app: Final = app
        self._own: Final = spec.stream or app
        self._adopted: Final[set[str]] = set()  # names of streams that were there and that farm did not make
        self._filters: list[str] = []  # of the streams that were found or made last
        self.at: Final = spec.at

    async def arrange(self, topics: Sequence[str]) -> dict[str, Stream]:
        """The stream of each topic, found or made, and one for dead letters.

        Raises: BrokerError: what is in the way. ApiFault, NotPermitted.
        """
        own = await self._find(self._own)
        placed: dict[str, Stream] = {}
        held = await self._held_in(own) if own is not None else []
        wanted = self._spec.subjects if own is None or own.ours else ()
        missing = [each for each in wanted if own is None or not covered(each, own.subjects)]
        for topic in topics:
            found = None if _takes(held, topic) else await self._other(topic)
            if found is not None:
                placed[topic] = found
            elif not self._suffices(own, held, topic):
                missing.append(topic)
        if missing:
            own = await self._make(own, missing)
        if own is not None:
            placed.update((topic, own) for topic in topics if topic not in placed)
        used = [*placed.values(), *([own] if own is not None else [])]
        await self._arrange_dead_letters(used)
        self._filters = [each for stream in used for each in stream.subjects] + [DEAD_LETTERS]
        return placed

    def should_take(self, subject: str) -> bool:
        """Whether one of the streams in use took in a subject when they were looked at last."""
        return covered(subject, self._filters)

    async def place(self, subscription: Subscription, stream: Stream, start: int) -> bool:
        """Have a trigger's consumer on its stream; whether it was made.

        Args:
          start: the sequence that one which must be made anew begins at; 0: it is the first.
        Raises: BrokerError, ApiFault, NotPermitted.
        """
        name = subscription.durable
        there = await self._api.consumer(stream.name, name)
        if there is None:
            config = self._consumer(subscription, start, is_work_queue=stream.is_work_queue)
            await self._api.put_consumer(stream.name, config)
            what = "made again" if start else "made"
            log.get().info(f"consumer {what}", broker=self._spec.name, stream=stream.name, consumer=name)
            return True
        if there.get("deliver_subject") or there.get("ack_policy") != "explicit":
            why = "a consumer of that name is there, and is none that farm can use"
            raise BrokerError(Problem(f"no consumer {name}", where=f"stream {stream.name}", why=why, todo="Remove it"))
        fixed = ("deliver_policy", "metadata")
        wanted = {key: value for key, value in self._consumer(subscription, 0).items() if key not in fixed}
        if any(there.get(key) for key in FOREIGN) or any(there.get(key) != value for key, value in wanted.items()):
            kept = {key: value for key, value in there.items() if key not in FOREIGN}
            await self._api.put_consumer(stream.name, {**kept, **wanted})
            log.get().info("consumer changed to what farm needs", broker=self._spec.name, consumer=name)
        return False

    async def takers(self, subject: str) -> list[str]:
        """The streams that take in a subject. Raises: ApiFault, BrokerUnavailable, NotPermitted."""
        return await self._api.names(subject)

    async def _held_in(self, stream: Stream) -> list[str]:
        """Filters of what may be in a stream: what it takes in, as it stores it, and what it copies. Of what comes from
        elsewhere (another account or domain, a stream that is gone, a copy of others) nobody knows: anything.
        """
        held = stored(stream.subjects, *stream.renaming)
        for source in stream.copied:
            origin = None
            if transforms := source.get("subject_transforms"):
                held += [target_filter(str(each.get("dest") or each.get("src") or REST)) for each in transforms]
            elif source.get("filter_subject"):
                held.append(str(source["filter_subject"]))
            elif source.get("external") or (origin := await self._api.stream(str(source["name"]))) is None:
                held.append(REST)
            else:
                held += [REST] if origin.copied else stored(origin.subjects, *origin.renaming)
        return held

    def _suffices(self, own: Stream | None, held: Sequence[str], topic: str) -> bool:
        """Whether our stream takes in what a topic wants: all of it, if it is for us to say; else any of it."""
        if own is not None and not own.ours:
            return _takes(held, topic)
        if self._spec.subjects:
            if not any(overlap(topic, each) for each in self._spec.subjects):
                raise BrokerError(Problem(f"nothing of {topic} is in `subjects`", todo="Add it"))
            return True
        return own is not None and covered(topic, own.subjects)

    async def _find(self, name: str) -> Stream | None:
        """A stream by its name. One that was somebody else's and is gone is not made anew."""
        found = await self._api.stream(name)
        if found is None:
            if name in self._adopted:
                why = "it was there, and farm did not make it"
                raise BrokerError(Problem(f"stream {name} is gone", why=why, todo="Make it again"))
        else:
            self._note(found)
        return found

    def _note(self, stream: Stream) -> None:
        if not stream.ours:
            self._adopted.add(stream.name)

    async def _other(self, topic: str) -> Stream | None:
        """The stream that takes in a topic, of those that are not this broker's own."""
        found = [each for name in await self._api.names(topic) if (each := await self._open_to(name))]
        if len(found) > 1:
            why = f"{' and '.join(sorted(stream.name for stream in found))} take in parts of it"
            raise BrokerError(Problem(f"no one stream for {topic}", why=why, todo="Write one topic for each"))
        if found:
            held = await self._held_in(found[0])
            if not _takes(held, topic):
                why = f"stream {found[0].name} takes it in, and stores it under {', '.join(held)}"
                raise BrokerError(Problem(f"nothing is stored under {topic}", why=why, todo="Write that as the topic"))
            self._note(found[0])
            return await self._widened(found[0], [topic]) if found[0].ours else found[0]
        for name in self._adopted - {self._own}:
            await self._find(name)
        return None

    async def _open_to(self, name: str) -> Stream | None:
        """This stream, unless it is our own, or has in it only what no wildcard of ours may reach."""
        stream = await self._api.stream(name) if name != self._own else None
        if stream is None or all(each.startswith(RESERVED_PREFIXES) for each in stream.subjects):
            return None
        return stream

    async def _make(self, own: Stream | None, missing: Sequence[str]) -> Stream:
        """The stream of this farm, taking in what is missing too."""
        if own is not None and not own.ours:
            why = f"it has nothing on {missing[0]}, and is not changed, for farm did not make it"
            todo = "Add the subject to it, or remove the topic"
            raise BrokerError(Problem(f"stream {own.name} does not do", why=why, todo=todo))
        if own is not None:
            return await self._widened(own, missing)
        config: Config = {
            "name": self._own,
            "description": f"Made by farm for {self._app}.",
            "subjects": joined(missing),
            "retention": self._spec.retention,
            "storage": "file",
            "discard": "new",
            "num_replicas": self._spec.replicas,
            "metadata": {MADE_BY: self._app},
        }
        made = await self._put(config, new=True)
        log.get().info("stream made", broker=self._spec.name, stream=made.name, subjects=list(made.subjects))
        return made

    async def _put(self, config: Config, *, new: bool) -> Stream:
        try:
            return await self._api.put_stream(config, new=new)
        except ApiFault as fault:
            what = f"no stream {config['name']} for {', '.join(config['subjects'])}"
            todo = "Lower `replicas`" if fault.code in NO_REPLICAS else "Write `subjects`, or `stream`"
            raise BrokerError(Problem(what, why=str(fault), todo=todo)) from fault

    async def _widened(self, stream: Stream, filters: Sequence[str]) -> Stream:
        """A stream that farm made, taking in these too. Another farm may widen it at the same time."""
        if all(covered(each, stream.subjects) for each in filters):
            return stream
        subjects = joined([*stream.subjects, *filters])
        await self._put({**stream.config, "subjects": subjects}, new=False)
        found = await self._api.stream(stream.name)
        if found is None or not all(covered(each, found.subjects) for each in filters):
            raise BrokerError(Problem(f"stream {stream.name} is being changed by another", todo="Wait"))
        log.get().info("stream widened", broker=self._spec.name, stream=found.name, subjects=list(found.subjects))
        return found

    async def _arrange_dead_letters(self, used: Sequence[Stream]) -> None:
        for name in await self._api.names(DEAD_LETTERS):
            found = await self._api.stream(name)
            if found is not None and covered(DEAD_LETTERS, found.subjects):
                return
        if used and not any(stream.ours for stream in used) and not self._spec.embedded:
            raise BrokerError(
                Problem(
                    f"no stream takes in {DEAD_LETTERS}",
                    why="dead letters go there, and farm makes none beside streams that it did not make",
                    todo=f"Make one: nats stream add {DEAD_LETTERS_STREAM} --subjects '{DEAD_LETTERS}' --defaults",
                )
            )
        config: Config = {
            "name": DEAD_LETTERS_STREAM,
            "description": "Made by farm: messages that it gave up on.",
            "subjects": [DEAD_LETTERS],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "num_replicas": self._spec.replicas,
            "metadata": {MADE_BY: self._app},
        }
        await self._api.put_stream(config, new=True)
        log.get().info("stream made", broker=self._spec.name, stream=DEAD_LETTERS_STREAM, subjects=[DEAD_LETTERS])

    def _consumer(self, subscription: Subscription, start: int, *, is_work_queue: bool = False) -> Config:
        """max_deliver: a limit of the server's own would end in silence; ingest counts."""
        anew = {"deliver_policy": "all"} if is_work_queue else _from(start)
        return {
            "durable_name": subscription.durable,
            "name": subscription.durable,
            "deliver_policy": self._spec.deliver,
            "ack_policy": "explicit",
            "ack_wait": int(self._spec.ack_wait_s * NS),
            "max_deliver": UNLIMITED,
            "max_ack_pending": UNLIMITED,
            "filter_subject": subscription.topic,
            "metadata": {MADE_BY: self._app},
            **(anew if start else {}),
        }


def _from(start: int) -> Config:
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": start}


def _takes(held: Sequence[str], topic: str) -> bool:
    """Whether something of a topic is among these."""
    return any(overlap(topic, each) for each in held)
