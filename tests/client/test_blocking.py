from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.client import blocking
from farm.client.blocking import Farm, Missed
from farm.errors import (
    BrokerFull,
    InvalidSubject,
    NotRunning,
    PayloadTooLarge,
    Unanswered,
    UnknownBroker,
)
from farm.rundir import Rundir
from farm.wire.relay import HeardMessage, Publish
from tests.client.stand_in import StandIn, eventually, rundir_in


@pytest.fixture
def rundir(tmp_path: Path) -> Rundir:
    return rundir_in(tmp_path)


@pytest.fixture
def ingest(rundir: Rundir) -> Iterator[StandIn]:
    with StandIn(rundir) as one:
        yield one


@pytest.fixture
def farm(ingest: StandIn) -> Iterator[Farm]:
    with Farm.connect(ingest.rundir) as one:
        yield one


def heard_payload(word: HeardMessage | Missed | None) -> bytes:
    assert isinstance(word, HeardMessage)
    return word.payload


def test_a_publish_gives_the_id_the_broker_and_the_matches(farm: Farm, ingest: StandIn) -> None:
    receipt = farm.publish("hello.world", "Ada", headers=(("x-a", "1"),), key="k")
    assert (receipt.broker, receipt.triggers, receipt.listeners) == ("test", 1, 0)
    assert receipt.id
    assert ingest.publishes == [Publish("hello.world", b"Ada", None, (("x-a", "1"),), None, "k")]


def test_what_cannot_be_published_is_refused_here(farm: Farm, ingest: StandIn) -> None:
    with pytest.raises(InvalidSubject):
        farm.publish("a..b", b"")
    with pytest.raises(PayloadTooLarge):
        farm.publish("a", b"x" * (1 << 20 | 1))
    assert ingest.publishes == []


def test_headers_may_be_a_dict_and_their_names_in_capitals(farm: Farm, ingest: StandIn) -> None:
    farm.publish("a", b"x", headers={"X-Order": "7"}, key="k")
    assert ingest.publishes == [Publish("a", b"x", None, (("x-order", "7"),), None, "k")]


@pytest.mark.parametrize("payload", [bytearray(b"x"), memoryview(b"-x-")[1:2]])
def test_bytes_may_be_of_any_kind(farm: Farm, ingest: StandIn, payload: bytearray | memoryview) -> None:
    farm.publish("a", payload)
    assert [one.payload for one in ingest.publishes] == [b"x"]


@pytest.mark.parametrize(
    ("payload", "headers", "said"),
    [
        ({"id": 7}, (), "a payload is bytes or text, not dict; json.dumps makes text of it"),
        (b"x", {"x-order": 7}, "a header is two texts, not 'x-order': 7"),
    ],
)
def test_what_is_no_message_is_told_at_once_and_not_sent(
    farm: Farm, ingest: StandIn, payload: Any, headers: Any, said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        farm.publish("a", payload, headers=headers)
    assert ingest.publishes == []


@pytest.mark.parametrize("given", [{"headers": {"x-a": "\udc80"}}, {"key": "\udc80"}, {"broker": "\udc80"}])
def test_a_text_that_cannot_be_sent_holds_up_nothing(farm: Farm, ingest: StandIn, given: dict[str, Any]) -> None:
    """As of an argument or a variable whose bytes are no UTF-8."""
    with pytest.raises(UnicodeEncodeError):
        farm.publish("a", b"x", **given)
    with pytest.raises(UnicodeEncodeError):
        farm.subscribe("a.\udc80")
    farm.publish("a", b"y")
    assert [one.payload for one in ingest.publishes] == [b"y"]


def test_a_refusal_is_the_error_it_names(farm: Farm, ingest: StandIn) -> None:
    ingest.refusal = ("full", "the broker is full", True)
    with pytest.raises(BrokerFull, match="the broker is full"):
        farm.publish("hello.world", b"")


def test_no_answer_is_said_so(ingest: StandIn) -> None:
    ingest.deaf = True
    with Farm.connect(ingest.rundir, answer_s=0.05) as farm, pytest.raises(Unanswered):
        farm.publish("hello.world", b"")


def test_without_a_farm_there_is_nothing_to_connect_to(rundir: Rundir) -> None:
    with pytest.raises(NotRunning):
        Farm.connect(rundir)


def test_ten_thousand_messages_travel_in_full_batches(farm: Farm, ingest: StandIn) -> None:
    tally = farm.publish_many(Publish("n.x", str(n).encode()) for n in range(10_000))
    assert (tally.accepted, tally.refused, tally.left) == (10_000, 0, 0)
    assert [int(one.payload) for one in ingest.publishes] == list(range(10_000))
    assert max(ingest.batches) == 256
    assert len(ingest.batches) < 60


def test_what_a_full_farm_refuses_is_offered_again_until_it_is_taken(farm: Farm, ingest: StandIn) -> None:
    ingest.refusal = ("full", "the broker is full", True)
    ingest.refuse_count = 700
    seen: list[int] = []
    items = (Publish("n.x", str(n).encode()) for n in range(2000))
    tally = farm.publish_many(items, progress=lambda tally: seen.append(tally.accepted))
    assert (tally.accepted, tally.refused, tally.left) == (2000, 0, 0)
    assert {int(one.payload) for one in ingest.publishes} == set(range(2000))
    assert seen == sorted(seen)
    assert seen[-1] == 2000


def test_without_waiting_refusals_are_counted(farm: Farm, ingest: StandIn) -> None:
    ingest.refusal = ("full", "the broker is full", True)
    tally = farm.publish_many((Publish("n.x", b"") for _ in range(1000)), wait=False)
    assert (tally.accepted, tally.refused, tally.left) == (0, 1000, 0)


def test_patience_ends_and_says_how_many_are_left(farm: Farm, ingest: StandIn) -> None:
    ingest.refusal = ("full", "the broker is full", True)
    tally = farm.publish_many((Publish("n.x", b"") for _ in range(10)), patience_s=0.1)
    assert (tally.accepted, tally.refused, tally.left) == (0, 0, 10)
    assert tally.refusal is not None
    assert tally.refusal.code == "full"


def test_a_message_larger_than_a_batch_travels_alone(farm: Farm, ingest: StandIn) -> None:
    items = [Publish("n.x", b"s"), Publish("n.x", b"x" * (1 << 20)), Publish("n.x", b"s")]
    assert farm.publish_many(items).accepted == 3
    assert ingest.batches == [1, 1, 1]


def test_a_subscription_is_live_when_it_is_there_and_hears_what_matches(farm: Farm) -> None:
    with farm.subscribe("hello.*") as heard:
        assert heard.broker == "test"
        farm.publish("other", b"no")
        farm.publish("hello.world", b"Ada")
        assert heard_payload(heard.next(10)) == b"Ada"
        assert heard.next(0.01) is None


def test_a_subscription_on_an_unknown_broker_is_refused(farm: Farm) -> None:
    with pytest.raises(UnknownBroker):
        farm.subscribe("hello.*", broker="nope")


def test_who_reads_is_granted_more_and_who_does_not_sees_the_gap(
    farm: Farm, ingest: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "CREDIT", 256)
    with farm.subscribe("n.*") as heard:
        for n in range(300):
            farm.publish("n.x", str(n).encode())
        assert [heard_payload(heard.next(10)) for _ in range(256)] == [str(n).encode() for n in range(256)]
        farm.publish("n.x", b"after")
        assert heard.next(10) == Missed(44)
        assert heard_payload(heard.next(10)) == b"after"
    assert ingest.granted == 256


def test_a_subscription_outlives_ingest_and_says_that_something_may_be_missing(farm: Farm, ingest: StandIn) -> None:
    with farm.subscribe("hello.*") as heard:
        ingest.restart()
        assert heard.next(10) == Missed(0)
        eventually(lambda: ingest.listeners() == 1)
        farm.publish("hello.world", b"Ada")
        assert heard_payload(heard.next(10)) == b"Ada"


def test_publishing_many_outlives_ingest(farm: Farm, ingest: StandIn) -> None:
    def items() -> Iterator[Publish]:
        for n in range(3000):
            if n == 1500:
                ingest.restart()
            yield Publish("n.x", str(n).encode())

    assert farm.publish_many(items()).accepted == 3000
    assert {int(one.payload) for one in ingest.publishes} == set(range(3000))


def test_the_end_of_the_farm_ends_a_subscription(farm: Farm, ingest: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "GONE_S", 0.2)
    monkeypatch.setattr(blocking, "LOOK_S", 0.05)
    with farm.subscribe("hello.*") as heard:
        ingest.stop()
        with pytest.raises(NotRunning):
            heard.next(60)


def test_status_is_the_answer_of_ingest(farm: Farm, ingest: StandIn) -> None:
    ingest.status = b'{"brokers": {"test": {"type": "memory"}}, "components": {}}'
    assert farm.status() == {"brokers": {"test": {"type": "memory"}}, "components": {}}
