from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from farm.broker import Delivery
from farm.ingest.dispatcher import Assign, Dispatcher
from farm.ingest.table import Record, Trigger
from farm.invocation import Failed, Finished
from farm.message import Message
from farm.spec import ComponentSpec, TriggerSpec
from tests.ingest.farmhouse import component
from tests.ingest.pieces import STARTED_S as NOW_S

A, B = b"worker-a", b"worker-b"


class Floor:
    """A dispatcher, and its workers by name."""

    def __init__(self, *workers: bytes, components: Sequence[ComponentSpec] = (component("c"),)) -> None:
        self.dispatcher = Dispatcher(components)
        self.triggers = {spec.name: Trigger(n, spec.name, TriggerSpec("b", "t")) for n, spec in enumerate(components)}
        self.offered_count = 0
        for worker in workers:
            self.dispatcher.joined(worker)

    def offer(self, count: int, name: str = "c", payload: bytes = b"") -> None:
        trigger = self.triggers[name]
        messages = [Message(f"{name}{self.offered_count + n}", "t", payload) for n in range(count)]
        self.offered_count += count
        self.dispatcher.offered(trigger, [Delivery(trigger.number, message) for message in messages])

    def assign(self, now_s: float = NOW_S) -> dict[bytes, Assign]:
        self.dispatcher.check()
        given = {assign.worker: assign for assign in self.dispatcher.assign(now_s)}
        self.dispatcher.check()
        return given

    def counts(self, now_s: float = NOW_S) -> dict[bytes, int]:
        return {worker: len(assign.invokes) for worker, assign in self.assign(now_s).items()}

    def answer(
        self, assign: Assign, *, took_us: int = 10, count: int | None = None, settle: bool = True
    ) -> list[Record]:
        answers = [Finished(one.delivery, one.attempt, took_us) for one in assign.invokes[:count]]
        ended = self.dispatcher.finished(assign.worker, answers, NOW_S)
        if settle:
            self.dispatcher.settled(ended)
        return ended

    def learn(self, took_us: int, name: str = "c", worker: bytes = A) -> None:
        """Let the dispatcher know what a call takes."""
        self.offer(1, name)
        for assign in self.assign().values():
            self.answer(assign, took_us=took_us)


def ids(assign: Assign) -> list[str]:
    return [invoke.id for invoke in assign.invokes]


def test_of_a_component_not_measured_yet_a_worker_holds_two() -> None:
    floor = Floor(A)
    floor.offer(10)
    assert floor.counts() == {A: 2}
    assert floor.counts() == {}


def test_of_a_quick_component_a_worker_holds_128_in_batches_of_64() -> None:
    floor = Floor(A)
    floor.learn(5)
    floor.offer(1000)
    assert floor.counts() == {A: 64}
    assert floor.counts() == {A: 64}
    assert floor.counts() == {}


def test_of_a_component_that_takes_half_a_millisecond_a_worker_holds_five_milliseconds() -> None:
    floor = Floor(A)
    floor.learn(500)
    floor.offer(1000)
    assert floor.counts() == {A: 10}


def test_of_a_slow_component_a_worker_holds_two() -> None:
    floor = Floor(A)
    floor.learn(5_000_000)
    floor.offer(10)
    assert floor.counts() == {A: 2}


def test_a_worker_gets_nothing_while_more_than_the_mark_is_left_in_its_hand() -> None:
    floor = Floor(A)
    floor.learn(5)
    floor.offer(1000)
    first = floor.assign()[A]
    floor.assign()
    floor.answer(first, count=63)
    assert floor.counts() == {}
    floor.answer(Assign(A, first.invokes[63:]))
    assert floor.counts() == {A: 64}


def test_a_shallow_queue_of_slow_work_is_spread_over_all_workers() -> None:
    workers = [b"w%d" % n for n in range(8)]
    floor = Floor(*workers)
    floor.offer(9)
    assert sorted(floor.counts().values()) == [1] * 7 + [2]


def test_quick_work_is_not_spread_thinner_than_it_is_worth() -> None:
    floor = Floor(A, B)
    floor.learn(10)
    floor.offer(8)
    assert floor.counts() == {A: 8}


def test_a_deep_queue_is_shared_evenly() -> None:
    floor = Floor(A, B)
    floor.learn(10)
    floor.offer(40)
    assert floor.counts() == {A: 20, B: 20}


def test_large_payloads_travel_in_small_batches() -> None:
    floor = Floor(A)
    floor.learn(10)
    floor.offer(10, payload=bytes(300 << 10))
    assert floor.counts() == {A: 3}


def test_components_share_a_worker() -> None:
    floor = Floor(A, components=[component("x"), component("y")])
    floor.learn(10, "x")
    floor.learn(10, "y")
    floor.offer(1000, "x")
    floor.offer(1000, "y")
    given = Counter(invoke.component for invoke in floor.assign()[A].invokes)
    assert given["x"] + given["y"] == 64
    given += Counter(invoke.component for invoke in floor.assign()[A].invokes)
    assert given == {"x": 64, "y": 64}


def test_a_slow_component_leaves_half_of_the_workers_to_others_that_wait() -> None:
    workers = [b"w%d" % n for n in range(4)]
    floor = Floor(*workers, components=[component("slow"), component("other")])
    floor.learn(10, "other")
    floor.offer(100, "slow")
    given = floor.assign()
    assert len(given) == 4
    floor.offer(100, "other")
    for assign in given.values():
        floor.answer(assign, took_us=1_000_000)
    given = floor.assign()
    slow = [worker for worker, assign in given.items() if any(one.component == "slow" for one in assign.invokes)]
    assert len(slow) == 2
    assert len(given) == 4


def test_alone_a_slow_component_has_all_workers() -> None:
    floor = Floor(A, B, components=[component("slow"), component("other")])
    floor.offer(100, "slow")
    assert set(floor.counts()) == {A, B}


def test_concurrency_is_how_many_workers_hold_some() -> None:
    workers = [b"w%d" % n for n in range(8)]
    floor = Floor(*workers, components=[component("c", concurrency=3)])
    floor.offer(100)
    given = floor.assign()
    assert len(given) == 3
    for assign in given.values():
        floor.answer(assign)
    assert len(floor.assign()) == 3


def test_sequence_numbers_rise_with_every_assignment_to_a_worker() -> None:
    floor = Floor(A)
    floor.offer(9)
    first = floor.assign()[A]
    floor.answer(first)
    second = floor.assign()[A]
    assert [one.seq for one in (*first.invokes, *second.invokes)] == list(range(1, 3 + len(second.invokes)))


def test_a_killed_worker_gives_its_messages_back_and_only_the_started_one_counts() -> None:
    floor = Floor(A)
    floor.learn(10)
    floor.offer(3)
    given = floor.assign()[A]
    lost = floor.dispatcher.lost(A, given.invokes[1].seq, NOW_S)
    assert lost.died is not None
    assert (lost.died.delivery.message.id, lost.died.attempts, lost.died.died) == (given.invokes[1].id, 1, 1)
    assert lost.requeued == 2
    floor.dispatcher.joined(B)
    again = floor.assign()[B]
    assert ids(again) == [given.invokes[0].id, given.invokes[2].id]
    assert [one.attempt for one in again.invokes] == [1, 1]


def test_a_worker_that_dies_with_nothing_started_counts_nothing() -> None:
    floor = Floor(A)
    floor.offer(2)
    floor.assign()
    lost = floor.dispatcher.lost(A, 0, NOW_S)
    assert (lost.died, lost.requeued) == (None, 2)


def test_what_a_worker_had_answered_before_it_died_does_not_count() -> None:
    floor = Floor(A)
    floor.offer(2)
    given = floor.assign()[A]
    floor.answer(given, count=1)
    assert floor.dispatcher.lost(A, given.invokes[0].seq, NOW_S).died is None


def test_what_killed_a_worker_runs_alone_the_next_time() -> None:
    floor = Floor(A, B)
    floor.learn(10)
    floor.offer(200)
    given = floor.assign()
    lost = floor.dispatcher.lost(A, given[A].invokes[0].seq, NOW_S)
    assert lost.died is not None
    floor.dispatcher.retry(lost.died, NOW_S)
    floor.dispatcher.wake(NOW_S)
    assert B not in floor.assign(), "it is kept free until it is empty"
    floor.answer(given[B])
    alone = floor.assign()[B]
    assert ids(alone) == [lost.died.delivery.message.id]
    assert floor.counts() == {}, "and gets nothing beside it"
    floor.answer(alone)
    assert len(floor.assign()[B].invokes) > 1


def test_a_component_that_was_set_aside_waits_and_is_then_probed_one_at_a_time() -> None:
    floor = Floor(components=[component("bad"), component("good")])
    floor.offer(20, "bad")
    for n in range(5):
        worker = b"w%d" % n
        floor.dispatcher.joined(worker)
        lost = floor.dispatcher.lost(worker, floor.assign()[worker].invokes[0].seq, NOW_S)
        assert lost.died is not None
        assert lost.set_aside is (n == 4)
        floor.dispatcher.settled([lost.died])
    for worker in (A, B):
        floor.dispatcher.joined(worker)
    assert floor.counts() == {}
    assert floor.dispatcher.next_wake_s(NOW_S) == NOW_S + 30
    floor.offer(4, "good")
    assert {one.component for assign in floor.assign().values() for one in assign.invokes} == {"good"}
    floor.dispatcher.joined(b"third")
    probe = [one for assign in floor.assign(NOW_S + 30).values() for one in assign.invokes if one.component == "bad"]
    assert len(probe) == 1
    floor.dispatcher.joined(b"fourth")
    assert floor.counts(NOW_S + 30) == {}, "another one while the first still runs"


def test_an_answer_of_a_worker_that_does_not_hold_the_record_is_stale() -> None:
    floor = Floor(A)
    floor.offer(1)
    given = floor.assign()[A]
    floor.dispatcher.lost(A, 0, NOW_S)
    floor.dispatcher.joined(B)
    again = floor.assign()[B]
    assert floor.answer(given) == []
    assert floor.dispatcher.finished(b"nobody", [Finished(1, 1, 5)], NOW_S) == []
    assert floor.dispatcher.stale == 2
    assert len(floor.answer(again)) == 1


def test_an_answer_to_an_attempt_that_is_over_is_stale() -> None:
    floor = Floor(A)
    floor.offer(1)
    given = floor.assign()[A]
    [record] = floor.answer(given, settle=False)
    assert floor.answer(given) == []
    floor.dispatcher.retry(record, NOW_S)
    floor.dispatcher.wake(NOW_S)
    again = floor.assign()[A]
    assert again.invokes[0].attempt == 2
    assert floor.answer(given) == []
    assert floor.dispatcher.stale == 2
    assert len(floor.answer(again)) == 1


def test_a_batch_that_did_not_leave_waits_again_in_its_order() -> None:
    floor = Floor(A)
    floor.offer(5)
    given = floor.assign()[A]
    floor.dispatcher.put_back(given)
    floor.dispatcher.suspend(A)
    assert floor.counts() == {}
    floor.dispatcher.joined(B)
    again = floor.assign()[B]
    assert ids(again) == ids(given)
    assert [one.attempt for one in again.invokes] == [1, 1]


def test_what_a_worker_returns_waits_again_in_its_order() -> None:
    floor = Floor(A)
    floor.learn(10)
    floor.offer(4)
    given = floor.assign()[A]
    floor.answer(given, count=1)
    floor.dispatcher.returned(A, [(invoke.delivery, invoke.seq) for invoke in given.invokes[1:]])
    assert ids(floor.assign()[A]) == ["c2", "c3", "c4"]


def test_retries_count_as_waiting_and_come_when_they_are_due() -> None:
    floor = Floor(A)
    floor.offer(1)
    [record] = floor.answer(floor.assign()[A], settle=False)
    floor.dispatcher.retry(record, NOW_S + 5)
    lane = floor.dispatcher.lanes["c"]
    assert (lane.waiting, lane.size - lane.waiting) == (1, 0)
    assert floor.dispatcher.next_wake_s(NOW_S) == NOW_S + 5
    floor.dispatcher.wake(NOW_S + 4.9)
    assert floor.counts() == {}
    floor.dispatcher.wake(NOW_S + 5)
    assert floor.counts() == {A: 1}


def test_at_a_drain_retries_do_not_wait() -> None:
    floor = Floor(A)
    floor.offer(1)
    [record] = floor.answer(floor.assign()[A], settle=False)
    floor.dispatcher.retry(record, NOW_S + 3600)
    floor.dispatcher.hurry()
    assert floor.counts() == {A: 1}


def test_what_no_worker_holds_can_be_released() -> None:
    floor = Floor(A)
    floor.offer(5)
    held = floor.assign()[A]
    released = floor.dispatcher.release({0})
    assert [record.delivery.message.id for record in released] == ["c2", "c3", "c4"]
    assert len(floor.dispatcher) == 2
    floor.answer(held)
    assert len(floor.dispatcher) == 0
    floor.dispatcher.check()


def test_what_waits_for_a_retry_is_released_too_and_others_stay() -> None:
    floor = Floor(A)
    floor.offer(1)
    [record] = floor.answer(floor.assign()[A], settle=False)
    floor.dispatcher.retry(record, NOW_S + 5)
    floor.triggers["other"] = Trigger(7, "c", TriggerSpec("b", "t"))
    floor.offer(1, "other")
    assert floor.dispatcher.release({0}) == [record]
    assert floor.dispatcher.lanes["c"].waiting == 1
    floor.dispatcher.check()
    floor.dispatcher.hurry()
    assert ids(floor.assign()[A]) == ["other1"]


def test_what_nobody_may_run_is_settled_without_a_worker() -> None:
    floor = Floor(A)
    worn_out = [Delivery(0, Message(f"w{n}", "t", b"")) for n in range(3)]
    records = floor.dispatcher.not_to_run(floor.triggers["c"], worn_out)
    floor.offer(2)
    assert len(floor.dispatcher) == 5
    assert ids(floor.assign()[A]) == ["c0", "c1"]
    floor.dispatcher.settled(records)
    assert len(floor.dispatcher) == floor.dispatcher.lanes["c"].size == 2
    assert floor.dispatcher.lanes["c"].received == 5
    floor.dispatcher.check()


def test_a_worker_that_joins_twice_keeps_what_it_holds() -> None:
    floor = Floor(A)
    floor.offer(2)
    given = floor.assign()[A]
    floor.dispatcher.joined(A)
    assert len(floor.answer(given)) == 2


def test_a_failed_call_is_a_success_of_nobody_but_gives_its_credit_back() -> None:
    floor = Floor(A)
    floor.offer(4)
    given = floor.assign()[A]
    failed = [Finished(one.delivery, one.attempt, 10, [], Failed("trap", "no")) for one in given.invokes]
    ended = floor.dispatcher.finished(A, failed, NOW_S)
    assert [record.attempts for record in ended] == [1, 1]
    assert floor.counts() == {A: 2}
