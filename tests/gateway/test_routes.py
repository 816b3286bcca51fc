from __future__ import annotations

from farm.wire.relay import Publish
from tests.client.stand_in import StandIn
from tests.gateway.family import Wire


def test_a_publish_is_answered_once_ingest_has_it(wire: Wire, ingest: StandIn) -> None:
    reply = wire.request("POST", "/publish/hello.world", b"Ada")
    assert (reply.status, reply.body) == (202, b"published to subject")
    assert reply.headers["farm-message-id"]
    assert reply.headers["farm-matched"] == "1"
    assert ingest.publishes == [Publish("hello.world", b"Ada", "test")]
