"""The worker's loop, with a stand-in for the components and a real work link."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm.invocation import Failed, Finished, Invoke, Output
from farm.wire import lifeline, work
from farm.wire.lifeline import ChildEnd, Drain, ParentEnd, Peer
from farm.wire.pulse import Board, Pulse
from farm.wire.sockets import Router, Sockets
from farm.workers.loop import CATCH_UP_COUNT, Link, Loop, Ticker

WORKER = b"w" * 16


class Scripted:
    """Components whose calls a test decides about."""

    def __init__(self) -> None:
        self.script: Callable[[Invoke], tuple[list[Output], Failed | None]] = lambda i: ([Output(i.payload)], None)
        self.called: list[int] = []
        self.unready = 3

    def call(self, invoke: Invoke) -> tuple[list[Output], Failed | None]:
        self.called.append(invoke.seq)
        return self.script(invoke)

    def prepare_next(self) -> bool:
        self.unready -= self.unready > 0
        return self.unready > 0


class Worker:
    """A worker's loop in a thread, and ingest's and the supervisor's ends in the test's hands."""

    def __init__(self, folder: Path) -> None:
        self._sockets = Sockets()
        self._address = f"ipc://{folder}/work"
        self.router: Router = self._sockets.router(self._address)
        self.parent: ParentEnd
        self.child: ChildEnd
        self.parent, self.child = lifeline.pair()
        self.pulse: Pulse = Board().slot(0)
        self.components = Scripted()
        self.ticks = 0
        self.exit_code: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        link = Link(self._sockets.dealer(self._address, WORKER))
        loop = Loop(link, self.components, {"hello": 5.0}, self.child, self.pulse)
        ticker = Ticker(self._tick, loop.hold, link.flush)
        ticker.start()
        self.exit_code = loop.run(ticker)
        ticker.stop()

    def _tick(self) -> None:
        self.ticks += 1

    def meet(self, boot: int) -> None:
        self.parent.send(Peer("ingest", 0, b"", 1, 1, boot))

    def join(self, boot: int = 1) -> None:
        self.meet(boot)
        assert self.word() == work.Join(boot)

    def replace_ingest(self) -> None:
        self.router.close()
        self.router = self._sockets.router(self._address)

    def word(self) -> work.Join | work.Results:
        wait_until(self.router.readable)
        return work.from_worker(self.router.receive(1)[0][1])

    def give(self, seqs: list[int], boot: int = 1) -> None:
        self.router.send(
            WORKER, work.invokes(boot, [Invoke(s, s, 1, "hello", "test", str(s), "a", b"x") for s in seqs])
        )

    def finished(self, count: int) -> list[Finished]:
        answers: list[Finished] = []
        while len(answers) < count:
            word = self.word()
            assert isinstance(word, work.Results)
            answers += word.finished
        return answers

    def end(self) -> None:
        self.parent.send(Drain(1.0))
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._sockets.close()


def wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end, "did not happen within 20 s"
        time.sleep(0.001)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    made = Worker(tmp_path)
    yield made
    made.end()


def test_a_worker_joins_the_life_of_ingest_that_it_hears_of(worker: Worker) -> None:
    worker.join(boot=7)


def test_calls_run_in_order_and_every_one_is_answered(worker: Worker) -> None:
    worker.join()
    worker.give(list(range(1, 101)))
    answers = worker.finished(100)
    assert worker.components.called == list(range(1, 101))
    assert [a.delivery for a in answers] == list(range(1, 101))
    assert all(a.outputs == [Output(b"x")] and a.failed is None for a in answers)


def test_answers_of_quick_calls_travel_together(worker: Worker) -> None:
    worker.join()
    worker.give(list(range(1, 65)))
    worker.finished(64)
    worker.give(list(range(65, 193)))
    words = 0
    answered = 0
    while answered < 128:
        word = worker.word()
        assert isinstance(word, work.Results)
        answered += len(word.finished)
        words += 1
    assert words < 64


def test_an_answer_that_is_ready_does_not_wait_for_a_slow_call(worker: Worker) -> None:
    """The first call is quick and its component known to be so: without the ticker its answer would wait."""
    release = threading.Event()

    def script(invoke: Invoke) -> tuple[list[Output], Failed | None]:
        if invoke.seq == 66:
            release.wait(20)
        return [], None

    worker.components.script = script
    worker.join()
    worker.give(list(range(1, 65)))
    worker.finished(64)
    worker.give([65, 66])
    assert [a.delivery for a in worker.finished(1)] == [65]
    release.set()
    assert [a.delivery for a in worker.finished(1)] == [66]


def test_what_runs_stands_in_the_slot_and_the_promise_covers_its_deadline(worker: Worker) -> None:
    release = threading.Event()
    worker.components.script = lambda _: (release.wait(20), ([], None))[1]
    worker.join()
    before = time.monotonic_ns()
    worker.give([41, 42])
    wait_until(lambda: worker.pulse.started()[0] == 41)
    _, since_ns = worker.pulse.started()
    assert since_ns >= before
    assert worker.pulse.promised_ns() == since_ns + 6_000_000_000, "its deadline of 5 s, and 1 s"
    release.set()
    worker.finished(2)
    wait_until(lambda: worker.pulse.started() == (42, 0))


def test_what_is_revoked_while_a_call_runs_is_not_run_but_handed_back(worker: Worker) -> None:
    release = threading.Event()
    worker.components.script = lambda _: (release.wait(20), ([], None))[1]
    worker.join()
    worker.give([41, 42, 43])
    wait_until(lambda: worker.pulse.started()[0] == 41)
    worker.pulse.revoke(43)
    release.set()
    finished, returned = [], []
    while len(returned) < 2:
        word = worker.word()
        assert isinstance(word, work.Results)
        finished += word.finished
        returned += word.returned
    assert [one.delivery for one in finished] == [41]
    assert returned == [(42, 42), (43, 43)]
    worker.give([44])
    assert [one.delivery for one in worker.finished(1)] == [44]
    assert worker.components.called == [41, 44]


def test_a_new_life_of_ingest_gets_a_join_and_nothing_of_the_old_life(worker: Worker) -> None:
    worker.join(boot=1)
    release = threading.Event()
    worker.components.script = lambda _: (release.wait(20), ([], None))[1]
    worker.give([1, 2, 3])
    wait_until(lambda: worker.components.called == [1])
    worker.replace_ingest()
    worker.meet(boot=2)
    release.set()
    words = [worker.word()]
    while not isinstance(words[-1], work.Join):
        words.append(worker.word())
    assert all(word.boot == 1 for word in words[:-1])
    assert words[-1] == work.Join(2)
    assert worker.pulse.started() == (0, 0), "numbers of the life before mean nothing to this one"
    worker.give([9], boot=1)
    worker.give([10], boot=2)
    assert [a.delivery for a in worker.finished(1)] == [10]
    assert 9 not in worker.components.called


def test_instances_are_made_while_nothing_is_to_be_done(worker: Worker) -> None:
    wait_until(lambda: worker.components.unready == 0)
    worker.join()
    worker.components.unready = 2
    worker.give([1])
    worker.finished(1)
    wait_until(lambda: worker.components.unready == 0)


def test_the_epoch_moves_while_a_guest_runs(worker: Worker) -> None:
    seen = 0

    def script(_: Invoke) -> tuple[list[Output], Failed | None]:
        nonlocal seen
        before = worker.ticks
        wait_until(lambda: worker.ticks > before + 3)
        seen = worker.ticks - before
        return [], None

    worker.components.script = script
    worker.join()
    worker.give([1])
    worker.finished(1)
    assert seen > 3


def test_a_batch_that_does_not_parse_ends_the_worker(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.join()
    worker.router.send(WORKER, [b"\xc1"])
    wait_until(lambda: worker.exit_code == 70)
    worker.end()


def test_the_end_of_the_supervisor_ends_the_worker(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.join()
    worker.parent.close()
    wait_until(lambda: worker.exit_code == 70)
    worker._thread.join(20)


def test_after_a_long_pause_the_epoch_moves_by_ten_ticks_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: list[int] = []
    enough = threading.Event()
    now_s = [1000.0]

    def sleep(_: float) -> None:
        now_s[0] += 100.0 if not ticks else 0.0  # as if this process had been stopped
        if ticks:
            enough.set()
            real_sleep(0.001)

    real_sleep = time.sleep
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(time, "sleep", sleep)
    ticker = Ticker(lambda: ticks.append(1), threading.Lock(), lambda: None)
    ticker.start()
    assert enough.wait(20)
    ticker.stop()
    assert len(ticks) == CATCH_UP_COUNT
