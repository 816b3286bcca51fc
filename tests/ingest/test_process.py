from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.wire import relay
from tests.ingest.farmhouse import EXAMPLE, House, house_of


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with house_of(EXAMPLE, tmp_path) as house:
        yield house


def test_a_message_goes_through_both_components_and_to_a_listener(house: House) -> None:
    house.worker()
    client = house.client()
    client.say(relay.Listen(1, "good.*", 10, "secondary"))
    assert client.hear(relay.Listening) == relay.Listening(1, "secondary")
    answer = client.publish(relay.Publish("hello.world", b"Ada"))
    assert (answer.broker, answer.refused) == ("test", [])
    [accepted] = answer.accepted
    assert (accepted.triggers, accepted.listeners, accepted.nearest) == (1, 0, None)
    house.serve_until(lambda: len(house.workers[0].seen) >= 2)
    heard = client.hear(relay.Heard)
    assert (heard.listener, heard.first) == (1, 1)
    assert heard.messages == [relay.HeardMessage(f"{accepted.id}:hello:0", "good.bye", b"Ada")]
    hello, goodbye = house.workers[0].seen
    assert (hello.component, hello.id, hello.attempt, hello.broker) == ("hello", accepted.id, 1, "test")
    assert (goodbye.component, goodbye.broker, goodbye.subject) == ("goodbye", "secondary", "good.bye")
