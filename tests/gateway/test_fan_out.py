"""One reader of the fan-out, on a pipe that does what a test says."""

from __future__ import annotations

import asyncio

import pytest

from farm.gateway import websockets
from farm.gateway.counts import Counts
from farm.gateway.websockets import QUEUE_COUNT_LIMIT, QUEUE_LIMIT_BYTES, Reader


class Pipe:
    """A client that takes what is written, or does not."""

    def __init__(self) -> None:
        self.taking = asyncio.Event()
        self.taking.set()
        self.written: list[bytes] = []
        self.failed: tuple[int, str] | None = None

    def is_open(self) -> bool:
        return self.failed is None

    def is_writable(self) -> bool:
        return self.taking.is_set()

    async def writable(self) -> None:
        await self.taking.wait()

    def write(self, frames: bytes) -> None:
        self.written.append(frames)

    def fail(self, code: int, reason: str) -> None:
        self.failed = code, reason


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_all_that_is_queued_is_one_write() -> None:
    pipe = Pipe()
    reader = Reader(pipe, Counts())
    writing = asyncio.ensure_future(reader.run())
    for frame in (b"a", b"b", b"c"):
        reader.offer(frame)
    await turns()
    assert pipe.written == [b"abc"]
    writing.cancel()


async def test_a_burst_over_the_bound_is_written_as_long_as_the_client_takes_it() -> None:
    pipe, counts = Pipe(), Counts()
    reader = Reader(pipe, counts)
    for _ in range(3 * QUEUE_COUNT_LIMIT):
        reader.offer(b"x")
    assert pipe.failed is None
    assert pipe.written == [b"x" * QUEUE_COUNT_LIMIT] * 2
    assert counts.slow == 0


async def test_over_the_count_one_that_takes_nothing_is_closed() -> None:
    pipe, counts = Pipe(), Counts()
    pipe.taking.clear()
    reader = Reader(pipe, counts)
    for _ in range(QUEUE_COUNT_LIMIT):
        reader.offer(b"x")
    assert pipe.failed is None
    reader.offer(b"x")
    assert pipe.failed == (4408, "slow")
    assert counts.slow == 1


async def test_over_the_bytes_one_that_takes_nothing_is_closed() -> None:
    pipe = Pipe()
    pipe.taking.clear()
    reader = Reader(pipe, Counts())
    reader.offer(b"x" * QUEUE_LIMIT_BYTES)
    assert pipe.failed is None
    reader.offer(b"x")
    assert pipe.failed == (4408, "slow")


async def test_one_message_is_always_let_in() -> None:
    pipe = Pipe()
    pipe.taking.clear()
    reader = Reader(pipe, Counts())
    reader.offer(b"x" * 4 * QUEUE_LIMIT_BYTES)
    assert pipe.failed is None


async def test_one_that_takes_nothing_for_the_time_of_a_write_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websockets, "WRITE_S", 0.01)
    pipe, counts = Pipe(), Counts()
    pipe.taking.clear()
    reader = Reader(pipe, counts)
    reader.offer(b"x")
    await asyncio.wait_for(reader.run(), 20)
    assert pipe.failed == (4408, "slow")
    assert counts.slow == 1


async def test_one_that_takes_it_again_goes_on() -> None:
    pipe = Pipe()
    pipe.taking.clear()
    reader = Reader(pipe, Counts())
    writing = asyncio.ensure_future(reader.run())
    reader.offer(b"a")
    await turns()
    reader.offer(b"b")
    pipe.taking.set()
    await turns(20)
    assert b"".join(pipe.written) == b"ab"
    writing.cancel()


async def test_nothing_is_written_after_a_close() -> None:
    pipe = Pipe()
    reader = Reader(pipe, Counts())
    reader.offer(b"a")
    reader.close(4409, "gap")
    reader.offer(b"b")
    await asyncio.wait_for(reader.run(), 20)
    assert pipe.written == []
    assert pipe.failed == (4409, "gap")


async def test_before_the_end_what_is_queued_is_handed_over() -> None:
    pipe = Pipe()
    reader = Reader(pipe, Counts())
    reader.offer(b"a")
    reader.finish()
    assert pipe.written == [b"a"]
