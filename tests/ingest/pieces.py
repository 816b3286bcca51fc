"""Records, triggers and brokers for tests of single parts of ingest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from farm.broker import (
    Broker,
    BrokerState,
    Commit,
    CommitDone,
    Delivery,
    OnDeliveries,
    OnMessages,
    PublishDone,
    Published,
    Refused,
    Subscription,
)
from farm.ingest.table import SETTLING, Lane, Record, Trigger
from farm.invocation import Failed, Finished, Output
from farm.message import Message
from farm.spec import PublishSpec, TriggerSpec
from tests.ingest.farmhouse import component

STARTED_S = 73_000.0  # a clock far from any real one


class Clock:
    """A monotonic clock that stands still unless told."""

    def __init__(self) -> None:
        self.now_s = STARTED_S

    def __call__(self) -> float:
        return self.now_s

    def pass_(self, seconds: float) -> float:
        self.now_s += seconds
        return self.now_s


class ScriptedBroker(Broker):
    """A broker that does what the test says with what it is asked to publish, and remembers everything it was asked."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.refusal: Refused | None = None
        self.published = Published(1, 0)
        self.later = False
        self.held: list[tuple[Sequence[Message], PublishDone]] = []
        self.took: list[Message] = []
        self.settled: list[Delivery] = []
        self.released: list[Delivery] = []
        self.grants: list[tuple[int, int]] = []
        self.on_deliveries: dict[int, OnDeliveries] = {}
        self.on_messages: dict[str, OnMessages] = {}
        self.log: list[str] = []

    @property
    def state(self) -> BrokerState:
        return "up"

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def deliver(self, subscription: Subscription, on_deliveries: OnDeliveries) -> None:
        self.on_deliveries[subscription.trigger] = on_deliveries

    def grant(self, trigger: int, count: int) -> None:
        self.grants.append((trigger, count))

    def listen(self, pattern: str, on_messages: OnMessages) -> Callable[[], None]:
        self.on_messages[pattern] = on_messages
        return lambda: None

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        self.settled += deliveries
        self.log += [f"settle {delivery.message.id}" for delivery in deliveries]

    def release(self, deliveries: Sequence[Delivery]) -> None:
        self.released += deliveries

    def confirm(self) -> None:
        """Answer what was held."""
        held, self.held = self.held, []
        for messages, done in held:
            self._answer(messages, done)

    def _publish(self, messages: Sequence[Message], done: PublishDone) -> None:
        if self.later:
            self.held.append((messages, done))
        else:
            self._answer(messages, done)

    def _answer(self, messages: Sequence[Message], done: PublishDone) -> None:
        if self.refusal is not None:
            done([self.refusal] * len(messages))
            return
        self.took += messages
        self.log += [f"publish {message.id}" for message in messages]
        done([self.published] * len(messages))


class KeepingBroker(ScriptedBroker):
    """One that is durable in every way: it commits, keeps dead letters and counts deliveries."""

    commits = True
    counts = True
    confirms = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.committed: list[Commit] = []
        self.stored: list[Message] = []
        self.store_refusals: list[Refused] = []

    def store(self, messages: Sequence[Message], done: PublishDone) -> None:
        answers: list[Published | Refused] = []
        for message in messages:
            if self.store_refusals:
                answers.append(self.store_refusals.pop(0))
            else:
                self.stored.append(message)
                answers.append(Published(0, 0))
        done(answers)

    def _commit(self, commits: Sequence[Commit], done: CommitDone) -> None:
        if self.refusal is None:
            self.committed += commits
        done([self.refusal] * len(commits))


def trigger_of(number: int = 0, publish: PublishSpec | None = None, broker: str = "in", **more: Any) -> Trigger:
    return Trigger(number, "c", TriggerSpec(broker, "t", publish, **more))


def record_of(
    outputs: Sequence[Output] = (),
    *,
    trigger: Trigger | None = None,
    failed: Failed | None = None,
    attempts: int = 1,
    **message: Any,
) -> Record:
    """A record that was answered."""
    facts: dict[str, Any] = {"id": "id", "subject": "t", "payload": b"x", **message}
    record = Record(1, Lane(0, component("c")), trigger or trigger_of(), Delivery(0, Message(**facts)))
    record.state = SETTLING
    record.attempts = attempts
    record.answer = Finished(1, attempts, 10, list(outputs), failed)
    return record
