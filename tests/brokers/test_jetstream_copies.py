"""Streams that copy others: mirrors, and streams with sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig, StreamSource, SubjectTransform

from farm.broker import Delivery
from farm.testing.rig import eventually, payloads
from tests.brokers import jetstream_house
from tests.brokers.jetstream_house import down, make_orders, running, up
from tests.servers import NatsServer

server, client = jetstream_house.server, jetstream_house.client

COPIES = {
    "a mirror": StreamConfig(name="COPY", mirror=StreamSource(name="ORDERS")),
    "sources": StreamConfig(name="COPY", sources=[StreamSource(name="ORDERS", filter_subject="orders.eu.>")]),
}


def streams_of(came: Sequence[Delivery]) -> set[str]:
    return {each.source_id.split(":")[1] for each in came}


@pytest.mark.parametrize("kind", COPIES)
async def test_a_copy_that_the_manifest_names_is_what_topics_are_taken_from(
    server: NatsServer, client: Client, tmp_path: Path, kind: str
) -> None:
    await make_orders(client)
    await client.jetstream().add_stream(COPIES[kind])
    await client.jetstream().add_stream(StreamConfig(name="BILLS", subjects=["bills.>"]))
    async with running(server, tmp_path, stream="COPY") as ends:
        came = ends.trigger(0, "orders.eu.*", granted=100)
        bills = ends.trigger(1, "bills.*", granted=100)
        await up(ends)
        await client.jetstream().publish("orders.eu.a", b"order")
        await client.jetstream().publish("bills.a", b"bill")
        await eventually(lambda: (payloads(came), payloads(bills)) == ([b"order"], [b"bill"]), "one for each")
        assert (streams_of(came), streams_of(bills)) == ({"COPY"}, {"BILLS"})
        ends.broker.settle([*came, *bills])


async def test_of_a_copy_whose_origin_is_elsewhere_nobody_knows_what_it_holds(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    await make_orders(client)
    await client.jetstream().publish("orders.a", b"old")
    await client.jetstream().add_stream(COPIES["a mirror"])
    await eventually_copied(client)
    await client.jetstream().delete_stream("ORDERS")
    async with running(server, tmp_path, stream="COPY") as ends:
        came = ends.trigger(0, "orders.*", granted=100)
        await eventually(lambda: payloads(came) == [b"old"], "what is in the copy")
        ends.broker.settle(came)


async def test_what_a_copy_does_not_hold_is_one_line(server: NatsServer, client: Client, tmp_path: Path) -> None:
    await make_orders(client)
    await client.jetstream().add_stream(COPIES["sources"])
    async with running(server, tmp_path, stream="COPY") as ends:
        ends.trigger(0, "parcels.*", granted=1)
        await down(ends, "stream COPY does not do", "parcels.*")


async def test_what_a_stream_stores_under_other_subjects_is_heard_by_these(
    server: NatsServer, client: Client, tmp_path: Path
) -> None:
    renaming = SubjectTransform(src="in.*", dest="out.{{wildcard(1)}}.new")
    await client.jetstream().add_stream(
        StreamConfig(name="RENAMED", subjects=["in.*", "as.it.is"], subject_transform=renaming)
    )
    await client.jetstream().add_stream(jetstream_house.LETTERS)
    async with running(server, tmp_path, stream="RENAMED") as ends:
        came = ends.trigger(0, "out.>", granted=100)
        plain = ends.trigger(1, "as.it.is", granted=100)
        await up(ends)
        await client.jetstream().publish("in.a", b"x")
        await client.jetstream().publish("as.it.is", b"y")
        await eventually(lambda: (payloads(came), payloads(plain)) == ([b"x"], [b"y"]), "one for each")
        assert came[0].message.subject == "out.a.new"
        ends.broker.settle([*came, *plain])
        ends.trigger(2, "in.*", granted=100)
        await down(ends, "stream RENAMED does not do", "it has nothing on in.*")
    async with running(server, tmp_path, number=1) as ends:
        ends.trigger(0, "in.*", granted=100)
        await down(ends, "nothing is stored under in.*", "stores it under as.it.is, out.*.new")


async def eventually_copied(client: Client) -> None:
    count = 0
    while not count:
        count = (await client.jetstream().stream_info("COPY")).state.messages
