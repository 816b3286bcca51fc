"""The pulse: words in memory that outlive the process that wrote them."""

from __future__ import annotations

import os
import signal
import time

from farm.wire.pulse import SLOT_COUNT, Board


def test_slots_do_not_touch_each_other() -> None:
    board = Board()
    board.slot(3).start(41, time.monotonic_ns(), 0)
    assert board.slot(3).started()[0] == 41
    assert [i for i in range(SLOT_COUNT) if board.slot(i).started() != (0, 0)] == [3]


def test_a_promise_lies_ahead_by_what_was_promised() -> None:
    pulse = Board().slot(0)
    assert pulse.promised_ns() == 0
    before = time.monotonic_ns()
    pulse.promise(5.0)
    assert before + 5_000_000_000 <= pulse.promised_ns() <= time.monotonic_ns() + 5_000_000_000


def test_what_a_killed_child_had_started_stays_readable() -> None:
    board = Board()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        board.slot(1).start(77, time.monotonic_ns(), 0)
        os.write(tell, b"x")
        signal.pause()
    os.read(told, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    seq, since_ns = board.slot(1).started()
    assert seq == 77
    assert 0 < since_ns <= time.monotonic_ns()


def test_an_idle_process_keeps_its_last_number_and_a_cleared_slot_nothing() -> None:
    pulse = Board().slot(0)
    pulse.start(5, 1_000, 500)
    assert (pulse.started(), pulse.promised_ns()) == ((5, 1_000), 1_500)
    pulse.idle()
    assert (pulse.started(), pulse.promised_ns()) == ((5, 0), 1_500)
    pulse.clear()
    assert (pulse.started(), pulse.promised_ns()) == ((0, 0), 0)
