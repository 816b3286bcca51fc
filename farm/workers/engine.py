"""The engine: wasmtime with farm's settings, and stores with farm's limits. One for each process, made after the fork.

Time is counted in ticks of 10 ms: whoever owns the engine calls `tick()` from a thread of its own, and a guest that has
used up its ticks traps. Without ticks no guest is ever stopped.
"""

from __future__ import annotations

import math
import platform
from importlib.metadata import version
from types import TracebackType
from typing import Final, Self

import wasmtime
from wasmtime import component as wt

from farm.workers import native

TICK_S: Final = 0.01
STACK_BYTES: Final = 512 << 10

# Per store. A Python handler needs 14 instances, 1 memory, 2 tables and 5,672 elements; composed components more. The
# memory limit holds for each memory, so their number bounds the whole.
INSTANCES_LIMIT: Final = 256
MEMORIES_LIMIT: Final = 4
TABLES_LIMIT: Final = 64
TABLE_ELEMENTS_LIMIT: Final = 100_000

SETTINGS: Final = f"epoch_interruption=1 threads=0 memory64=0 async=0 tasks=0 max_wasm_stack={STACK_BYTES}"


def fingerprint() -> str:
    """What a compiled component depends on besides its .wasm: wasmtime's version, the machine and our settings."""
    return f"wasmtime {version('wasmtime')} {platform.machine()} {SETTINGS}"


class Engine:
    """A wasmtime engine. Usable as a context manager: leaving it frees what it owns."""

    def __init__(self) -> None:
        config = wasmtime.Config()
        config.epoch_interruption = True
        config.wasm_threads = False
        config.wasm_memory64 = False
        config.max_wasm_stack = STACK_BYTES
        native.forbid_async(config)
        self.raw: Final = wasmtime.Engine(config)
        self.memory: Final = native.whole_memory()
        self.ticked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.raw.close()

    def tick(self) -> None:
        """Say that 10 ms have passed. One thread, any; runs while a guest does."""
        self.raw.increment_epoch()
        self.ticked += 1

    def store(self, memory_bytes: int) -> wasmtime.Store:
        """A store whose guests may use `memory_bytes` in each memory; its deadline must be set before each call."""
        store = wasmtime.Store(self.raw)
        store.set_limits(
            memory_size=memory_bytes,
            table_elements=TABLE_ELEMENTS_LIMIT,
            instances=INSTANCES_LIMIT,
            tables=TABLES_LIMIT,
            memories=MEMORIES_LIMIT,
        )
        return store

    def linker(self) -> wt.Linker:
        """A linker that offers WASI 0.2, with which a guest may do nothing but read clocks, draw random and print."""
        linker = wt.Linker(self.raw)
        linker.add_wasip2()
        return linker


def ticks(seconds: float) -> int:
    """Ticks that are at least `seconds` long, whenever within a tick they are counted from.

    One for the part of a tick that is over already, one for a tick that a thread has given and not counted yet.
    """
    return math.ceil(seconds / TICK_S) + 2
