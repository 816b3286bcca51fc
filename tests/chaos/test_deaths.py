"""Processes that die, guests that misbehave: what CONTRACT promises, on a real farm."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from farm.wire.relay import Publish
from tests.guests import wat
from tests.system.family import Family, family, wait_until

WORKERS = 4

MANIFEST = """
[app]
name = "chaos"
[brokers.test]
type = "memory"
[components.slow]
source = "slow.wasm"
deadline = "10s"
triggers = [{ broker = "test", topic = "slow", publish = { subject = "done" }, backoff = ["20ms"], attempts = 20 }]
[components.nap]
source = "sleep.wasm"
deadline = "10s"
triggers = [{ broker = "test", topic = "nap", publish = { subject = "done" }, backoff = ["20ms"], attempts = 20 }]
[components.echo]
source = "echo.wasm"
triggers = [{ broker = "test", topic = "echo", publish = { subject = "done" } }]
[components.spin]
source = "spin.wasm"
deadline = "200ms"
triggers = [{ broker = "test", topic = "spin", publish = { subject = "done" }, backoff = ["20ms"], attempts = 2 }]
[components.sleep]
source = "sleep.wasm"
deadline = "300ms"
triggers = [{ broker = "test", topic = "sleep", publish = { subject = "done" }, backoff = ["20ms"], attempts = 2 }]
[components.fail]
source = "fail.wasm"
triggers = [{ broker = "test", topic = "fail", publish = { subject = "done" }, backoff = ["20ms"], attempts = 3 }]
"""
GUESTS = ("slow", "echo", "spin", "sleep", "fail")


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Family]:
    with family(tmp_path, MANIFEST, {name: wat.wasm(name) for name in GUESTS}) as made:
        made.up(WORKERS)
        yield made


def dead_letters(farm: Family) -> list[dict[str, object]]:
    path = farm.rundir.dead_letters
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_twenty_killed_workers_lose_no_message(farm: Family) -> None:
    """Each kill hits a worker in mid-call, under load: every message is handled, and N workers stand again."""
    count = 0
    chooser = random.Random(7)
    killed: set[int] = set()
    with farm.connect() as client:
        while len(killed) < 20:
            pids = whole_crew(farm, killed)
            if client.status(5.0)["components"]["nap"]["waiting"] < 200:
                count += client.publish_many(Publish("nap", b"10") for _ in range(500)).accepted  # 10 ms each
            victim = chooser.choice(pids)
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
    farm.wait_settled(120)
    nap = farm.component("nap")
    assert nap["received"] == nap["handled"] == count, dead_letters(farm)
    assert nap["failed"] == nap["retried"] > 0, "a kill that hit no call proves nothing"
    whole_crew(farm, killed)
    farm.wait_ready()


def whole_crew(farm: Family, killed: set[int]) -> list[int]:
    """The pids of all workers, once every killed one has been replaced."""
    wait_until(lambda: len(set(farm.pids("worker")) - killed) == WORKERS, "the worker to be back")
    return farm.pids("worker")


def test_a_guest_that_loops_for_ever_is_stopped_and_its_worker_goes_on(farm: Family) -> None:
    before = farm.pids("worker")
    with farm.connect() as client:
        for _ in range(WORKERS):
            client.publish("spin", b"")
    wait_until(lambda: farm.component("spin")["dead_lettered"] == WORKERS, "all to be given up")
    with farm.connect() as client:
        client.publish("echo", b"x")
    wait_until(lambda: farm.component("echo")["handled"] == 1, "the next message")
    assert farm.pids("worker") == before, "no worker died of it"
    spin = farm.component("spin")
    assert (spin["failed"], spin["retried"], spin["last_error"]["kind"]) == (2 * WORKERS, WORKERS, "timeout")


def test_a_guest_that_hangs_where_epochs_do_not_reach_costs_its_worker_and_no_message(farm: Family) -> None:
    with farm.connect() as client:
        client.publish("sleep", b"60000")
        client.publish("echo", b"x")
    wait_until(lambda: farm.component("sleep")["dead_lettered"] == 1, "the sleeper to be given up")
    wait_until(lambda: farm.component("echo")["handled"] == 1, "the other message")
    farm.wait_ready()
    assert sum(p["restarts"] for p in farm.status()["processes"]) == 2


def test_what_is_behind_a_long_call_does_not_wait_for_it(farm: Family) -> None:
    quick, behind = 400, 200
    with farm.connect() as client:
        client.publish_many(Publish("nap", b"0") for _ in range(quick))
        wait_until(lambda: farm.component("nap")["handled"] == quick, "the component to be known as quick")
        client.publish_many(Publish("nap", b"8000" if n == 0 else b"0") for n in range(behind))
    done = {"handled": quick + behind - 1, "in_flight": 1, "waiting": 0}
    wait_until(lambda: done.items() <= farm.component("nap").items(), "all but the long call", 7.0)
    wait_until(lambda: farm.component("nap")["handled"] == quick + behind, "the long call as well")
    assert farm.component("nap")["failed"] == 0


def test_a_failure_is_tried_again_as_the_trigger_says_and_then_kept(farm: Family) -> None:
    with farm.connect() as client:
        receipt = client.publish("fail", b"error")
    wait_until(lambda: farm.component("fail")["dead_lettered"] == 1, "the dead letter")
    fail = farm.component("fail")
    assert (fail["failed"], fail["retried"], fail["handled"]) == (3, 2, 0)
    assert fail["last_error"]["message_id"] == receipt.id
    (letter,) = dead_letters(farm)
    assert letter["id"] == receipt.id
    assert letter["attempts"] == 3
    assert letter["version"] == 1
    assert fail["last_error"]["text"] == "ValueError: bad total (hello.py:28)"


def test_no_process_outlives_a_supervisor_that_is_killed(farm: Family) -> None:
    assert farm.process is not None
    children = psutil.Process(farm.process.pid).children(recursive=True)
    assert len(children) == WORKERS + 1
    os.kill(farm.process.pid, signal.SIGKILL)
    farm.process.wait(30)
    wait_until(lambda: not any(alive(child) for child in children), "the orphans to be gone")


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_worker_whose_compiled_component_has_gone_gets_another_one(farm: Family) -> None:
    for path in farm.rundir.cache.glob("*.cwasm"):
        path.unlink()
    pid = farm.pids("worker")[0]
    os.kill(pid, signal.SIGKILL)
    whole_crew(farm, {pid})
    farm.wait_ready()
    logged = [json.loads(line) for line in farm.log_text().splitlines()]
    again = [one["component"] for one in logged if one["event"].endswith("compiling it again")]
    assert len(again) == len(set(again)) > 0
    with farm.connect() as client:
        client.publish("echo", b"x")
    wait_until(lambda: farm.component("echo")["handled"] == 1, "a message")


def test_a_drain_finishes_what_is_in_flight_and_then_nothing_is_left(farm: Family) -> None:
    with farm.connect() as client, client.subscribe("done") as heard:
        client.publish("slow", b"300")
        wait_until(lambda: farm.component("slow")["in_flight"] == 1, "the call to run")
        assert farm.process is not None
        farm.process.send_signal(signal.SIGTERM)
        word = next(iter(heard))
    assert getattr(word, "payload", None) == b"300"
    assert farm.process.wait(60) == 0
    assert not list(farm.rundir.runtime.glob("*.sock"))


def test_ingest_comes_back_and_serves_and_says_what_was_lost(farm: Family) -> None:
    (pid,) = farm.pids("ingest")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: farm.pids("ingest") not in ([], [pid]), "ingest to be back")
    farm.wait_ready()
    with farm.connect() as client:
        client.publish("echo", b"x")
    wait_until(lambda: farm.component("echo")["handled"] == 1, "a message through the new ingest")
    assert farm.counters()["brokers"]["test"]["gaps"] >= 1


def test_a_stopped_worker_is_replaced_and_its_message_runs_elsewhere(farm: Family) -> None:
    with farm.connect() as client:
        client.publish("slow", b"100")
        wait_until(lambda: farm.component("slow")["handled"] == 1, "the component to be known")
        for pid in farm.pids("worker")[:2]:
            os.kill(pid, signal.SIGSTOP)
        for _ in range(20):
            client.publish("slow", b"5")
    wait_until(lambda: farm.component("slow")["handled"] == 21, "every message", 90)
    farm.wait_ready()
