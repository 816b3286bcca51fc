from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from farm.broker import Broker
from farm.errors import BrokerUnavailable, InputError, PayloadTooLarge
from farm.ingest.broker_letters import BrokerLetters, message_of
from farm.ingest.dead_letters import Letter, letter_of
from farm.ingest.table import Record
from farm.invocation import Failed
from tests.ingest.pieces import Clock, KeepingBroker, ScriptedBroker, record_of, trigger_of

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
HEADERS = (("order-id", "7"), ("traceparent", "00-1"))


def pair(text: str = "no", **message: Any) -> tuple[Record, Letter]:
    facts = {
        "headers": HEADERS,
        "cause": "p",
        "hops": 2,
        "reply_to": "re",
        "payload": b"x",
        "subject": "a.b",
        **message,
    }
    record = record_of(attempts=3, **facts)
    record.delivery.source_id = "S:7"
    return record, letter_of(record, "attempts", Failed("trap", text), AT)


class Desk:
    def __init__(self) -> None:
        self.clock = Clock()
        self.broker = KeepingBroker("in")
        self.stored: list[Record] = []
        self.turns_wanted = 0
        brokers: dict[str, Broker] = {"in": self.broker, "out": ScriptedBroker("out")}
        self.letters = BrokerLetters(brokers, self.clock, self.stored.extend, self._want)

    def _want(self) -> None:
        self.turns_wanted += 1

    def add(self, **facts: Any) -> Record:
        record, letter = pair(**facts)
        self.letters.add(record, letter)
        return record

    def pass_(self, seconds: float) -> None:
        self.letters.wake(self.clock.pass_(seconds))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_letter_is_the_message_on_a_subject_of_its_own_with_all_that_is_known() -> None:
    record, letter = pair("it\nbroke")
    message = message_of(letter, record)
    assert (message.id, message.subject, message.payload) == ("id", "farm.dlq.a.b", b"x")
    assert (message.reply_to, message.cause, message.hops) == ("re", "p", 2)
    assert message.headers == (
        *HEADERS,
        ("farm-reason", "attempts"),
        ("farm-attempt", "3"),
        ("farm-error", r"trap: it\nbroke"),
        ("farm-component", "c"),
        ("farm-topic", "t"),
        ("farm-at", "2026-01-02T03:04:05.678+00:00"),
        ("farm-source", "S:7"),
    )


def test_only_brokers_that_confirm_keep_letters(desk: Desk) -> None:
    assert desk.letters.takes(record_of())
    assert not desk.letters.takes(record_of(trigger=trigger_of(broker="out")))


def test_a_source_is_done_with_once_its_letter_is_stored(desk: Desk) -> None:
    record = desk.add()
    assert (len(desk.broker.stored), desk.stored, desk.letters.waiting) == (1, [record], [])
    assert desk.letters.next_wake_s() is None


def test_a_letter_that_cannot_be_stored_waits_and_is_tried_again(desk: Desk) -> None:
    desk.broker.store_refusals = [BrokerUnavailable("away") for _ in range(8)]
    record = desk.add()
    assert (desk.stored, desk.letters.waiting, desk.letters.fault) == ([], [record], "away")
    waits: list[float] = []
    while desk.broker.store_refusals:
        due_s = desk.letters.next_wake_s()
        assert due_s is not None
        waits.append(due_s - desk.clock())
        desk.pass_(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32, 60]
    desk.pass_(60)
    assert (desk.stored, desk.letters.waiting, desk.letters.fault) == ([record], [], "")
    assert desk.letters.next_wake_s() is None


def test_a_letter_that_is_too_large_is_cut(desk: Desk) -> None:
    desk.broker.store_refusals = [PayloadTooLarge(2, 1)]
    desk.add(text="x" * 500)
    [message] = desk.broker.stored
    assert message.payload == b"x"
    assert len(dict(message.headers)["farm-error"]) == 128
    assert "order-id" not in dict(message.headers)


def test_a_letter_that_is_still_too_large_names_where_its_payload_is(desk: Desk) -> None:
    desk.broker.store_refusals = [PayloadTooLarge(2, 1), PayloadTooLarge(2, 1)]
    record = desk.add()
    [message] = desk.broker.stored
    assert (message.payload, dict(message.headers)["farm-source"]) == (b"", "S:7")
    assert desk.stored == [record]


def test_a_letter_that_nothing_takes_waits_and_starts_whole_again(desk: Desk) -> None:
    desk.broker.store_refusals = [InputError("no stream covers it")] * 3
    desk.add()
    assert (len(desk.letters.waiting), desk.letters.fault) == (1, "no stream covers it")
    desk.pass_(1)
    assert desk.broker.stored[0].payload == b"x"
    assert "order-id" in dict(desk.broker.stored[0].headers)


def test_what_a_broker_answers_may_ask_for_a_turn(desk: Desk) -> None:
    desk.broker.store_refusals = [BrokerUnavailable("away")]
    desk.add()
    assert desk.turns_wanted == 1
    desk.pass_(60.0)
    assert desk.turns_wanted == 2
