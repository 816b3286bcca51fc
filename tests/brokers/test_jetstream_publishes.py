"""What is published and not confirmed, on a connection that only notes it and a clock that only a test moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from farm.broker import Matches, Published, Refused
from farm.brokers import jetstream_publishes
from farm.brokers.jetstream_api import Refusal
from farm.brokers.jetstream_publishes import ABSENCE_S, CONFIRM_S, SILENCE_S, Publishes, refusal_of
from farm.brokers.nats_connection import NatsConnection
from farm.errors import BrokerFull, BrokerUnavailable, InputError
from farm.message import Message


class Line:
    """A connection."""

    max_payload_bytes = 1 << 20

    def __init__(self) -> None:
        self.heard: Any = None

    def new_inbox(self) -> str:
        return "_INBOX.mine"

    def subscribe(self, _: str, heard: object) -> None:
        self.heard = heard

    def publish_all(self, _: Sequence[bytes], __: int) -> None:
        """Nobody is told."""


class House:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(jetstream_publishes.time, "monotonic", lambda: self.now_s)
        self.line = Line()
        self.answers: list[Sequence[Published | Refused]] = []
        connection = cast("NatsConnection", self.line)
        self.publishes = Publishes("js", connection, Matches("nats"), lambda: None, lambda _: None)

    def publish(self, subject: str = "a.b") -> None:
        self.publishes.send([Message("id", subject, b"x")], self.answers.append, once=True)

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.publishes.tick(self.now_s)
        self.publishes.finish()

    def find_nobody(self, number: int) -> None:
        self.line.heard([(b"_INBOX.mine.%d" % number, b"", b"NATS/1.0 503\r\n\r\n", b"")])

    def confirm(self, number: int, stream: bytes = b"S") -> None:
        self.line.heard([(b"_INBOX.mine.%d" % number, b"", b"", b'{"stream":"%b","seq":1}' % stream)])
        self.publishes.finish()


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    return House(monkeypatch)


def test_a_server_that_confirms_nothing_is_silent_until_it_does(house: House) -> None:
    house.publish()
    house.pass_s(CONFIRM_S)
    assert [type(answer) for answer in house.answers[0]] == [BrokerUnavailable]
    assert house.publishes.silent
    house.publish()
    house.confirm(1)
    assert not house.publishes.silent


def test_nobody_knows_of_a_server_that_nothing_was_published_to_for_long(house: House) -> None:
    house.publish()
    house.pass_s(CONFIRM_S)
    house.pass_s(SILENCE_S / 2)
    assert house.publishes.silent
    house.publish()
    house.pass_s(CONFIRM_S)
    house.pass_s(SILENCE_S - 1)
    assert house.publishes.silent
    house.pass_s(2)
    assert not house.publishes.silent


def test_a_stream_without_a_leader_is_silent_until_it_confirms_or_nothing_is_published_to_it(house: House) -> None:
    """As in a cluster without a quorum: nobody is there, at once, for every message."""
    house.publish()
    house.find_nobody(0)
    house.publishes.settle_doubt("a.b", taken=True)
    house.pass_s(0)
    assert [type(answer) for answer in house.answers[0]] == [BrokerUnavailable]
    assert house.publishes.silent
    house.pass_s(ABSENCE_S + 1)
    assert not house.publishes.silent
    house.publish()
    house.find_nobody(1)
    house.publishes.settle_doubt("a.b", taken=True)
    house.publish()
    house.confirm(2)
    assert not house.publishes.silent


def test_a_stream_without_a_leader_is_told_though_another_confirms(house: House) -> None:
    """As when one server is gone that was alone in having it: told by turns, it would be told in none."""
    house.publish("a.b")
    house.find_nobody(0)
    house.publishes.settle_doubt("a.b", taken=True, streams=["S"])
    house.publish("c")
    house.confirm(1, b"T")
    assert house.publishes.fault == "nobody answers for stream S"
    assert not house.publishes.silent
    house.pass_s(ABSENCE_S)
    assert house.publishes.fault
    house.publish("a.b")
    house.confirm(2)
    assert house.publishes.fault == ""


def test_a_stream_without_a_leader_is_told_until_nothing_is_published_to_it_or_another_server_is_there(
    house: House,
) -> None:
    for number in range(2):
        house.publish()
        house.find_nobody(number)
        house.publishes.settle_doubt("a.b", taken=True, streams=["S"])
        house.pass_s(ABSENCE_S)
        assert house.publishes.fault
    house.pass_s(1)
    assert house.publishes.fault == ""
    house.publish()
    house.find_nobody(2)
    house.publishes.settle_doubt("a.b", taken=True, streams=["S"])
    house.publishes.lose("gone")
    assert house.publishes.fault == ""


def test_a_server_that_is_silent_for_long_is_not_thought_well_of_sooner(house: House) -> None:
    house.publish()
    house.pass_s(CONFIRM_S)
    house.publish()
    house.find_nobody(1)
    house.publishes.settle_doubt("a.b", taken=True)
    house.pass_s(ABSENCE_S + 1)
    assert house.publishes.silent
    assert house.publishes.fault == "JetStream confirms nothing of what is published"


def test_a_subject_that_no_stream_takes_in_says_nothing_of_the_server(house: House) -> None:
    house.publish()
    house.find_nobody(0)
    house.publishes.settle_doubt("a.b", taken=False)
    house.pass_s(0)
    assert [type(answer) for answer in house.answers[0]] == [InputError]
    assert not house.publishes.silent


def test_a_stream_that_is_not_in_place_yet_is_not_silent(house: House) -> None:
    house.publish()
    house.find_nobody(0)
    house.publishes.settle_doubt("a.b", taken=None)
    house.pass_s(0)
    assert [type(answer) for answer in house.answers[0]] == [BrokerUnavailable]
    assert not house.publishes.silent


@pytest.mark.parametrize(
    ("code", "err_code", "kind"),
    [
        (409, 10158, BrokerUnavailable),  # duplicate message id is in process
        (429, 10167, BrokerUnavailable),  # too many requests
        (503, 10008, BrokerUnavailable),  # JetStream system temporarily unavailable
        (400, 10077, BrokerFull),  # maximum messages exceeded
        (400, 10054, InputError),  # message size exceeds maximum allowed
    ],
)
def test_what_may_pass_another_time_is_not_refused_for_good(code: int, err_code: int, kind: type[Exception]) -> None:
    assert type(refusal_of(Refusal(code, err_code, "no"))) is kind
