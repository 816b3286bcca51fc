"""How a family ends: signals, terminals that close, and a supervisor that is killed. Nobody may be left."""

from __future__ import annotations

import json
import os
import pty
import signal
import sys
import time
from pathlib import Path

import pytest

from farm.control.supervisor import ECHO_S
from farm.wire import admin
from tests.control.conftest import PATIENCE_S, Standins, alive, wait_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_drains_gateway_ingest_workers_and_exits_0(standins: Standins, number: int) -> None:
    standins.up(workers=2)
    assert standins.end(number) == 0
    drained = [line["who"] for line in standins.heard(what="drains")]
    assert drained[:2] == ["gateway-0", "ingest-0"]
    assert sorted(drained[2:]) == ["worker-0", "worker-1"]
    words = [line["word"] for line in standins.heard("ingest-0", what="hears")]
    assert words[-2:] == ["Quiet", "Drain"]
    assert not standins.rundir.admin.exists()


def test_ctrl_c_reaches_everybody_and_only_the_supervisor_heeds_it(standins: Standins) -> None:
    standins.up(workers=2)
    assert standins.process is not None
    os.killpg(standins.process.pid, signal.SIGINT)
    assert standins.process.wait(PATIENCE_S) == 0
    assert len(standins.heard(what="drains")) == 4


def test_a_termination_of_everybody_at_once_drains_all_the_same(standins: Standins) -> None:
    standins.up(workers=2)
    assert standins.process is not None
    os.killpg(standins.process.pid, signal.SIGTERM)
    assert standins.process.wait(PATIENCE_S) == 0
    assert len(standins.heard(what="drains")) == 4


def test_a_wish_that_comes_as_two_signals_is_one(standins: Standins) -> None:
    standins.up(workers=2)
    assert standins.process is not None
    standins.process.send_signal(signal.SIGTERM)  # as `timeout` and `make` do it
    standins.process.send_signal(signal.SIGINT)
    assert standins.process.wait(PATIENCE_S) == 0
    assert len(standins.heard(what="drains")) == 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_kills_everybody_at_once(standins: Standins, number: int, code: int) -> None:
    standins.does("gateway-0", "stay")
    standins.up(workers=1)
    pids = standins.pids()
    assert standins.process is not None
    standins.process.send_signal(signal.SIGTERM)
    standins.wait_heard("gateway-0", word="Drain")
    time.sleep(ECHO_S)  # until then it is an echo
    assert standins.end(number) == code
    assert not any(alive(pid) for pid in pids)
    assert standins.heard(what="drains") == []


def test_a_worker_that_dies_while_ingest_drains_is_replaced(standins: Standins) -> None:
    standins.does("ingest-0", "stay")
    standins.up(workers=1)
    assert standins.process is not None
    standins.process.send_signal(signal.SIGTERM)
    standins.wait_heard("ingest-0", word="Drain")
    os.kill(standins.pid("worker-0"), signal.SIGKILL)
    standins.wait_lives("worker-0", 2)


def test_an_ingest_that_dies_while_it_drains_is_no_orderly_end(standins: Standins) -> None:
    standins.does("ingest-0", "stay")
    standins.up(workers=1)
    assert standins.process is not None
    standins.process.send_signal(signal.SIGTERM)
    standins.wait_heard("ingest-0", word="Drain")
    os.kill(standins.pid("ingest-0"), signal.SIGKILL)
    standins.process.wait(30)
    ends = [line for line in map(json.loads, standins.log.read_text().splitlines()) if line["event"] == "ended"]
    assert [(line["process"], line["why"]) for line in ends if line["level"] == "warning"] == [("ingest", "signal 9")]


def test_no_orphan_outlives_a_killed_supervisor(standins: Standins) -> None:
    standins.does("worker-1", "deaf")  # it would never see that its lifeline has ended
    standins.up(workers=3)
    pids = standins.pids()
    assert len(pids) == 5
    standins.end(signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in pids), "the end of all children")


def test_after_a_killed_supervisor_the_next_one_starts(standins: Standins) -> None:
    standins.up(workers=1)
    standins.end(signal.SIGKILL)
    standins.up(workers=1)


def test_down_answers_and_the_connection_ends_with_the_farm(standins: Standins) -> None:
    standins.up(workers=1)
    found, connection = admin.ask(standins.rundir.admin, "down", 5)
    assert found.state == "draining"
    connection.settimeout(PATIENCE_S)
    assert connection.recv(1) == b""
    connection.close()
    assert standins.process is not None
    assert standins.process.wait(PATIENCE_S) == 0


def test_nohup_lives_through_a_hangup(standins: Standins) -> None:
    standins.up(workers=1, prefix=("nohup",))
    assert standins.process is not None
    standins.process.send_signal(signal.SIGHUP)
    assert standins.end(signal.SIGTERM) == 0
    assert "SIGHUP" not in standins.log.read_text()


def test_a_script_in_the_background_lives_through_the_interrupt_meant_for_it(standins: Standins) -> None:
    standins.up(workers=1, prefix=("sh", "-c", 'trap "" INT; exec "$@"', "sh"))
    assert standins.process is not None
    standins.process.send_signal(signal.SIGINT)
    assert standins.end(signal.SIGTERM) == 0
    assert "SIGINT" not in standins.log.read_text()


def test_a_reader_that_has_read_enough_does_not_end_the_farm(standins: Standins) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    standins.up(workers=1, stdout=writes, stderr=writes)
    os.close(writes)
    os.kill(standins.pid("worker-0"), signal.SIGKILL)  # which is logged
    standins.wait_lives("worker-0", 2)
    standins.wait_ready()
    assert standins.end() == 0


def test_a_terminal_that_is_closed_drains_the_farm(standins: Standins) -> None:
    master, terminal = pty.openpty()
    standins.up(workers=1, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    os.close(master)
    assert standins.end(signal.SIGHUP) == 0
    assert len(standins.heard(what="drains")) == 3


def test_closed_standard_descriptors_do_not_matter(standins: Standins) -> None:
    standins.up(workers=1, prefix=("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"))
    assert standins.end() == 0
    assert len(standins.heard(what="drains")) == 3


def test_children_ignore_what_a_terminal_or_systemd_sends_to_everybody(standins: Standins) -> None:
    standins.up(workers=1)
    for pid in standins.pids():
        fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        ignored = {number for number in range(1, 65) if int(fields["SigIgn"], 16) >> (number - 1) & 1}
        assert ignored >= {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGPIPE}
        assert int(fields["SigBlk"], 16) == 0


CHILDLESS = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"


def test_a_parent_that_ignores_its_childrens_ends_does_not_matter(standins: Standins) -> None:
    standins.up(workers=1, prefix=(sys.executable, "-c", CHILDLESS))
    os.kill(standins.pid("worker-0"), signal.SIGKILL)
    assert standins.wait_heard("ingest-0", word="Gone")["why"] == "signal 9"
    assert standins.end() == 0


BLOCKED = (
    "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [15, 2]); os.execv(sys.argv[1], sys.argv[1:])"
)


def test_a_parent_that_blocks_signals_does_not_make_the_farm_deaf(standins: Standins) -> None:
    standins.up(workers=1, prefix=(sys.executable, "-c", BLOCKED))
    assert standins.end(signal.SIGTERM) == 0
    assert len(standins.heard(what="drains")) == 3
