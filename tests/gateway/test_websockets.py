from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from farm.client.blocking import Farm
from farm.wire.relay import Publish
from tests.client.stand_in import StandIn, eventually
from tests.gateway.family import Child

PAYLOADS = (b"Ada", b"\x00\xff", "grüß".encode())


def listen(child: Child, pattern: str, broker: str = "secondary", **extra: Any) -> ClientConnection:
    host, port = child.address(broker)
    return connect(f"ws://{host}:{port}/subscribe/{pattern}", **extra)


@pytest.fixture
def farm(ingest: StandIn) -> Iterator[Farm]:
    with Farm.connect(ingest.rundir) as one:
        yield one


def test_who_is_connected_hears_what_is_published_from_then_on(child: Child, farm: Farm) -> None:
    with listen(child, "good.*") as socket:
        receipt = farm.publish("good.bye", b"Goodbye", broker="secondary")
        assert receipt.listeners == 1
        assert socket.recv(10) == "Goodbye"


def test_a_thousand_messages_arrive_in_order(child: Child, farm: Farm) -> None:
    with listen(child, "n.*") as socket:
        tally = farm.publish_many(Publish("n.x", str(n).encode(), "secondary") for n in range(1000))
        assert tally.accepted == 1000
        assert [socket.recv(10) for _ in range(1000)] == [str(n) for n in range(1000)]


def test_many_sockets_are_one_listener_of_ingest_and_the_last_takes_it_along(child: Child, ingest: StandIn) -> None:
    sockets = [listen(child, "n.*") for _ in range(5)]
    other = listen(child, "m.*")
    assert ingest.listeners() == 2
    for one in (*sockets, other):
        one.close()
    eventually(lambda: ingest.listeners() == 0)
