"""What listeners heard is counted: what came twice, what is missing, and who was closed."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from typing import Any

from tests.bench.load_drive import Drive
from tests.bench.load_listen import Hall


class Socket:
    """A connection that brings these frames, and is then closed, or stays open."""

    def __init__(self, numbers: list[int], close_code: int | None) -> None:
        self._numbers = numbers
        self.close_code = close_code

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in self._numbers:
            yield f"{number} 1 xxx".encode()
        if self.close_code is None:
            raise KeyboardInterrupt  # as a test's way out of a connection that stays


async def heard(*sockets: Any) -> tuple[int, int, int, dict[str, int]]:
    nobody: Any = None
    hall = Hall(Drive(1), relay=nobody, options=argparse.Namespace(payload=100))
    hall.taken = [0, 1, 2]
    for socket in sockets:
        try:
            await hall.listen(socket)
        except KeyboardInterrupt:
            continue
    found = hall.hearing()
    return found.heard, found.missing, found.twice, dict(found.closed)


async def test_each_listener_that_stays_must_hear_each_message_once() -> None:
    assert await heard(Socket([0, 1, 2], None), Socket([2, 0, 1], None)) == (6, 0, 0, {})
    assert await heard(Socket([0, 2], None)) == (2, 1, 0, {})
    assert await heard(Socket([0, 1, 1, 2], None)) == (3, 0, 1, {})


async def test_a_listener_that_was_closed_misses_what_came_afterwards_and_that_is_a_reported_gap() -> None:
    assert await heard(Socket([0], 4408), Socket([0, 1, 2], None)) == (4, 0, 0, {"4408": 1})


async def test_what_others_publish_is_no_message_of_ours() -> None:
    class Stranger(Socket):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"Goodbye"

    assert await heard(Stranger([], 1000)) == (0, 0, 0, {"1000": 1})
