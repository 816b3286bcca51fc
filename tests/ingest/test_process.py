"""A whole ingest, with its real links; the workers are the test's."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.brokers.memory import MemoryBroker
from farm.errors import NotPermitted
from farm.ingest import crew, process
from farm.invocation import Failed, Finished, Invoke, Output
from farm.spec import PublishSpec, TriggerSpec
from farm.wire import relay, work
from farm.wire.lifeline import Quiet, Restart
from farm.wire.relay import Publish
from tests.ingest.farmhouse import EXAMPLE, House, component, farm_spec, house_of, until

ONE = farm_spec(component("c", TriggerSpec("test", "t", PublishSpec("test", "out"), 3, (0.001,))))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with house_of(ONE, tmp_path) as house:
        yield house


def never(_: Invoke) -> None:
    """A call that does not end."""


def fails(_: Invoke) -> Failed:
    return Failed("guest_error", "ValueError: bad total (hello.py:28)")


def counts(house: House) -> dict[str, int]:
    return house.client().status()["components"]["c"]


def settled(house: House) -> bool:
    now = counts(house)
    return now["in_flight"] == now["waiting"] == 0


def test_a_message_goes_through_both_components_and_to_a_listener(tmp_path: Path) -> None:
    with house_of(EXAMPLE, tmp_path) as house:
        house.worker()
        client = house.client()
        client.say(relay.Listen(1, "good.*", 10, "secondary"))
        assert client.hear(relay.Listening) == relay.Listening(1, "secondary")
        answer = client.publish(Publish("hello.world", b"Ada"))
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


def test_every_one_of_many_messages_is_handled_once(house: House) -> None:
    for _ in range(3):
        house.worker()
    client, total = house.client(), 5000
    for batch in range(0, total, 250):
        client.publish(*[Publish("t", b"%d" % (batch + n)) for n in range(250)])
    house.serve_until(lambda: sum(len(worker.seen) for worker in house.workers) >= total and settled(house))
    seen = sorted(int(invoke.payload) for worker in house.workers for invoke in worker.seen)
    assert seen == list(range(total))
    now = counts(house)
    assert (now["received"], now["handled"], now["failed"]) == (total, total, 0)


def test_a_worker_that_dies_in_mid_call_loses_nothing_and_only_its_call_counts(house: House) -> None:
    house.worker(never)
    client = house.client()
    client.publish(Publish("t", b"1"), Publish("t", b"2"))
    house.serve_until(lambda: len(house.workers[0].seen) == 2)
    first, second = house.workers[0].seen
    house.workers[0].slot.start(first.seq, time.monotonic_ns(), 0)
    house.workers.pop(0).die()
    worker = house.worker()
    house.serve_until(lambda: len(worker.seen) == 2 and settled(house))
    assert {(one.id, one.attempt) for one in worker.seen} == {(first.id, 2), (second.id, 1)}
    now = counts(house)
    assert (now["handled"], now["failed"], now["retried"]) == (2, 1, 1)
    assert house.client().status()["components"]["c"]["last_error"]["kind"] == "died"


def test_a_worker_that_was_killed_for_being_late_timed_out(house: House) -> None:
    worker = house.worker(never)
    house.client().publish(Publish("t", b"1"))
    house.serve_until(lambda: worker.seen)
    house.workers.remove(worker)
    worker.die(late=True)
    house.worker()
    house.serve_until(lambda: counts(house)["handled"] == 1)
    assert house.client().status()["components"]["c"]["last_error"]["kind"] == "timeout"


def test_what_a_worker_had_sent_before_it_died_is_read_first(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "GONE_WAIT_S", 2.0)  # a busy machine brings it late
    worker = house.worker()
    house.client().publish(Publish("t", b"1"))
    house.serve_until(lambda: worker.seen)
    house.workers.remove(worker)
    worker.die()
    house.worker()
    house.serve_until(lambda: settled(house))
    now = counts(house)
    assert (now["handled"], now["failed"]) == (1, 0)


def test_results_for_another_life_of_ingest_are_dropped(house: House) -> None:
    worker = house.worker(never)
    client = house.client()
    client.publish(Publish("t", b"1"))
    house.serve_until(lambda: worker.seen)
    [invoke] = worker.seen
    answer = Finished(invoke.delivery, invoke.attempt, 5)
    worker.dealer.send(work.results(house.boot + 1, [answer]))
    worker.dealer.send(work.results(house.boot, []))
    assert counts(house)["in_flight"] == 1
    worker.dealer.send(work.results(house.boot, [answer]))
    house.serve_until(lambda: counts(house)["handled"] == 1)


def test_an_answer_twice_counts_once(house: House) -> None:
    worker = house.worker(never)
    client = house.client()
    client.publish(Publish("t", b"1"))
    house.serve_until(lambda: worker.seen)
    [invoke] = worker.seen
    answer = Finished(invoke.delivery, invoke.attempt, 5, [Output(b"out")])
    worker.dealer.send(work.results(house.boot, [answer, answer]))
    worker.dealer.send(work.results(house.boot, [answer]))
    house.serve_until(lambda: counts(house)["handled"] == 1)
    assert client.status()["brokers"]["test"]["published"] == 2


def test_a_worker_that_joins_before_it_was_named_gets_work_once_it_is(house: House) -> None:
    worker = house.worker(named=False)
    house.client().publish(Publish("t", b"1"))
    assert counts(house)["waiting"] == 1
    worker.name()
    house.serve_until(lambda: worker.seen)


def test_a_worker_that_joins_another_life_gets_nothing(house: House) -> None:
    stranger = house.worker(boot=house.boot + 1)
    house.client().publish(Publish("t", b"1"))
    good = house.worker()
    house.serve_until(lambda: good.seen)
    assert stranger.seen == []


def test_a_worker_whose_frames_do_not_parse_is_reported_and_gets_nothing_more(house: House) -> None:
    worker = house.worker(never)
    client = house.client()
    client.publish(Publish("t", b"1"))
    house.serve_until(lambda: worker.seen)
    worker.dealer.send([b"\xc1 nonsense"])
    word = house.word(Restart)
    assert word.worker == worker.id
    assert "does not parse" in word.why
    client.publish(Publish("t", b"2"))
    assert counts(house)["waiting"] == 1
    house.workers.remove(worker)
    worker.die()
    good = house.worker()
    house.serve_until(lambda: len(good.seen) == 2)


def test_a_failure_is_tried_again_and_then_kept(house: House) -> None:
    worker = house.worker(fails)
    client = house.client()
    [accepted] = client.publish(Publish("t", b"payload", key="order-7")).accepted
    house.serve_until(lambda: counts(house)["dead_lettered"] == 1)
    assert [invoke.attempt for invoke in worker.seen] == [1, 2, 3]
    status = client.status()["components"]["c"]
    assert (status["failed"], status["retried"], status["handled"]) == (3, 2, 0)
    error = status["last_error"]
    assert (error["kind"], error["message_id"]) == ("guest_error", accepted.id)
    assert error["text"] == "ValueError: bad total (hello.py:28)"
    [line] = [json.loads(line) for line in house.rundir.dead_letters.read_text().splitlines()]
    assert (line["reason"], line["attempts"], line["id"]) == ("attempts", 3, accepted.id)
    assert (line["payload"], line["error"]["kind"]) == ("payload", "guest_error")


def test_a_component_that_feeds_itself_ends_as_a_loop(tmp_path: Path) -> None:
    spec = farm_spec(component("c", TriggerSpec("test", "t", PublishSpec("test", "t"))))
    with house_of(spec, tmp_path) as house:
        house.worker()
        house.client().publish(Publish("t", b"1"))
        house.serve_until(lambda: counts(house)["dead_lettered"] == 1)
        now = counts(house)
        assert (now["received"], now["handled"]) == (17, 16)
        assert json.loads(house.rundir.dead_letters.read_text())["reason"] == "loop"


def test_large_payloads_go_both_ways(house: House) -> None:
    worker = house.worker()
    client = house.client()
    client.say(relay.Listen(1, "out", 10))
    client.hear(relay.Listening)
    payload = os.urandom(1 << 20)
    client.publish(Publish("t", payload))
    house.serve_until(lambda: worker.seen)
    assert client.hear(relay.Heard).messages[0].payload == payload


def test_a_drain_finishes_what_waits_and_ends_well(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    client = house.client()
    client.publish(*[Publish("t", b"%d" % n) for n in range(200)])
    client.say(relay.Listen(1, "out", 1000))
    client.hear(relay.Listening)
    worker = house.worker()
    house.lifeline.send(Quiet())
    assert house.drain() == 0
    assert len(worker.seen) == 200
    assert "messages dropped" not in "".join(capfd.readouterr())


def test_a_drain_without_time_that_has_nothing_to_finish_is_not_cut_short(
    house: House, capfd: pytest.CaptureFixture[str]
) -> None:
    assert house.drain(0.0) == 0
    assert "drain cut short" not in "".join(capfd.readouterr())


def test_at_a_drain_a_retry_has_one_attempt_more_and_is_then_a_dead_letter(tmp_path: Path) -> None:
    spec = farm_spec(component("c", TriggerSpec("test", "t", PublishSpec("test", "out"), 3, (3000.0,))))
    with house_of(spec, tmp_path) as house:
        worker = house.worker(fails)
        house.client().publish(Publish("t", b"1"))
        house.serve_until(lambda: worker.seen and counts(house)["waiting"] == 1)
        assert house.drain() == 0
        assert [invoke.attempt for invoke in worker.seen] == [1, 2], "one attempt more, not all that were left"
        assert house.rundir.dead_letters.read_text().count("\n") == 1


def test_a_drain_that_is_cut_short_counts_what_it_drops(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    client = house.client()
    client.publish(*[Publish("t", b"%d" % n) for n in range(200)])
    house.worker(never)
    house.serve_until(lambda: house.workers[0].seen)
    assert house.drain(0.1) == 0
    said = "".join(capfd.readouterr())
    assert "drain cut short" in said
    assert "messages dropped" in said
    assert "200" in said


def test_while_its_brokers_close_nothing_more_is_asked_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    at_once = MemoryBroker.close

    async def slow(broker: MemoryBroker) -> None:
        await at_once(broker)
        await asyncio.sleep(0.05)

    monkeypatch.setattr(MemoryBroker, "close", slow)
    with house_of(ONE, tmp_path) as house:
        house.worker(never)
        house.client().publish(*[Publish("t", b"%d" % n) for n in range(200)])
        house.serve_until(lambda: house.workers[0].seen)
        assert house.drain(0.1) == 0
    assert "internal error" not in "".join(capfd.readouterr())


def test_while_it_drains_clients_are_refused_for_now(house: House) -> None:
    client = house.client()
    house.worker(never)
    client.publish(Publish("t", b"1"))
    house.serve_until(lambda: house.workers[0].seen)
    house.start_drain()
    deadline = time.monotonic() + 20
    while not (refused := client.publish(Publish("t", b"2")).refused):
        assert time.monotonic() < deadline
    assert (refused[0].code, refused[0].retry) == ("broker-unavailable", True)


def test_it_promises_to_be_heard_of(house: House) -> None:
    assert house.board.slot(1).promised_ns() > time.monotonic_ns()


def test_a_life_says_what_is_not_kept_and_the_next_one_that_something_may_be_missing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with house_of(ONE, tmp_path) as house:
        assert {broker["gaps"] for broker in house.client().status()["brokers"].values()} == {0}
    assert "what waits here is lost if ingest dies" in "".join(capfd.readouterr())
    (tmp_path / "run" / "work.sock").touch()
    with house_of(ONE, tmp_path) as house:
        assert {broker["gaps"] for broker in house.client().status()["brokers"].values()} == {1}
    assert "what this broker held is lost with the ingest before" in "".join(capfd.readouterr())


def test_status_has_every_field_that_is_promised(house: House) -> None:
    status = house.client().status()
    broker = status["brokers"]["test"]
    assert set(broker) >= {
        "type",
        "at",
        "state",
        "fault",
        "gateway",
        "received",
        "published",
        "refused",
        "unmatched",
        "gaps",
        "dropped",
    }
    assert int(status["ingest"].pop("life"), 16) > 0
    assert status["ingest"] == {"stale": 0, "ignored": 0, "left_out": 0, "take_backs": 0, "taken_back": 0}
    assert (broker["type"], broker["state"], broker["gateway"]) == ("memory", "up", None)
    assert set(status["components"]["c"]) >= {
        "digest",
        "received",
        "handled",
        "failed",
        "retried",
        "dead_lettered",
        "in_flight",
        "waiting",
        "last_error",
        "set_aside",
    }


def test_what_waits_in_the_broker_waits_for_its_component(house: House) -> None:
    client = house.client()
    for _ in range(8):
        client.publish(*[Publish("t", b"") for _ in range(256)])
    now = counts(house)
    assert (now["received"], now["waiting"], now["in_flight"]) == (2048, 2048, 0)


def test_a_fault_of_our_own_ends_it_and_is_logged(
    house: House, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fault(_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(process.Relay, "flush", fault)
    house.client().say(relay.AskStatus(1))
    assert until(lambda: house.code) == 70
    said = "".join(capfd.readouterr())
    assert "internal error" in said
    assert "planted" in said


def test_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(0o700)
    (tmp_path / "state" / "dead-letters.jsonl").symlink_to("elsewhere")
    house = House(ONE, tmp_path)
    refused = until(lambda: house.refused)
    house.close()
    assert isinstance(refused, NotPermitted)
    assert "cannot open the dead-letter file" in str(refused)


ORPHAN = """
import sys, threading
from pathlib import Path
from farm.ingest.process import main
from farm.rundir import Rundir
from farm.wire.lifeline import Post, Ready, pair
from farm.wire.pulse import Board
from tests.ingest.farmhouse import EXAMPLE, until
folder = Path(sys.argv[1])
rundir, board = Rundir(folder / "state", folder / "run"), Board()
rundir.make()
parent, child = pair()
def die():
    until(lambda: any(isinstance(word, Ready) for word in parent.receive()))
    parent.close()
threading.Thread(target=die).start()
main(Post(EXAMPLE, rundir, "ingest", 0, b"", 1, child, board.slot(1), board))
"""


def test_without_its_supervisor_it_ends_at_once(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    script = textwrap.dedent(ORPHAN)
    ended = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=root, timeout=60, check=False)
    assert ended.returncode == 70
