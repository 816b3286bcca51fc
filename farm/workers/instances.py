"""The instances of one component: made, used again or fresh for each message, thrown away.

reuse  one instance serves message after message; guest globals persist. Recycled after CALLS_LIMIT calls, when it holds
       on to much of its memory, and after every trap (a store that trapped is dead).
fresh  one instance serves one message; the next one is made while the worker is idle.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import wasmtime
from wasmtime import component as wt

from farm.spec import ComponentSpec
from farm.workers import native
from farm.workers.codec import address_of
from farm.workers.engine import Engine, ticks
from farm.workers.guest_output import GuestOutput, Stream

CALLS_LIMIT: Final = 10_000
CALLS_BETWEEN_LOOKS: Final = 64
GROWTH_SHARE: Final = 0.5  # of the memory limit: an instance that grew by more is recycled
START_S: Final = 5.0

STATM: Final = Path("/proc/self/statm")
PAGE_BYTES: Final = os.sysconf("SC_PAGESIZE")


def data_bytes() -> int:
    """Writable private memory of this process: guests' memories count from the moment they grow, touched or not.

    Source: proc(5), statm, field 6.
    """
    return int(STATM.read_bytes().split()[5]) * PAGE_BYTES


@dataclass
class Instance:
    """A live instance and the addresses that a call needs."""

    store: wasmtime.Store
    func: object  # keeps the structure at func_address alive
    context: int
    func_address: int
    data_bytes: int
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


class Instances:
    """Makes and keeps the instances of one component."""

    def __init__(
        self, engine: Engine, spec: ComponentSpec, compiled: wt.Component, place: tuple[str, ...], output: GuestOutput
    ) -> None:
        self._engine, self._spec, self._compiled, self._output = engine, spec, compiled, output
        self.linker = engine.linker()
        self._environment = environment(spec)
        self._index = index_of(compiled, place)
        self._idle: Instance | None = None

    @property
    def has_idle(self) -> bool:
        """Whether the next call finds an instance ready."""
        return self._idle is not None

    def take(self) -> Instance:
        """An instance for one call; give it back or drop it.

        Raises:
          wasmtime.WasmtimeError: it could not be made: the guest's start trapped, or wants more than its limits.
        """
        instance, self._idle = self._idle, None
        return instance if instance is not None else self._make()

    def give_back(self, instance: Instance) -> None:
        """A call has ended well: keep its instance if it may serve again."""
        instance.calls += 1
        if self._spec.instances == "reuse" and not self._worn(instance):
            self._idle = instance
        else:
            instance.close()

    def prepare(self) -> None:
        """Make the instance of the next call now, if none waits.

        Raises:
          wasmtime.WasmtimeError: as `take`.
        """
        if self._idle is None:
            self._idle = self._make()

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
            store.set_epoch_deadline(ticks(START_S))
            before_bytes = data_bytes()
            instance = self.linker.instantiate(store, self._compiled)
            func = instance.get_func(store, self._index)
            assert func is not None, "the compiler found this export"
        except BaseException:
            store.close()
            raise
        structure = native.func_of(func)
        return Instance(store, structure, native.context_of(store), address_of(structure), before_bytes)

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
