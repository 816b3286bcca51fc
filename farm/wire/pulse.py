"""The pulse: each child -> supervisor, and each worker <-> ingest, in shared memory.

    slot, 64 bytes   promise   you will hear of me by then (monotonic ns; 0: not beating yet)
                     started   the sequence number of the call that runs, or ran last
                     since     when it was started (monotonic ns), 0 when none runs
                     revoked   what is not started up to here must not start (ingest's word; the child writes the rest)
One anonymous mapping, made before the first fork: written in 0.1 us, readable after a SIGKILL. Words are 8 bytes,
aligned, written whole.
"""

from __future__ import annotations

import mmap
import time
from typing import Final

SLOT_COUNT: Final = 256
SLOT_BYTES: Final = 64
_WORDS: Final = SLOT_BYTES // 8
_PROMISE, _STARTED, _SINCE, _REVOKED = range(4)


class Pulse:
    """One slot."""

    def __init__(self, words: memoryview, slot: int) -> None:
        self._words = words[slot * _WORDS : (slot + 1) * _WORDS]
        self.slot = slot

    def promise(self, ahead_s: float) -> None:
        """Say that this process will be heard of again within `ahead_s`."""
        self._words[_PROMISE] = time.monotonic_ns() + int(ahead_s * 1e9)

    def promised_ns(self) -> int:
        """Until when the process promised to be heard of, in monotonic ns; 0 before its first beat."""
        return self._words[_PROMISE]

    def start(self, seq: int, now_ns: int, ahead_ns: int) -> None:
        """Say that the call `seq` starts now (monotonic ns), and promise as `promise` does."""
        words = self._words
        words[_PROMISE] = now_ns + ahead_ns
        words[_SINCE] = now_ns
        words[_STARTED] = seq

    def idle(self) -> None:
        """Say that no call runs."""
        self._words[_SINCE] = 0

    def started(self) -> tuple[int, int]:
        """The sequence number started last (0: none yet), and since when it runs in monotonic ns (0: it ended)."""
        return self._words[_STARTED], self._words[_SINCE]

    def revoke(self, seq: int) -> None:
        """Say that nothing up to `seq` that has not started may start any more. Ingest's word; 0: everything may."""
        self._words[_REVOKED] = seq

    def revoked(self) -> int:
        """Up to which sequence number what has not started must not start. Read it after `start`, never before."""
        return self._words[_REVOKED]

    def forget(self) -> None:
        """Say that nothing was started: sequence numbers of another life of ingest mean nothing to this one."""
        self._words[_SINCE] = 0
        self._words[_STARTED] = 0

    def clear(self) -> None:
        """Make the slot ready for its next process. Only when the one before was reaped."""
        for word in range(_WORDS):
            self._words[word] = 0


class Board:
    """All slots: made by the supervisor before it forks."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOT_COUNT * SLOT_BYTES)
        self._words = memoryview(self._memory).cast("Q")

    def slot(self, number: int) -> Pulse:
        """The slot `number`, 0..SLOT_COUNT-1."""
        return Pulse(self._words, number)
