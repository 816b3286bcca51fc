from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from farm.broker import Delivery
from farm.ingest.circuit import Circuit
from farm.ingest.crew import Crew
from farm.ingest.dispatcher import Dispatcher
from farm.ingest.table import Trigger
from farm.message import Message
from farm.spec import TriggerSpec
from farm.wire import sockets, work
from farm.wire.lifeline import ChildEnd, Gone, Peer, Restart
from farm.wire.pulse import Board
from farm.wire.sockets import Router, Sent
from tests.ingest.farmhouse import component
from tests.ingest.pieces import STARTED_S as NOW_S

W = b"worker-0-in-16-b"
PID = 4711


class Desk:
    """A crew with a router, a lifeline and a circuit on paper."""

    def __init__(self) -> None:
        self.arrived: list[tuple[bytes, list[bytes]]] = []
        self.sent: list[tuple[bytes, list[bytes]]] = []
        self.outcome: Sent = "sent"
        self.said: list[Any] = []
        self.happened: list[str] = []
        self.dispatcher = Dispatcher([component("c")])
        paper: Any = self
        self.board = Board()
        self.crew = Crew(
            cast(Router, paper), self.dispatcher, cast(Circuit, paper), cast(ChildEnd, Lifeline(self.said)), self.board
        )

    def hear(self, *frames: bytes, read_lifeline: Callable[[], None] = lambda: None) -> None:
        self.arrived = [(W, [frame]) for frame in frames]
        self.crew.receive(read_lifeline)
        self.arrived = []

    def name(self, pid: int = PID) -> None:
        self.crew.named(Peer("worker", 0, W, 10, pid))

    def join(self) -> None:
        self.hear(*work.join(self.crew.boot))

    def offer(self) -> None:
        self.dispatcher.offered(Trigger(0, "c", TriggerSpec("b", "t")), [Delivery(0, Message("m", "t", b""))])

    # the router

    def receive(self) -> list[tuple[bytes, list[bytes]]]:
        return self.arrived

    def send(self, worker: bytes, frames: Sequence[bytes]) -> Sent:
        if self.outcome == "sent":
            self.sent.append((worker, list(frames)))
        return self.outcome

    def peer(self, worker: bytes) -> sockets.Peer:
        return sockets.Peer(0, 0, PID)

    def forget(self, worker: bytes) -> None:
        self.happened.append("forgotten")

    # the circuit

    def finished(self, worker: bytes, answers: Sequence[object]) -> None:
        self.happened.append("finished")

    def lost(self, gone: Gone) -> None:
        self.happened.append("lost")


class Lifeline:
    def __init__(self, said: list[Any]) -> None:
        self.said = said

    def send(self, word: object) -> bool:
        self.said.append(word)
        return True


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_worker_gets_work_once_it_is_named_and_has_joined(desk: Desk) -> None:
    desk.offer()
    desk.join()
    desk.crew.assign(NOW_S)
    assert desk.sent == []
    desk.name()
    desk.crew.assign(NOW_S)
    assert len(desk.sent) == 1


def test_a_worker_that_speaks_before_it_is_named_may_be_named_in_a_word_not_read_yet(desk: Desk) -> None:
    names: list[str] = []

    def read_lifeline() -> None:
        names.append("asked")
        desk.name()

    desk.hear(*work.join(desk.crew.boot), read_lifeline=read_lifeline)
    assert desk.dispatcher.workers == 1
    desk.hear(*work.results(desk.crew.boot, []), read_lifeline=read_lifeline)
    assert names == ["asked"]


def test_words_to_another_life_of_ingest_are_counted_and_mean_nothing(desk: Desk) -> None:
    desk.name()
    desk.hear(*work.join(desk.crew.boot + 2), *work.results(desk.crew.boot + 2, []))
    assert (desk.crew.ignored, desk.dispatcher.workers, desk.happened) == (2, 0, [])


def test_a_worker_that_has_died_is_given_nothing_more(desk: Desk) -> None:
    desk.name()
    desk.join()
    desk.crew.gone(Gone(W, 0, False, False, "signal 9"), NOW_S)
    desk.offer()
    desk.crew.assign(NOW_S)
    assert desk.sent == []


@pytest.mark.parametrize("named", [True, False])
def test_of_a_worker_that_has_died_nothing_is_kept(desk: Desk, named: bool) -> None:
    if named:
        desk.name()
    desk.join()
    desk.crew.gone(Gone(W, 0, False, False, "signal 9"), NOW_S)
    desk.crew.wake(NOW_S + 1)
    desk.dispatcher.lost(W, 0, NOW_S)
    if named:
        desk.join()
    else:
        desk.name()
    assert desk.dispatcher.workers == 0


def test_a_process_that_is_not_the_one_that_was_forked_gets_nothing(desk: Desk) -> None:
    desk.offer()
    desk.name(pid=PID + 1)
    desk.join()
    desk.crew.assign(NOW_S)
    assert desk.sent == []


def test_each_life_has_a_boot_of_its_own() -> None:
    assert len({Desk().crew.boot for _ in range(20)}) == 20


@pytest.mark.parametrize("outcome", ["gone", "full"])
def test_what_could_not_be_sent_waits_for_another_worker(desk: Desk, outcome: Sent) -> None:
    desk.offer()
    desk.name()
    desk.join()
    desk.outcome = outcome
    assert not desk.crew.assign(NOW_S)
    assert desk.dispatcher.lanes["c"].waiting == 1
    assert desk.dispatcher.workers == 0
    desk.dispatcher.check()


def test_a_worker_that_cannot_be_reached_and_does_not_die_is_ended(desk: Desk) -> None:
    desk.offer()
    desk.name()
    desk.join()
    desk.outcome = "gone"
    desk.crew.assign(NOW_S)
    assert desk.crew.next_wake_s() == NOW_S + 1
    desk.crew.wake(NOW_S + 0.9)
    assert desk.said == []
    desk.crew.wake(NOW_S + 1)
    assert desk.said == [Restart(W, "it cannot be reached")]
    assert desk.crew.next_wake_s() is None


def test_a_worker_that_has_died_meanwhile_is_not(desk: Desk) -> None:
    desk.offer()
    desk.name()
    desk.join()
    desk.outcome = "gone"
    desk.crew.assign(NOW_S)
    desk.crew.gone(Gone(W, 0, False, False, "signal 9"), NOW_S + 0.1)
    desk.crew.wake(NOW_S + 5)
    assert desk.said == []
    assert desk.happened == ["forgotten", "lost"]


def test_what_a_dead_worker_had_sent_comes_before_its_end(desk: Desk) -> None:
    desk.name()
    desk.join()
    desk.crew.gone(Gone(W, 1, True, False, "signal 9"), NOW_S)
    desk.crew.wake(NOW_S)
    desk.hear(*work.results(desk.crew.boot, []))
    desk.crew.wake(NOW_S + 0.01)
    assert desk.happened == ["finished", "forgotten", "lost"]


def test_what_a_dead_worker_had_sent_and_nobody_has_read_yet_comes_before_its_end_too(desk: Desk) -> None:
    desk.name()
    desk.join()
    desk.crew.gone(Gone(W, 1, True, False, "signal 9"), NOW_S)
    desk.arrived = [(W, [frame]) for frame in work.results(desk.crew.boot, [])]
    desk.crew.wake(NOW_S + 0.01)
    assert desk.happened == ["finished", "forgotten", "lost"]


def in_a_long_call(desk: Desk, others: int = 3) -> float:
    """One message runs since 50 ms, `others` are behind it, another worker has nothing to do; when that is."""
    desk.name()
    desk.join()
    desk.dispatcher.lanes["c"].learn(10)
    for _ in range(1 + others):
        desk.offer()
    began_s = time.monotonic()
    assert desk.crew.assign(began_s)
    desk.board.slot(10).start(1, time.monotonic_ns(), 0)
    desk.dispatcher.joined(b"another")
    return began_s + 0.05


def after_the_pause(desk: Desk) -> float:
    """Let the crew look again when it wants to; when that is."""
    due_s = desk.crew.next_wake_s()
    assert due_s is not None
    desk.crew.wake(due_s)
    return due_s


def test_what_is_behind_a_long_call_moves_to_a_worker_that_has_nothing_to_do() -> None:
    desk = Desk()
    now_s = in_a_long_call(desk)
    desk.crew.wake(now_s)
    assert desk.board.slot(10).revoked() == 4
    assert desk.dispatcher.lanes["c"].waiting == 0, "the worker may be starting one just now"
    due_s = after_the_pause(desk)
    assert desk.dispatcher.lanes["c"].waiting == 3
    assert desk.crew.assign(due_s)
    assert desk.sent[-1][0] == b"another"


def test_what_was_started_in_the_pause_stays_where_it_runs() -> None:
    desk = Desk()
    desk.crew.wake(in_a_long_call(desk))
    desk.board.slot(10).start(3, time.monotonic_ns(), 0)
    after_the_pause(desk)
    assert desk.dispatcher.lanes["c"].waiting == 1


def test_what_comes_back_not_run_waits_again_and_what_moved_already_does_not_wait_twice() -> None:
    desk = Desk()
    desk.crew.wake(in_a_long_call(desk))
    desk.board.slot(10).start(2, time.monotonic_ns(), 0)
    after_the_pause(desk)
    assert desk.dispatcher.lanes["c"].waiting == 2
    desk.hear(*work.results(desk.crew.boot, [], [(2, 2), (3, 3), (4, 4)]))
    assert desk.dispatcher.lanes["c"].waiting == 3
    desk.dispatcher.check()


@pytest.mark.parametrize(("started", "counted"), [(1, (1, 3)), (3, (1, 1)), (4, (0, 0))])
def test_a_take_back_is_counted_with_what_it_moved(started: int, counted: tuple[int, int]) -> None:
    desk = Desk()
    desk.crew.wake(in_a_long_call(desk))
    desk.board.slot(10).start(started, time.monotonic_ns(), 0)
    after_the_pause(desk)
    assert (desk.dispatcher.take_backs, desk.dispatcher.taken_back_count) == counted


def test_nothing_moves_while_everybody_is_busy() -> None:
    desk = Desk()
    now_s = in_a_long_call(desk)
    desk.dispatcher.suspend(b"another")
    desk.crew.wake(now_s)
    assert desk.board.slot(10).revoked() == 0


def test_a_worker_that_joins_a_new_ingest_owes_nothing_to_the_old_one() -> None:
    desk = Desk()
    desk.board.slot(10).revoke(99)
    desk.name()
    desk.join()
    assert desk.board.slot(10).revoked() == 0


def test_a_burst_in_the_pause_does_not_go_behind_the_long_call() -> None:
    desk = Desk()
    now_s = in_a_long_call(desk)
    desk.crew.wake(now_s)
    for _ in range(40):
        desk.offer()
    desk.crew.assign(now_s)
    assert {worker for worker, _ in desk.sent[1:]} == {b"another"}
