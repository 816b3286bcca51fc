"""A real supervisor and its children, which here are stand-ins: births, deaths, and who hears of them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.control.conftest import Standins, alive, wait_until
from tests.control.standins import PROMISE_S


def test_the_ready_line_comes_when_everybody_is_ready(standins: Standins) -> None:
    standins.start(workers=3)
    line = standins.read_line()
    assert line.startswith("ready")
    assert "3 workers" in line
    found = standins.status()
    assert found is not None
    assert [(one.role, one.index, one.state) for one in found.processes] == [
        ("ingest", 0, "ready"),
        ("gateway", 0, "ready"),
        ("worker", 0, "ready"),
        ("worker", 1, "ready"),
        ("worker", 2, "ready"),
    ]
    assert standins.process is not None
    assert found.pid == standins.process.pid
    assert found.processes[0].note == "at work"


def test_ingest_hears_of_everybody_and_everybody_of_it(standins: Standins) -> None:
    standins.up(workers=2)
    for who in ("gateway-0", "worker-0", "worker-1"):
        peer = standins.wait_heard(who, word="Peer")
        assert (peer["role"], peer["boot"]) == ("ingest", standins.pid("ingest-0"))
        role, _, index = who.partition("-")
        told = standins.wait_heard("ingest-0", word="Peer", role=role, index=int(index))
        assert told["pid"] == standins.pid(who)
        assert told["id"] == standins.heard(who, what="begins")[-1]["id"]


def test_a_killed_worker_is_replaced_and_ingest_hears_what_it_did(standins: Standins) -> None:
    standins.does("worker-1", "call")
    standins.up(workers=2)
    killed = standins.pid("worker-1")
    os.kill(killed, signal.SIGKILL)
    gone = standins.wait_heard("ingest-0", word="Gone")
    assert gone["worker"] == standins.heard("worker-1", what="begins")[0]["id"]
    assert (gone["started"], gone["running"], gone["late"], gone["why"]) == (42, True, False, "signal 9")
    standins.wait_heard("ingest-0", word="Peer", pid=standins.wait_lives("worker-1", 2)[1]["pid"])
    found = standins.wait_ready()
    assert [one.restarts for one in found.processes] == [0, 0, 0, 1]
    assert standins.pid("worker-1") != killed


def test_a_new_worker_has_a_new_id_and_the_same_slot_wiped(standins: Standins) -> None:
    standins.does("worker-0", "call")
    standins.up(workers=1)
    (standins.rundir.state / "worker-0.does").unlink()
    os.kill(standins.pid("worker-0"), signal.SIGKILL)
    standins.wait_lives("worker-0", 2)
    standins.wait_ready()
    os.kill(standins.pid("worker-0"), signal.SIGKILL)
    wait_until(lambda: len(standins.heard("ingest-0", word="Gone")) == 2, "the second death")
    first, second = standins.heard("ingest-0", word="Gone")
    assert first["worker"] != second["worker"]
    assert (first["started"], second["started"]) == (42, 0)
    assert len({line["slot"] for line in standins.heard("ingest-0", word="Peer", role="worker")}) == 1


def test_workers_and_gateway_hear_of_a_new_life_of_ingest(standins: Standins) -> None:
    standins.up(workers=2)
    before = standins.pid("ingest-0")
    os.kill(before, signal.SIGKILL)
    after = standins.wait_lives("ingest-0", 2)[1]["pid"]
    for who in ("gateway-0", "worker-0", "worker-1"):
        standins.wait_heard(who, word="Peer", boot=after)
    told = wait_until(lambda: standins.heard("ingest-0", word="Peer")[3:], "what the second ingest is told")
    assert {line["role"] for line in told} == {"gateway", "worker"}


def test_a_new_gateway_is_told_where_the_one_before_listened(standins: Standins) -> None:
    before = standins.up(workers=1)
    os.kill(standins.pid("gateway-0"), signal.SIGKILL)
    standins.wait_lives("gateway-0", 2)
    after = standins.wait_ready()
    assert after.listens == before.listens
    assert standins.heard("gateway-0", what="begins")[1]["listens"] == before.listens


def test_a_worker_that_hangs_is_killed_and_ingest_hears_that_it_was_late(standins: Standins) -> None:
    standins.does("worker-0", "hang")
    standins.up(workers=1)
    gone = standins.wait_heard("ingest-0", word="Gone")
    assert (gone["late"], gone["why"]) == (True, "signal 9")
    standins.wait_ready()


def test_a_stopped_process_is_killed_and_replaced(standins: Standins) -> None:
    standins.up(workers=1)
    stopped = standins.pid("gateway-0")
    os.kill(stopped, signal.SIGSTOP)
    standins.wait_lives("gateway-0", 2)
    assert not alive(stopped)


def test_a_family_that_was_stopped_as_a_whole_loses_nobody(standins: Standins) -> None:
    standins.up(workers=2)
    assert standins.process is not None
    pids = standins.pids()
    for pid in [standins.process.pid, *pids]:
        os.kill(pid, signal.SIGSTOP)
    stopped_s = time.monotonic()
    wait_until(lambda: time.monotonic() > stopped_s + 2 * PROMISE_S, "every promise to be broken")
    for pid in [*pids, standins.process.pid]:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: "stood still" in standins.log.read_text(), "a supervisor that noticed")
    heard = len(standins.heard())
    os.kill(pids[-1], signal.SIGKILL)  # one more death: by then the promises were looked at
    wait_until(lambda: len(standins.heard()) > heard, "the next word")
    found = standins.wait_ready()
    assert [one.restarts for one in found.processes] == [0, 0, 0, 1]


def test_ingest_can_ask_for_the_end_of_a_worker(standins: Standins) -> None:
    standins.up(workers=2)
    id = standins.heard("worker-1", what="begins")[0]["id"]
    standins.order("ingest-0", f"restart {id}")
    gone = standins.wait_heard("ingest-0", word="Gone")
    assert gone["worker"] == id
    assert not gone["late"]


def test_a_refusal_while_starting_ends_the_farm_with_its_code_and_text(standins: Standins) -> None:
    standins.does("gateway-0", "refuse")
    process = standins.start(workers=1)
    assert process.wait(30) == 69
    errors = [line for line in standins.log.read_text().splitlines() if line.startswith("error: ")]
    assert errors == ["error: port taken (127.0.0.1:3005): in use. Choose another"]
    assert process.stdout is not None
    assert process.stdout.read() == b""


def test_a_child_whose_disk_is_full_ends_the_farm_with_74_while_it_starts(standins: Standins) -> None:
    standins.does("ingest-0", "full")
    process = standins.start(workers=1)
    assert process.wait(30) == 74
    text = standins.log.read_text()
    assert "error: no room (/state/work.sock): No space left on device. Free some disk space" in text.splitlines()
    assert '"crashed"' not in text


def test_a_refusal_later_is_tried_again(standins: Standins) -> None:
    standins.up(workers=1)
    standins.does("worker-0", "refuse")
    os.kill(standins.pid("worker-0"), signal.SIGKILL)
    wait_until(lambda: standins.log.read_text().count("port taken") >= 2, "two refusals")
    (standins.rundir.state / "worker-0.does").unlink()
    standins.wait_ready()


def test_a_gateway_that_crashes_in_a_loop_ends_the_farm_with_70(standins: Standins) -> None:
    standins.does("gateway-0", "crash")
    process = standins.start(workers=1)
    assert process.wait(30) == 70
    assert len(standins.heard("gateway-0", what="begins")) == 5


def test_a_worker_sees_no_environment(standins: Standins) -> None:
    standins.up(workers=1)
    assert standins.heard("worker-0", what="begins")[0]["environ"] == 0
    assert standins.heard("ingest-0", what="begins")[0]["environ"] > 0


def test_a_child_holds_nothing_of_the_supervisor_but_its_end_of_the_lifeline(standins: Standins) -> None:
    standins.up(workers=2)
    os.kill(standins.pid("worker-0"), signal.SIGKILL)
    standins.wait_lives("worker-0", 2)
    standins.wait_ready()
    for who in ("ingest-0", "worker-0", "worker-1"):
        assert standins.heard(who, what="begins")[-1]["descriptors"] == 1


def test_a_child_leaves_no_core_shows_nobody_its_memory_and_gains_no_privileges(standins: Standins) -> None:
    standins.up(workers=1)
    for who in ("ingest-0", "gateway-0", "worker-0"):
        begins = standins.heard(who, what="begins")[0]
        assert (begins["core_bytes"], begins["dumpable"], begins["no_new_privileges"]) == (0, 0, 1)


def test_the_supervisor_has_one_thread_and_as_many_descriptors_after_restarts_as_before(standins: Standins) -> None:
    standins.up(workers=2)
    assert standins.process is not None
    proc = Path(f"/proc/{standins.process.pid}")
    before = len([*(proc / "fd").iterdir()])
    for life in range(2, 7):
        os.kill(standins.pid("worker-0"), signal.SIGKILL)
        standins.wait_lives("worker-0", life)
        standins.wait_ready()
    # A question of this test has a descriptor of its own until the supervisor has seen its end.
    wait_until(lambda: len([*(proc / "fd").iterdir()]) <= before, "the same number of descriptors")
    assert len([*(proc / "task").iterdir()]) == 1
