"""What a client is told of its publishes, and when."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from farm.broker import Published
from farm.ingest import publishing
from farm.ingest.listeners import Listeners
from farm.ingest.publishing import NEAREST_SHARE, NEAREST_SPARE_S, Publishing
from farm.wire import relay
from farm.wire.relay import Publish
from tests.ingest.desk import Desk
from tests.ingest.pieces import Clock, ScriptedBroker


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


def test_what_was_perhaps_meant_is_looked_for_in_a_small_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    def slow(subject: str, _: Iterable[str]) -> str:
        clock.pass_(0.75 * NEAREST_SPARE_S)
        return f"near {subject}"

    monkeypatch.setattr(publishing, "nearest", slow)
    broker = ScriptedBroker("in")
    broker.published = Published(0, 0)
    listeners = Listeners({"in": broker}, lambda _, __: True, lambda: None)
    desk = Publishing({"in": broker}, [], listeners, clock)

    def hints(*subjects: str) -> list[str | None]:
        answers: list[relay.Published] = []
        desk.publish("0", relay.Publishes(1, [Publish(subject, b"") for subject in subjects]), answers.append)
        return [one.nearest for one in answers[0].accepted]

    assert hints("a", "b", "c", "d", "a") == ["near a", "near b", None, None, "near a"]
    clock.pass_(NEAREST_SPARE_S / NEAREST_SHARE)
    assert hints("c", "d") == ["near c", None]
