"""The instances of one component: made, used again or fresh for each message, thrown away.

reuse  one instance serves message after message; guest globals persist. Recycled after CALLS_LIMIT calls, when it holds
       on to much of its memory, and after every trap (a store that trapped is dead).
fresh  one instance serves one message; the next one is made while the worker is idle.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import wasmtime
from wasmtime import component as wt

from farm.spec import ComponentSpec
from farm.workers import native
from farm.workers.codec import Codec, Target
from farm.workers.engine import Engine, ticks
from farm.workers.guest_output import GuestOutput, Stream

CALLS_LIMIT: Final = 10_000
CALLS_BETWEEN_LOOKS: Final = 256
GROWTH_SHARE: Final = 0.5  # of the memory limit: an instance that grew by more is recycled

STATM: Final = Path("/proc/self/statm")
PAGE_BYTES: Final = os.sysconf("SC_PAGESIZE")


def data_bytes() -> int:
    """Writable private memory of this process: guests' memories count from the moment they grow, touched or not.

    Source: proc(5), statm, field 6.
    """
    return int(STATM.read_bytes().split()[5]) * PAGE_BYTES


@dataclass
class Instance:
    """A live instance and what a call of its handler needs."""

    store: wasmtime.Store
    structure: ctypes.Structure  # what the target points to
    target: Target
    data_bytes: int
    ticked: int  # when its deadline was set last, in ticks of the engine
    calls: int = 0

    def growth_bytes(self) -> int:
        """By how much the process grew since this instance was made: of its own and, rarely, of others."""
        return data_bytes() - self.data_bytes

    def close(self) -> None:
        """Free the instance and all it owns."""
        self.store.close()


def environment(spec: ComponentSpec) -> list[tuple[str, str]]:
    """A guest's environment: the manifest's, and each variable as FARM_VARIABLE_<NAME>."""
    variables = {f"FARM_VARIABLE_{name.upper().replace('-', '_')}": value for name, value in spec.variables.items()}
    return list({**spec.environment, **variables}.items())


@dataclass(frozen=True)
class Callee:
    """What instances are made of: native code, the path of the handler's function, and the codec that calls it."""

    compiled: wt.Component
    place: tuple[str, ...]
    codec: Codec


class Instances:
    """Makes and keeps the instances of one component."""

    def __init__(self, engine: Engine, spec: ComponentSpec, callee: Callee, output: GuestOutput) -> None:
        self._engine, self._spec, self._callee, self._output = engine, spec, callee, output
        self.linker = engine.linker()
        self._environment = environment(spec)
        self._index = index_of(callee.compiled, callee.place)
        self._deadline = native.Ticks(ticks(spec.deadline_s))
        self._idle: Instance | None = None
        self._fails_to_start = False

    def take(self) -> Instance:
        """An instance for one call, whose deadline runs from here: that of making it included. Give it back or drop it.

        Raises:
          wasmtime.WasmtimeError: it could not be made: the guest's start trapped, or wants more than its limits.
        """
        instance, self._idle = self._idle, None
        if instance is None:
            return self._make()
        ticked = self._engine.ticked
        if instance.ticked != ticked:  # within a tick it would be set to what it is
            instance.ticked = ticked
            native.set_epoch_deadline(instance.target[1], self._deadline)
        return instance

    def give_back(self, instance: Instance, *, full: bool = False) -> None:
        """A call has ended without a trap: keep its instance if it may serve again.

        Args:
          full: the guest met its memory limit; memory never shrinks.
        """
        instance.calls += 1
        if self._spec.instances == "reuse" and not full and not self._worn(instance):
            self._idle = instance
        else:
            instance.close()

    def prepare(self) -> bool:
        """Make the instance of the next call now; False when one waits, or when the last that was made failed to start.

        A failure is left to the next call, which meets it again and tells it.
        """
        if self._idle is not None or self._fails_to_start:
            return False
        try:
            self._idle = self._make()
        except wasmtime.WasmtimeError:
            return False
        return True

    def close(self) -> None:
        """Drop what waits."""
        instance, self._idle = self._idle, None
        if instance is not None:
            instance.close()

    def _worn(self, instance: Instance) -> bool:
        if instance.calls >= CALLS_LIMIT:
            return True
        if instance.calls % CALLS_BETWEEN_LOOKS:
            return False
        return instance.growth_bytes() > GROWTH_SHARE * self._spec.memory_bytes

    def _make(self) -> Instance:
        store = self._engine.store(self._spec.memory_bytes)
        try:
            store.set_wasi(self._wasi())
            ticked = self._engine.ticked
            store.set_epoch_deadline(self._deadline.value)
            before_bytes = data_bytes()
            instance = self.linker.instantiate(store, self._callee.compiled)
            func = instance.get_func(store, self._index)
            assert func is not None, "the compiler found this export"
        except BaseException as error:
            self._fails_to_start = isinstance(error, wasmtime.WasmtimeError)
            store.close()
            raise
        self._fails_to_start = False
        structure = native.func_of(func)
        target = self._callee.codec.target(native.context_of(store), ctypes.addressof(structure))
        return Instance(store, structure, target, before_bytes, ticked)

    def _wasi(self) -> wasmtime.WasiConfig:
        wasi = wasmtime.WasiConfig()
        wasi.env = self._environment
        wasi.stdout_custom = self._writer("stdout")
        wasi.stderr_custom = self._writer("stderr")
        return wasi

    def _writer(self, stream: Stream) -> Callable[[bytes], None]:
        return lambda data: self._output.write(stream, data)


def index_of(compiled: wt.Component, place: tuple[str, ...]) -> wt.ExportIndex:
    """The index of an exported function, by its path."""
    index: wt.ExportIndex | None = None
    for name in place:
        index = compiled.get_export_index(name, index)
        assert index is not None, "the compiler found this export"
    assert index is not None
    return index
