"""What a client is told of its publishes, and when."""

from __future__ import annotations

import os

from farm.broker import Published
from farm.wire import relay
from farm.wire.relay import Publish
from tests.ingest.desk import Desk


async def test_a_publish_is_answered_at_the_end_of_the_turn_when_its_work_has_left() -> None:
    desk = Desk(os.getuid())
    desk.broker.later = False
    desk.busy = True
    desk.say(relay.Publishes(1, [Publish("hello.world", b"")]))
    assert desk.broker.took
    assert desk.sent == []
    desk.busy = False
    desk.turn()
    assert [type(word) for word in desk.sent] == [relay.Published]


async def test_what_the_server_says_of_a_publish_reaches_the_client() -> None:
    desk = Desk(os.getuid())
    desk.broker.later = False
    for triggers in (1, 0):
        desk.broker.published = Published(triggers, 0, sequence=17, receivers=3)
        desk.say(relay.Publishes(1, [Publish("hello.world", b"")]))
        [answer] = desk.sent
        desk.sent.clear()
        assert isinstance(answer, relay.Published)
        assert [(one.sequence, one.receivers) for one in answer.accepted] == [(17, 3)]
