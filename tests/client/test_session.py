from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from farm.client.session import (
    WAITING_COUNT_LIMIT,
    Answer,
    Ended,
    Gap,
    Heard,
    Live,
    Session,
    Settled,
)
from farm.errors import BrokerFull, WireError
from farm.wire import relay
from farm.wire.relay import Accepted, HeardMessage, Publish, Refusal

START_S = 40_000.0
ITEM = Publish("a", b"x")


def batches(words: list[relay.FromClient]) -> list[relay.Publishes]:
    return [word for word in words if isinstance(word, relay.Publishes)]


def accepted(batch: relay.Publishes) -> relay.Published:
    return relay.Published(batch.batch, [Accepted(n, f"id{n}", 1, 0) for n in range(len(batch.items))], [], "test")


def message(number: int) -> HeardMessage:
    return HeardMessage(str(number), "a", b"")


def test_what_waits_travels_together_and_no_more_than_the_window_is_unanswered() -> None:
    session = Session()
    for _ in range(256 * 5 + 1):
        session.publish(ITEM)
    sent = batches(session.outgoing())
    assert [len(one.items) for one in sent] == [256] * 4
    assert session.outgoing() == []
    session.hear(accepted(sent[0]))
    assert [len(one.items) for one in batches(session.outgoing())] == [256]
    session.hear(accepted(sent[1]))
    assert [len(one.items) for one in batches(session.outgoing())] == [1]


def test_a_batch_is_bounded_in_bytes_and_a_larger_item_travels_alone() -> None:
    session = Session()
    for size in (200 << 10, 100 << 10, 1 << 20, 10):
        session.publish(Publish("a", b"x" * size))
    assert [len(one.items) for one in batches(session.outgoing())] == [1, 1, 1, 1]


def test_an_answer_names_items_by_number() -> None:
    session = Session()
    first, second = session.publish(ITEM), session.publish(ITEM)
    (batch,) = batches(session.outgoing())
    refusal = Refusal(0, "full", "full", retry=True)
    news = session.hear(relay.Published(batch.batch, [Accepted(1, "id", 2, 3)], [refusal], "test"))
    assert sorted(news, key=lambda one: one.ticket if isinstance(one, Settled) else 0) == [
        Settled(first, refusal, "test"),
        Settled(second, Accepted(1, "id", 2, 3), "test"),
    ]
    assert session.unsettled_count == 0


def test_an_item_that_an_answer_leaves_out_is_not_waited_for() -> None:
    session = Session()
    ticket = session.publish(ITEM)
    (batch,) = batches(session.outgoing())
    (news,) = session.hear(relay.Published(batch.batch, [], [], "test"))
    assert isinstance(news, Settled)
    assert news.ticket == ticket
    assert isinstance(news.outcome, Refusal)
    assert news.outcome.code == "unanswered"


def test_an_answer_for_an_item_that_was_never_sent_is_a_fault_of_the_wire() -> None:
    session = Session()
    session.publish(ITEM)
    (batch,) = batches(session.outgoing())
    with pytest.raises(WireError):
        session.hear(relay.Published(batch.batch, [Accepted(1, "id", 0, 0)], [], "test"))


def test_too_much_waiting_is_refused() -> None:
    session = Session()
    for _ in range(WAITING_COUNT_LIMIT):
        session.publish(ITEM)
    with pytest.raises(BrokerFull):
        session.publish(ITEM)


def test_a_deadline_settles_what_was_sent_as_unknown_and_what_was_not_as_not_sent() -> None:
    session = Session()
    sent = session.publish(ITEM, START_S + 5)
    session.outgoing()
    kept = session.publish(ITEM, START_S + 6)
    assert session.next_wake_s() == START_S + 5
    texts = {
        one.ticket: one.outcome.text
        for one in (*session.expire(START_S + 5), *session.expire(START_S + 6))
        if isinstance(one, Settled) and isinstance(one.outcome, Refusal)
    }
    assert "unknown" in texts[sent]
    assert "not sent" in texts[kept]
    assert session.next_wake_s() is None
    assert session.outgoing() == []


def test_a_late_answer_changes_nothing_but_makes_room() -> None:
    session = Session()
    session.publish(ITEM, START_S)
    (batch,) = batches(session.outgoing())
    session.expire(START_S)
    assert session.hear(accepted(batch)) == []
    session.check()


def test_a_listener_is_live_when_ingest_says_so() -> None:
    session = Session()
    number = session.listen("a.*", 100, "test")
    assert session.outgoing() == [relay.Listen(number, "a.*", 100, "test")]
    assert session.hear(relay.Listening(number, "test")) == [Live(number, "test")]
    assert session.hear(relay.Heard(number, 1, [message(1)])) == [Heard(number, [message(1)])]


def test_a_jump_in_the_numbers_is_what_was_missed() -> None:
    session = Session()
    number = session.listen("a", 2)
    session.hear(relay.Listening(number, "test"))
    session.hear(relay.Heard(number, 1, [message(1), message(2)]))
    assert session.hear(relay.Heard(number, 6, [message(6)])) == [Heard(number, [message(6)], missed=3)]


def test_a_gap_at_the_end_is_news_without_messages() -> None:
    session = Session()
    number = session.listen("a", 2)
    session.hear(relay.Listening(number, "test"))
    session.hear(relay.Heard(number, 1, [message(1), message(2)]))
    session.outgoing()
    assert session.hear(relay.Heard(number, 5, [])) == [Heard(number, [], missed=2)]
    assert session.hear(relay.Heard(number, 5, [message(5)])) == [Heard(number, [message(5)])]
    session.consumed(number, 3)
    assert session.outgoing() == [relay.Grant(number, 3)]


def test_credit_is_given_back_in_halves() -> None:
    session = Session()
    number = session.listen("a", 100)
    session.outgoing()
    session.consumed(number, 49)
    assert session.outgoing() == []
    session.consumed(number, 1)
    assert session.outgoing() == [relay.Grant(number, 50)]


def test_credit_of_heavy_messages_is_given_back_by_their_weight() -> None:
    session = Session()
    number = session.listen("a", 100)
    session.outgoing()
    heavy = relay.HeardMessage("1", "a", bytes(1 << 20))
    session.hear(relay.Heard(number, 1, [heavy] * 10))
    session.consumed(number, 7)
    assert session.outgoing() == []
    session.consumed(number, 1)
    assert session.outgoing() == [relay.Grant(number, 8)]
    session.consumed(number, 2)
    assert session.outgoing() == []


def test_a_refused_listener_is_gone() -> None:
    session = Session()
    number = session.listen("a", 100)
    assert session.hear(relay.ListenRefused(number, "unknown-broker", "no")) == [Ended(number, "unknown-broker", "no")]
    assert session.hear(relay.Listening(number, "test")) == []


def test_what_still_comes_for_a_closed_listener_is_dropped() -> None:
    session = Session()
    number = session.listen("a", 100)
    session.unlisten(number)
    assert session.outgoing()[-1] == relay.Unlisten(number)
    assert session.hear(relay.Heard(number, 1, [message(1)])) == []


def test_a_new_life_of_ingest_is_asked_everything_again() -> None:
    session = Session()
    live, starting = session.listen("a", 10), session.listen("b", 20)
    question = session.ask()
    session.outgoing()
    session.hear(relay.Listening(live, "test"))
    session.hear(relay.Heard(live, 1, [message(1)]))
    assert session.reconnect() == [Gap(live)]
    assert session.outgoing() == [
        relay.AskStatus(question),
        relay.Listen(live, "a", 10),
        relay.Listen(starting, "b", 20),
    ]
    assert session.hear(relay.Heard(live, 1, [message(1)])) == [Heard(live, [message(1)])]
    assert session.hear(relay.StatusAnswer(question, b"{}")) == [Answer(question, b"{}")]


def test_publishes_unanswered_by_a_dead_ingest_are_unknown_and_the_others_are_sent() -> None:
    session = Session()
    tickets = [session.publish(ITEM) for _ in range(256 * 4 + 1)]
    session.outgoing()
    lost = session.reconnect()
    assert [one.ticket for one in lost if isinstance(one, Settled)] == tickets[:-1]
    (batch,) = batches(session.outgoing())
    assert session.hear(accepted(batch)) == [Settled(tickets[-1], Accepted(0, "id0", 1, 0), "test")]


ITEMS = [
    Publish("a", bytes(size)) for size in (0, 100_000, 300_000)
]  # so few fill a batch, and few of those the window


@settings(max_examples=60, stateful_step_count=40)
class Relayed(RuleBasedStateMachine):
    """Whatever happens in whatever order, every publish is settled once and nobody is told of what was not asked."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session()
        self.now_s = START_S
        self.unsettled: set[int] = set()
        self.unanswered: list[relay.Publishes] = []
        self.random = random.Random(0)

    @rule(count=st.integers(1, 8), item=st.sampled_from(ITEMS), patient=st.booleans())
    def publish(self, count: int, item: Publish, patient: bool) -> None:
        for _ in range(count):
            deadline_s = None if patient else self.now_s + 5
            self.unsettled.add(self.session.publish(item, deadline_s))

    @rule()
    def send(self) -> None:
        self.unanswered += batches(self.session.outgoing())

    @precondition(lambda self: self.unanswered)
    @rule(taken=st.floats(0, 1))
    def answer(self, taken: float) -> None:
        batch = self.unanswered.pop(self.random.randrange(len(self.unanswered)))
        answer = relay.Published(batch.batch, [], [], "test")
        for number in range(len(batch.items)):
            if self.random.random() < taken:
                answer.accepted.append(Accepted(number, "id", 1, 0))
            else:
                answer.refused.append(Refusal(number, "full", "full", retry=True))
        self.settle(self.session.hear(answer))

    @rule()
    def pass_time(self) -> None:
        self.now_s += 2
        self.settle(self.session.expire(self.now_s))
        wake_s = self.session.next_wake_s()
        assert wake_s is None or wake_s > self.now_s

    @rule()
    def new_life(self) -> None:
        self.settle(self.session.reconnect())
        if self.random.random() < 0.5:
            self.unanswered.clear()  # else the answers of the old life still come, and count for nothing

    def settle(self, news: object) -> None:
        assert isinstance(news, list)
        for one in news:
            assert isinstance(one, Settled)
            self.unsettled.remove(one.ticket)

    @invariant()
    def holds(self) -> None:
        self.session.check()
        assert self.session.unsettled_count == len(self.unsettled)


TestRelayed = Relayed.TestCase
