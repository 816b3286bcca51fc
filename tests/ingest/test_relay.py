"""Clients of the relay, against a whole ingest; and who may be one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm.ingest.relay import UNSENT_LIMIT
from farm.message import Message, keyed_id
from farm.spec import PublishSpec, TriggerSpec
from farm.wire import relay
from farm.wire.relay import Publish
from tests.ingest.desk import Desk
from tests.ingest.farmhouse import Client, House, component, farm_spec, house_of

SPEC = farm_spec(component("c", TriggerSpec("test", "hello.*", PublishSpec("secondary", "out"))))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with house_of(SPEC, tmp_path) as house:
        yield house


@pytest.fixture
def client(house: House) -> Client:
    return house.client()


def listening(client: Client, listener: int, pattern: str, credit: int, broker: str | None = None) -> None:
    client.say(relay.Listen(listener, pattern, credit, broker))
    client.hear(relay.Listening)


def test_a_publish_that_nothing_matches_is_told_what_was_perhaps_meant(client: Client) -> None:
    listening(client, 1, "news.sport", 1)
    [first, second, third] = client.publish(
        Publish("helo.world", b""), Publish("new.sport", b""), Publish("quite-different", b"")
    ).accepted
    assert (first.triggers, first.listeners, first.nearest) == (0, 0, "hello.*")
    assert second.nearest == "news.sport"
    assert third.nearest is None


def test_what_was_perhaps_meant_follows_those_who_listen(client: Client) -> None:
    assert client.publish(Publish("new.sport", b"")).accepted[0].nearest is None
    listening(client, 1, "news.sport", 1)
    assert client.publish(Publish("new.sport", b"")).accepted[0].nearest == "news.sport"


def test_listeners_are_counted_each_for_itself(house: House, client: Client) -> None:
    other = house.client()
    for one in (client, other):
        listening(one, 1, "hello.*", 1)
    listening(client, 2, "hello.world", 1)
    accepted = client.publish(Publish("hello.world", b"")).accepted[0]
    assert (accepted.triggers, accepted.listeners) == (1, 3)
    client.say(relay.Unlisten(1))
    assert client.publish(Publish("hello.world", b"")).accepted[0].listeners == 2


def test_every_item_is_answered_by_its_number(client: Client) -> None:
    answer = client.publish(
        Publish("hello.a", b""),
        Publish("a..b", b""),
        Publish("hello.b", bytes((1 << 20) + 1)),
        Publish("x", b"", broker="secondry"),
        Publish("y", b"", broker="secondary"),
        batch=42,
    )
    assert (answer.batch, answer.broker) == (42, "test")
    assert sorted(one.item for one in answer.accepted) == [0, 4]
    refused = {one.item: (one.code, one.retry, one.text) for one in answer.refused}
    assert refused[1][:2] == ("invalid-subject", False)
    assert refused[2] == (
        "payload-too-large",
        False,
        "payload too large: 1048577 bytes exceed the limit of 1048576 bytes",
    )
    assert refused[3] == (
        "unknown-broker",
        False,
        "no broker 'secondry', there is 'secondary', 'test'; did you mean 'secondary'?",
    )


def test_a_batch_of_nothing_but_refusals_is_answered(client: Client) -> None:
    assert len(client.publish(Publish("", b""), Publish("x", b"", broker="nope")).refused) == 2


def test_refusals_are_counted_at_their_broker(client: Client) -> None:
    client.publish(Publish("", b""), Publish("x", b"", reply_to="a b"), Publish("x", b"", broker="nope"))
    brokers = client.status()["brokers"]
    assert (brokers["test"]["refused"], brokers["secondary"]["refused"]) == (2, 0)


def test_a_full_broker_refuses_for_now(client: Client) -> None:
    refused: list[relay.Refusal] = []
    for _ in range(50):
        refused += client.publish(*[Publish("hello.x", b"")] * 256).refused
    assert {(one.code, one.retry) for one in refused} == {("full", True)}
    assert len(refused) == 50 * 256 - 10_000 - 1024


def test_an_idempotency_key_makes_the_id_and_others_are_new(client: Client) -> None:
    accepted = client.publish(*[Publish("x", b"", key="order-7")] * 2, *[Publish("x", b"")] * 2).accepted
    assert accepted[0].id == accepted[1].id == keyed_id(str(os.getuid()), "order-7")
    assert len({one.id for one in accepted}) == 3


def test_only_headers_that_may_pass_do(client: Client) -> None:
    listening(client, 1, "x", 1)
    headers = (
        ("Farm-Id", "forged"),
        ("farm-hops", "0"),
        ("Nats-Rollup", "all"),
        ("X-Own", "1"),
        ("Content-Type", "a/b"),
    )
    client.publish(Publish("x", b"", headers=headers))
    assert client.hear(relay.Heard).messages[0].headers == (("x-own", "1"), ("content-type", "a/b"))


def test_too_many_headers_and_a_bad_reply_subject_are_refused(client: Client) -> None:
    many = tuple((f"x-{n}", "") for n in range(33))
    refused = client.publish(Publish("x", b"", headers=many), Publish("x", b"", reply_to="$JS.ACK.x")).refused
    assert [one.code for one in refused] == ["usage", "invalid-subject"]


@pytest.mark.parametrize("header", [("x-a", "1\r\nNats-Rollup: all"), ("x-a b", ""), ("x-a", "\xe9" * 4096)])
def test_headers_that_no_broker_may_see_are_refused(client: Client, header: tuple[str, str]) -> None:
    [refused] = client.publish(Publish("x", b"", headers=(header,))).refused
    assert (refused.code, refused.retry) == ("usage", False)
    assert refused.text.startswith("headers that may not travel: ")
    assert refused.text.isprintable()


def test_a_listener_hears_in_order_with_numbers_from_one(client: Client) -> None:
    listening(client, 5, "x", 100)
    client.publish(*[Publish("x", b"%d" % n) for n in range(10)])
    heard = client.hear(relay.Heard)
    assert (heard.listener, heard.first, [m.payload for m in heard.messages]) == (5, 1, [b"%d" % n for n in range(10)])
    client.publish(Publish("x", b"next"))
    assert client.hear(relay.Heard).first == 11


def test_without_credit_the_newest_are_left_out_and_show_as_a_gap(client: Client) -> None:
    listening(client, 5, "x", 3)
    client.publish(*[Publish("x", b"%d" % n) for n in range(5)])
    assert [m.payload for m in client.hear(relay.Heard).messages] == [b"0", b"1", b"2"]
    client.publish(Publish("x", b"5"))
    client.say(relay.Grant(5, 1))
    client.publish(Publish("x", b"6"))
    gap, heard = client.hear(relay.Heard), client.hear(relay.Heard)
    assert (gap.first, gap.messages) == (7, [])
    assert (heard.first, heard.messages[0].payload) == (7, b"6")


def test_a_listener_that_begins_with_less_than_no_credit_hears_nothing_until_it_grants(client: Client) -> None:
    listening(client, 5, "x", -2)
    client.publish(*[Publish("x", b"%d" % n) for n in range(5)])
    client.say(relay.Grant(5, 1))
    gap = client.hear(relay.Heard)
    assert (gap.first, gap.messages) == (6, [])


def test_a_listener_that_grants_nothing_has_a_few_mib_waiting_for_it_whatever_its_credit(client: Client) -> None:
    listening(client, 5, "x", 4096)
    heavy = Publish("x", bytes(1 << 20))
    for _ in range(20):
        client.publish(heavy)
    heard = [client.hear(relay.Heard).first for _ in range(16)]
    assert heard == list(range(1, 17))
    client.publish(Publish("x", b"light"))
    client.say(relay.Grant(5, 1))
    client.publish(heavy)
    gap, heard = client.hear(relay.Heard), client.hear(relay.Heard)
    assert (gap.first, gap.messages, heard.first) == (22, [], 22), "21 came before it, five of which were left out"
    assert client.status()["ingest"]["left_out"] == 5


def test_a_gap_that_nothing_follows_is_told_once(client: Client) -> None:
    listening(client, 5, "x", 1)
    client.publish(Publish("x", b"heard"), Publish("x", b"left out"))
    client.hear(relay.Heard)
    client.say(relay.Grant(5, 1))
    gap = client.hear(relay.Heard)
    assert (gap.first, gap.messages) == (3, [])
    client.say(relay.Grant(5, 1))
    client.publish(Publish("x", b"again"))
    heard = client.hear(relay.Heard)
    assert (heard.first, [m.payload for m in heard.messages]) == (3, [b"again"])


def test_one_without_credit_costs_the_others_nothing(house: House, client: Client) -> None:
    stalled = house.client()
    listening(stalled, 1, "x", 0)
    listening(client, 1, "x", 10)
    client.publish(Publish("x", b"1"))
    assert client.hear(relay.Heard).messages[0].payload == b"1"


def test_much_that_is_heard_travels_in_several_words(client: Client) -> None:
    listening(client, 1, "x", 10)
    client.publish(*[Publish("x", bytes(200 << 10)) for _ in range(3)])
    assert [client.hear(relay.Heard).first for _ in range(3)] == [1, 2, 3]


def test_a_pattern_that_no_broker_has_is_refused(client: Client) -> None:
    client.say(relay.Listen(1, "a..b", 1))
    assert client.hear(relay.ListenRefused).code == "invalid-subject"
    client.say(relay.Listen(1, "x", 1, "nope"))
    refused = client.hear(relay.ListenRefused)
    assert (refused.listener, refused.code) == (1, "unknown-broker")


def test_a_listener_s_number_is_its_own(client: Client) -> None:
    listening(client, 1, "x", 1)
    client.say(relay.Listen(1, "y", 1))
    assert client.hear(relay.ListenRefused).code == "usage"


def test_a_client_that_goes_is_forgotten(house: House, client: Client) -> None:
    leaver = house.client()
    listening(leaver, 1, "x", 1000)
    leaver.dealer.close()

    def forgotten() -> bool:
        return client.publish(Publish("x", b"")).accepted[0].listeners == 0

    house.serve_until(forgotten, "the listener to be forgotten")


def test_a_client_that_says_nonsense_is_cut_off_and_others_are_not(house: House, client: Client) -> None:
    bad = house.client()
    listening(bad, 1, "x", 10)
    bad.dealer.send([b"\xc1"])
    bad.say(relay.AskStatus(1))
    house.serve_until(lambda: client.publish(Publish("x", b"")).accepted[0].listeners == 0)
    client.status()
    assert all(not isinstance(relay.from_ingest(one), relay.StatusAnswer) for one in bad.dealer.receive())


@pytest.mark.parametrize(("uid", "answers"), [(os.getuid(), 1), (0, 1), (os.getuid() + 12345, 0)])
def test_only_our_own_user_and_root_are_answered(uid: int, answers: int) -> None:
    desk = Desk(uid)
    desk.say(relay.AskStatus(1))
    assert len(desk.sent) == answers


def test_a_client_with_more_batches_unanswered_than_its_window_is_cut_off() -> None:
    desk = Desk(os.getuid())
    batches = [relay.Publishes(n, [Publish("x", b"")]) for n in range(relay.WINDOW + 1)]
    desk.say(*batches[:-1], relay.AskStatus(1))
    assert len(desk.sent) == 1
    desk.say(batches[-1], relay.AskStatus(2))
    assert len(desk.sent) == 1


def test_a_window_opens_again_with_every_answer() -> None:
    desk = Desk(os.getuid())
    for n in range(3 * relay.WINDOW):
        desk.say(relay.Publishes(n, [Publish("x", b"")]))
        desk.broker.confirm()
    assert len(desk.sent) == 3 * relay.WINDOW


def test_a_batch_longer_than_it_may_be_cuts_its_client_off() -> None:
    desk = Desk(os.getuid())
    desk.say(relay.Publishes(1, [Publish("x", b"")] * 257), relay.AskStatus(1))
    assert desk.sent == []


def on_a_loop(story: Callable[[], None]) -> None:
    async def tell() -> None:
        story()

    asyncio.run(tell())


def test_answers_that_a_late_reader_has_no_room_for_come_later_and_in_order() -> None:
    desk = Desk(os.getuid())

    def story() -> None:
        desk.full = True
        desk.say(*[relay.Publishes(n, [Publish("x", b"")]) for n in range(relay.WINDOW)])
        desk.broker.confirm()
        desk.say(relay.Listen(1, "x", 9), relay.Listen(1, "y", 9), relay.AskStatus(7))
        assert desk.sent == []
        desk.full = False
        desk.relay.flush()

    on_a_loop(story)
    answers, rest = desk.sent[: relay.WINDOW], desk.sent[relay.WINDOW :]
    assert [one.batch for one in answers if isinstance(one, relay.Published)] == list(range(relay.WINDOW))
    assert [type(one) for one in rest] == [relay.Listening, relay.ListenRefused, relay.StatusAnswer]
    desk.say(relay.AskStatus(8))
    assert desk.sent[-1] == relay.StatusAnswer(8, b"{}")


def test_answers_that_wait_bring_their_own_turn() -> None:
    desk = Desk(os.getuid())

    async def story() -> None:
        desk.full = True
        desk.say(relay.AskStatus(1))
        async with asyncio.timeout(10):
            await desk.turned.wait()
            desk.full = False
            desk.turned.clear()
            await desk.turned.wait()

    asyncio.run(story())
    assert desk.sent == [relay.StatusAnswer(1, b"{}")]


def test_a_window_stays_shut_while_its_answers_wait() -> None:
    desk = Desk(os.getuid())

    def story() -> None:
        desk.full = True
        desk.say(*[relay.Publishes(n, [Publish("x", b"")]) for n in range(relay.WINDOW)])
        desk.broker.confirm()
        desk.say(relay.Publishes(99, [Publish("x", b"")]))
        desk.full = False
        desk.relay.flush()
        desk.say(relay.AskStatus(1))

    on_a_loop(story)
    assert desk.sent == []


def test_a_client_with_more_answers_waiting_than_the_bound_is_cut_off() -> None:
    desk = Desk(os.getuid())

    def story() -> None:
        desk.full = True
        desk.say(*[relay.AskStatus(n) for n in range(UNSENT_LIMIT + 1)])
        desk.full = False
        desk.relay.flush()
        desk.say(relay.AskStatus(0))

    on_a_loop(story)
    assert desk.sent == []


def test_what_a_late_reader_does_not_hear_costs_it_no_credit() -> None:
    desk = Desk(os.getuid())
    desk.say(relay.Listen(1, "x", 2))
    note = desk.broker.on_messages["x"]
    desk.full = True
    note([Message("1", "x", b""), Message("2", "x", b"")])
    desk.full = False
    note([Message("3", "x", b""), Message("4", "x", b"")])
    heard = desk.sent[-1]
    assert isinstance(heard, relay.Heard)
    assert (heard.first, len(heard.messages), desk.relay.listeners.left_out) == (3, 2, 2)


def test_a_late_reader_that_grants_nothing_is_told_of_its_gap_when_clients_are_looked_at() -> None:
    desk = Desk(os.getuid())
    desk.say(relay.Listen(1, "x", 2))
    note = desk.broker.on_messages["x"]
    desk.full = True
    note([Message("1", "x", b"")])
    desk.relay.ping()
    assert not [word for word in desk.sent if isinstance(word, relay.Heard)]
    desk.full = False
    desk.relay.ping()
    desk.relay.ping()
    assert [word for word in desk.sent if isinstance(word, relay.Heard)] == [relay.Heard(1, 2, [])]
