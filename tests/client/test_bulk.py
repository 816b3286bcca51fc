from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.client import bulk
from farm.client.blocking import Farm
from farm.client.bulk import Bulk
from farm.client.session import News, Session
from farm.wire.relay import Accepted, Publish, Published, Publishes, Refusal
from tests.client.stand_in import StandIn, rundir_in


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn(rundir_in(tmp_path)) as one:
        yield one


@pytest.fixture
def farm(ingest: StandIn) -> Iterator[Farm]:
    with Farm.connect(ingest.rundir) as one:
        yield one


def test_many_large_messages_are_all_published(farm: Farm, ingest: StandIn) -> None:
    tally = farm.publish_many(Publish("n.x", b"x" * 100_000) for _ in range(600))
    assert (tally.accepted, tally.refused, tally.left) == (600, 0, 0)
    assert len(ingest.publishes) == 600


def test_the_source_is_left_alone_while_a_mebibyte_waits() -> None:
    taken: list[int] = []

    def items() -> Iterator[Publish]:
        for n in range(600):
            taken.append(n)
            yield Publish("n.x", b"x" * 100_000)

    def nothing(_: float) -> list[News]:
        return []

    session = Session()
    tally = Bulk(nothing, session, items(), wait=True).run(0.0, None)
    assert taken == list(range(11))
    assert (tally.accepted, tally.refused, tally.left) == (0, 0, 11)
    assert session.waiting_count == 11


def test_what_has_no_room_at_all_right_now_is_kept_and_goes_later(
    farm: Farm, ingest: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "FEED_LIMIT_BYTES", 1 << 30)
    tally = farm.publish_many(Publish("n.x", b"%03d" % n + b"x" * 1_000_000) for n in range(40))
    assert (tally.accepted, tally.refused, tally.left) == (40, 0, 0)
    assert [int(one.payload[:3]) for one in ingest.publishes] == list(range(40))


def test_what_a_restart_left_unanswered_is_offered_again_with_the_same_key(farm: Farm, ingest: StandIn) -> None:
    def items() -> Iterator[Publish | None]:
        ingest.silent = True
        for n in range(10):
            yield Publish("n.x", str(n).encode())
        while len(ingest.publishes) < 10:
            yield None
        ingest.silent = False
        ingest.restart()

    assert farm.publish_many(items()).accepted == 10
    first, again = ingest.publishes[:10], ingest.publishes[10:]
    assert first == again
    assert None not in {one.key for one in first}
    assert len({one.key for one in first}) == 10


def test_two_runs_share_no_key(farm: Farm, ingest: StandIn) -> None:
    for _ in range(2):
        farm.publish_many([Publish("n.x", b"")])
    assert len({one.key for one in ingest.publishes}) == 2


def test_what_has_a_key_keeps_it(farm: Farm, ingest: StandIn) -> None:
    farm.publish_many([Publish("n.x", b"", key="mine")])
    assert [one.key for one in ingest.publishes] == ["mine"]


def test_what_is_offered_once_needs_no_key(farm: Farm, ingest: StandIn) -> None:
    farm.publish_many([Publish("n.x", b"")], wait=False)
    assert [one.key for one in ingest.publishes] == [None]


def test_a_full_farm_is_offered_about_as_much_as_it_takes() -> None:
    """A farm with room for 100 at a time: what it must refuse stays in proportion to what it takes."""
    session = Session()
    offered = 0

    def turn(wait_s: float) -> list[News]:
        nonlocal offered
        news: list[News] = []
        room = 100
        for word in session.outgoing():
            assert isinstance(word, Publishes)
            offered += len(word.items)
            places = range(len(word.items))
            taken = [Accepted(place, "id", 1, 0) for place in places[:room]]
            refused = [Refusal(place, "broker_full", "full", retry=True) for place in places[room:]]
            room = max(0, room - len(word.items))
            news += session.hear(Published(word.batch, taken, refused, "test"))
        clock.now_s += wait_s
        return news

    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(bulk, "time", clock)
        tally = Bulk(turn, session, (Publish("n.x", b"") for _ in range(20_000)), wait=True).run(30.0, None)
    assert tally.accepted == 20_000
    assert offered < 1.5 * 20_000


class Clock:
    """Stands in for the module `time` where nothing but waiting takes any."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s
