"""Who gets what: the part of the dispatcher that shares waiting records out among workers.

A hand is filled when no more than the mark is left in it, up to its credit, with what is a fair part of what waits: of
each lane in turn, least loaded hands first. So a shallow queue is spread over idle workers, and a deep one travels in
batches. Rules that hold beside credit:
  * `concurrency` of a component: no more hands than that hold some of it.
  * No more than half of the hands (at least one) hold some of a component while others wait, except that a hand with
    nothing in it takes from the quickest one.
  * What must run alone goes into an empty hand, which then gets nothing else; while it waits, hands are kept back until
    they are empty, at most half of them (at least one).
  * Of a component that was set aside nothing runs but, when its time has come, one record alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from farm.ingest.table import CREDIT_US, MARK_US, Hand, Lane, Record

BATCH_LIMIT: Final = 64
BATCH_LIMIT_BYTES: Final = 1 << 20  # of payload in one batch; one larger message alone
CHUNK_US: Final = 320  # less work than this is not spread: waking a worker costs as much

Batch = tuple[Hand, list[Record]]


def share(lanes: Sequence[Lane], hands: Sequence[Hand], now_s: float) -> list[Batch]:
    """Give out what may run now.

    Args:
      lanes: those with something waiting for a worker, the one whose turn it is first.
      hands: all of them.
    Returns: what each hand has just taken.
    """
    free: list[Hand] = sorted(
        (h for h in hands if h.open and not h.sole and not h.stuck and h.load_us <= MARK_US), key=_load
    )
    if not free:
        return []
    batches: list[Batch] = []
    shared: list[Lane] = []
    kept = 0
    for lane in lanes:
        standing = lane.quarantine.standing(now_s)
        if standing == "free":
            kept += _give_alone(lane, free, batches)
            if lane.queue:
                shared.append(lane)
        elif standing == "probe" and not lane.assigned:
            kept += _give_probe(lane, free, batches)
    kept = min(kept, max(1, len(hands) // 2))
    free = free[kept:]
    half = max(1, len(hands) // 2)
    for place, hand in enumerate(free):
        if not shared:
            break
        taken = _fill(hand, shared, len(free) - place, half)
        if taken:
            batches.append((hand, taken))
            shared = [lane for lane in shared if lane.queue]
    return batches


def _load(hand: Hand) -> int:
    return hand.load_us


def _give_alone(lane: Lane, free: list[Hand], batches: list[Batch]) -> int:
    """Give what must run alone to empty hands, which leave `free`; how many records still want one."""
    while lane.alone and free and not free[0].records:
        if lane.limit is not None and lane.holders >= lane.limit:
            return 0
        _give_sole(lane.alone.popleft(), free.pop(0), batches)
    return len(lane.alone)


def _give_probe(lane: Lane, free: list[Hand], batches: list[Batch]) -> int:
    if not free or free[0].records:
        return 1
    _give_sole((lane.alone or lane.queue).popleft(), free.pop(0), batches)
    return 0


def _give_sole(record: Record, hand: Hand, batches: list[Batch]) -> None:
    hand.take(record, record.lane.cost_us)
    hand.sole = True
    batches.append((hand, [record]))


def _fill(hand: Hand, lanes: list[Lane], hands_left: int, half: int) -> list[Record]:
    """Fill one hand with a fair part of every lane that it may hold."""
    crowded = len(lanes) > 1
    allowed = [lane for lane in lanes if _may_hold(hand, lane, half if crowded else None)]
    if not allowed and not hand.records:
        allowed = sorted((lane for lane in lanes if _may_hold(hand, lane, None)), key=_soonest_done)[:1]
    taken: list[Record] = []
    size_bytes = 0
    for place, lane in enumerate(allowed):
        cost_us = lane.cost_us
        room_us = CREDIT_US - hand.load_us
        if room_us < cost_us:
            continue
        lanes_left = len(allowed) - place
        part = max(1, min(room_us // cost_us, BATCH_LIMIT - len(taken)) // lanes_left)
        fair = max(-(-len(lane.queue) // hands_left), CHUNK_US // cost_us, 1)
        for _ in range(min(part, fair, len(lane.queue), BATCH_LIMIT - len(taken))):
            payload_bytes = len(lane.queue[0].delivery.message.payload)
            if taken and size_bytes + payload_bytes > BATCH_LIMIT_BYTES:
                return taken
            size_bytes += payload_bytes
            record = lane.queue.popleft()
            hand.take(record, cost_us)
            taken.append(record)
    return taken


def _soonest_done(lane: Lane) -> tuple[int, int]:
    return lane.cost_us, lane.holders


def _may_hold(hand: Hand, lane: Lane, half: int | None) -> bool:
    others = lane.holders - (hand.held[lane.index] > 0)
    return (lane.limit is None or others < lane.limit) and (half is None or others < half)
