"""What NATS alone promises; the rest is in tests/contract."""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client

from farm.broker import Delivery, Published, Subscription
from farm.brokers.nats import NatsBroker
from farm.brokers.options.nats import NatsSpec
from farm.errors import BrokerUnavailable, InvalidSubject, NotPermitted, PayloadTooLarge
from farm.message import Message
from farm.spec import Secret
from farm.testing.rig import Ends, eventually, home_of, numbered, payloads
from tests.brokers import nats_house
from tests.brokers.nats_house import MakeServer
from tests.nats_client import flushed
from tests.servers import NatsServer

RESTARTS = 5
make_server = nats_house.make_server


@asynccontextmanager
async def farm_at(server: NatsServer, folder: Path, number: int = 0, **keys: Any) -> AsyncIterator[Ends]:
    spec = NatsSpec(name="test", type="nats", servers=(f"127.0.0.1:{server.port}",))
    ends = await Ends(NatsBroker(replace(spec, **keys), home_of(folder / "home", number))).start()
    yield ends
    await ends.broker.close()


@asynccontextmanager
async def client_of(server: NatsServer) -> AsyncIterator[Client]:
    async def ignore(_: Exception) -> None:
        """nats-py would print them."""

    client = await nats.connect(
        f"nats://127.0.0.1:{server.port}", max_reconnect_attempts=-1, reconnect_time_wait=0, error_cb=ignore
    )
    yield client
    await client.close()


def answering(ends: Ends, number: int, topic: str) -> list[Delivery]:
    """A trigger whose messages are answered, as a component's outputs would be."""
    came: list[Delivery] = []

    def handle(deliveries: Sequence[Delivery]) -> None:
        came.extend(deliveries)
        outputs = [
            Message(f"{one.message.id}:0", one.message.reply_to, b"re: " + one.message.payload, cause=one.message.id)
            for one in deliveries
            if one.message.reply_to
        ]
        ends.broker.publish(outputs, lambda _: None, checked=True)
        ends.broker.settle(deliveries)
        ends.broker.grant(number, len(deliveries))

    ends.broker.deliver(Subscription(number, topic), handle)
    ends.broker.grant(number, 64)
    return came


async def test_a_thousand_requests_of_a_nats_client_are_in_flight_at_once(
    tmp_path: Path, make_server: MakeServer
) -> None:
    server = make_server()
    async with farm_at(server, tmp_path) as ends, client_of(server) as client:
        came = answering(ends, 0, "svc.*")
        await ends.ready("svc.ready", came)
        asked = [client.request(f"svc.{n % 7}", f"{n}".encode(), timeout=20) for n in range(1000)]
        answers = await asyncio.gather(*asked)
        assert [answer.data for answer in answers] == [f"re: {n}".encode() for n in range(1000)]


async def test_a_request_of_ours_is_answered_by_a_nats_client(tmp_path: Path, make_server: MakeServer) -> None:
    server = make_server()
    async with farm_at(server, tmp_path) as ends, client_of(server) as client:

        async def respond(message: Any) -> None:
            await message.respond(b"re: " + message.data)

        await client.subscribe("svc", cb=respond)
        await flushed(client)
        came = ends.trigger(0, "answers.*", granted=100)
        await ends.ready("answers.x", came)
        await ends.publish(Message("id", "svc", b"hi", reply_to="answers.1"))
        await eventually(lambda: payloads(came) == [b"re: hi"], "the answer")
        assert came[-1].message.subject == "answers.1"


async def test_triggers_of_one_topic_get_the_same_message(tmp_path: Path, make_server: MakeServer) -> None:
    server = make_server()
    async with farm_at(server, tmp_path) as ends, client_of(server) as client:
        first, second = ends.trigger(0, "a", granted=10), ends.trigger(1, "a", granted=10)
        await ends.ready("a", first, second)
        await client.publish("a", b"x")
        await eventually(lambda: payloads(first) == payloads(second) == [b"x"], "both")
        assert first[-1].message.id == second[-1].message.id != ""


async def test_no_wildcard_reaches_what_is_reserved(tmp_path: Path, make_server: MakeServer) -> None:
    server = make_server()
    async with farm_at(server, tmp_path) as ends, client_of(server) as client:
        came = ends.trigger(0, ">", granted=1000)
        named = ends.trigger(1, "farm.dlq.>", granted=1000)
        await ends.ready("a", came)
        for subject in ("_INBOX.x", "farm.dlq.x", "$X.y", "farmer.x"):
            await client.publish(subject, subject.encode())
        await client.publish("mark", b"mark")
        await eventually(lambda: b"mark" in payloads(came), "the mark")
        assert payloads(came) == [b"farmer.x", b"mark"]
        assert payloads(named) == [b"farm.dlq.x"]


async def test_what_another_client_fetches_of_a_stream_is_not_heard_again(
    tmp_path: Path, make_server: MakeServer
) -> None:
    server = make_server(jetstream=True)
    async with farm_at(server, tmp_path) as ends, client_of(server) as client:
        stream = client.jetstream()
        await stream.add_stream(name="letters", subjects=["a.b"])
        came = [ends.trigger(n, topic, granted=1000) for n, topic in enumerate((">", "*.>"))]
        heard, _ = ends.listener(">")
        await ends.ready("x.y", *came)
        mine = await stream.pull_subscribe("a.b", "mine")
        await stream.publish("a.b", b"once")
        for fetched in await mine.fetch(1, timeout=10):
            await fetched.ack_sync()
        await client.publish("a.b", b"mark")
        await eventually(lambda: all(b"mark" in payloads(one) for one in (*came, heard)), "the mark")
        assert [payloads(one) for one in (*came, heard)] == [[b"once", b"mark"]] * 3


async def test_a_subject_that_the_server_forbids_is_refused_and_its_neighbours_are_not(
    tmp_path: Path, make_server: MakeServer
) -> None:
    permissions = '{ publish: { deny: "secret.>" }, subscribe: { deny: "secret.>" } }'
    server = make_server(f"authorization {{ users: [ {{ user: u, password: p, permissions: {permissions} }} ] }}")
    password = tmp_path / "password"
    password.write_text("p")
    async with farm_at(server, tmp_path, user="u", password=Secret(file=password)) as ends:
        first, bad, last = Message("1", "a", b""), Message("2", "secret.x", b""), Message("3", "b", b"")
        answers = await ends.publish(first, bad, last)
        assert [type(answer) for answer in answers] == [Published, NotPermitted, Published]
        assert str(answers[1]) == "cannot publish to 'secret.x' (test): the server does not permit it"
        [answer] = await ends.publish(Message("4", "a", b"", reply_to="$JS.ACK.x"))
        assert isinstance(answer, NotPermitted)
        ends.listener("secret.y")
        await ends.publish(first)
        assert ends.broker.state == "up", "one of many listeners is not the broker"
        ends.trigger(0, "secret.*", granted=1)
        await eventually(lambda: ends.broker.state == "down", "the broker to say so")
        assert ends.broker.fault.endswith(": it refuses the subscription to secret.*")
        assert isinstance((await ends.publish(first))[0], Published)
        server.kill()
        await eventually(lambda: "closed" in ends.broker.fault or "reset" in ends.broker.fault, "the end to be seen")
        server.start()
        await eventually(
            lambda: "it refuses the subscription" in ends.broker.fault, "the same fault on the next connection"
        )


async def test_what_is_too_large_for_the_server_is_refused_and_nothing_is_cut(
    tmp_path: Path, make_server: MakeServer
) -> None:
    server = make_server("max_payload: 60000")
    async with farm_at(server, tmp_path) as ends:
        assert ends.broker.payload_limit_bytes == 60_000 - (16 << 10)
        much = tuple((f"x-{n}", "v" * 1000) for n in range(30))
        largest = bytes(ends.broker.payload_limit_bytes)
        answers = await ends.publish(
            Message("1", "a", largest), Message("2", "a", largest + b"x"), Message("3", "a", largest, much)
        )
        assert [type(answer) for answer in answers] == [Published, PayloadTooLarge, PayloadTooLarge]
        assert ends.broker.counters.gaps == 0


async def test_an_answer_subject_that_would_be_another_command_is_refused(
    tmp_path: Path, make_server: MakeServer
) -> None:
    server = make_server()
    async with farm_at(server, tmp_path) as ends:
        answers = await ends.publish(Message("1", "a", b"", reply_to="x 0\r\n\r\nPUB b"), Message("2", "a", b""))
        assert [type(answer) for answer in answers] == [InvalidSubject, Published]


async def test_a_farm_that_ends_gets_what_was_on_its_way_and_no_more(tmp_path: Path, make_server: MakeServer) -> None:
    server = make_server()
    async with farm_at(server, tmp_path) as ends, farm_at(server, tmp_path, 1) as other:
        came, others = ends.trigger(0, "q", granted=1000, group="g"), other.trigger(0, "q", granted=1000, group="g")
        heard, _ = ends.listener("q.*")
        kept = ends.trigger(1, "q.*", granted=1000)
        await ends.ready("q", came)
        await ends.ready("q", others)
        await ends.ready("q.x", kept, heard)
        ends.broker.publish(numbered(50, "q"), lambda _: None)
        ends.broker.quiet()
        await eventually(lambda: len(payloads(came)) + len(payloads(others)) == 50, "all of them")
        del came[:]
        await other.publish(*numbered(50, "q", first=50), Message("m", "q.x", b"mark"))
        await eventually(lambda: payloads(heard) == [b"mark"], "what a listener hears")
        await eventually(lambda: len(set(payloads(others))) >= 50, "all, at the other farm")
        assert (came, payloads(kept)) == ([], [])


async def test_a_farm_that_reads_too_slowly_for_its_server_is_cut_off_and_that_is_a_gap(
    tmp_path: Path, make_server: MakeServer
) -> None:
    server = make_server("max_pending: 1MB")
    async with farm_at(server, tmp_path) as ends:
        came = ends.trigger(0, "a", granted=1000)
        await ends.ready("a", came)
        with socket.create_connection(("127.0.0.1", server.port)) as other:  # farm's loop stands still meanwhile
            other.sendall(b'CONNECT {"verbose":false}\r\n')
            while b"Slow Consumer" not in server.log.encode():
                other.sendall(b"PUB a 100000\r\n%s\r\n" % bytes(100_000) * 10)
        await eventually(lambda: ends.broker.counters.gaps >= 1 and ends.broker.state == "up", "farm to be back")
        del came[:]
        ends.broker.grant(0, 100_000)
        await ends.ready("a", came)
        assert any(state == "down" for state, _ in ends.states)


async def test_a_message_whose_headers_are_nobodys_is_delivered(tmp_path: Path, make_server: MakeServer) -> None:
    server = make_server()
    async with farm_at(server, tmp_path) as ends:
        came = ends.trigger(0, "a", granted=1000)
        await ends.ready("a", came)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
        for block in (b"NATS/1.0\r\n\xff: \xfe\r\nnone\r\n\r\n", b"rubbish", b"NATS/1.0 503\r\n\r\n"):
            writer.write(b"HPUB a $X.y %d %d\r\n%s1\r\n" % (len(block), len(block) + 1, block))
        writer.write(b"PING\r\n")
        await reader.readuntil(b"PONG\r\n")
        await eventually(lambda: payloads(came) == [b"1"] * 3, "all three")
        assert {delivery.message.reply_to for delivery in came[-3:]} == {None}
        writer.close()


async def test_after_each_of_five_restarts_under_load_subscriptions_are_back_and_the_gap_is_counted(
    tmp_path: Path, make_server: MakeServer, record_property: Callable[[str, object], None]
) -> None:
    server = make_server()
    async with farm_at(server, tmp_path) as ends, client_of(server) as client:
        came = ends.trigger(0, "load", granted=1_000_000)
        queued = ends.trigger(1, "load", granted=1_000_000, group="g")
        heard, _ = ends.listener("load")
        load = asyncio.create_task(_publish_for_ever(client, "load"))
        back_s: list[float] = []
        for restart in range(RESTARTS):
            await eventually(lambda: bool(came and queued and heard), "messages")
            (server.kill if restart % 2 else server.stop)()
            await eventually(lambda: ends.broker.state != "up", "the end to be seen")
            [answer] = await ends.publish(*numbered(1, "elsewhere"))
            assert isinstance(answer, BrokerUnavailable)
            server.start()
            began_s = time.monotonic()
            await eventually(lambda: ends.broker.state == "up", "the broker to be up again")
            del came[:], queued[:], heard[:]
            await ends.ready("load", came, queued, heard)
            back_s.append(time.monotonic() - began_s)
        load.cancel()
        with suppress(asyncio.CancelledError):
            await load
        assert ends.broker.counters.gaps == RESTARTS
        record_property("subscriptions back, median of 5, s", round(statistics.median(back_s), 3))


async def _publish_for_ever(client: Client, subject: str) -> None:
    while True:
        with suppress(nats.errors.Error):
            for _ in range(100):
                await client.publish(subject, b"load")
        await asyncio.sleep(0.01)


async def test_that_nobody_answers_a_request_is_no_message_for_a_trigger(
    make_server: MakeServer, tmp_path: Path
) -> None:
    """A server may send the words "no responders" to where the answer was to go: they are nobody's payload."""
    async with farm_at(make_server(), tmp_path) as ends:
        came = ends.trigger(0, "answers.a", granted=1000)
        heard, _ = ends.listener("answers.*")
        await ends.ready("answers.a", came, heard)
        await ends.publish(Message("1", "nobody.listens", b"?", reply_to="answers.a"))
        await ends.publish(Message("2", "answers.a", b"mark"))
        await eventually(lambda: b"mark" in payloads(came) and b"mark" in payloads(heard), "the mark")
        assert payloads(came) == payloads(heard) == [b"mark"]
