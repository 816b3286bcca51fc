"""Calling components: an Invoke in, outputs or a Failed out, whatever the guest does.

Invoke -> exports/* (arguments) -> codec -> guest -> codec -> exports/* (answer) -> outputs
                                             guest -> imports/* (held publishes) -> outputs
"""

from __future__ import annotations

from collections.abc import Mapping

import wasmtime
from wasmtime import component as wt

from farm.errors import Internal
from farm.invocation import Failed, Invoke, Output
from farm.spec import ComponentSpec, FarmSpec
from farm.workers import cache, native, shapes, traps
from farm.workers.cache import Entry, decoded
from farm.workers.codec import Codec, HostFunction
from farm.workers.engine import Engine
from farm.workers.exports import registry as exports
from farm.workers.failures import failed, too_much
from farm.workers.guest_output import GuestOutput, OnOutput
from farm.workers.imports import registry as imports
from farm.workers.imports.offer import Held
from farm.workers.instances import Callee, Instance, Instances
from farm.workers.lift import TooMany
from farm.workers.lower import TooLarge


class Component:
    """One component of the manifest, mapped and ready to be called; an instance is made when the first call needs it.

    Raises:
      Internal: the cache entry is not the one the compiler reported, or holds no handler.
    """

    def __init__(self, engine: Engine, spec: ComponentSpec, entry: Entry, on_output: OnOutput) -> None:
        self.spec = spec
        compiled = cache.load(engine, entry)
        handler = exports.recognise(shapes.exports_of(compiled, engine.raw), str(spec.wasm))
        if not isinstance(handler, exports.Handler):
            raise Internal(handler)
        self._arguments, self._read = handler.form.arguments, handler.kind.answer
        self._codec = Codec(handler.form.function, engine.memory)
        self._held = Held()
        self._output = GuestOutput(spec.name, on_output)
        self._instances = Instances(engine, spec, Callee(compiled, handler.place, self._codec), self._output)
        self._hosts = self._define(engine, compiled)

    def call(self, invoke: Invoke) -> tuple[list[Output], Failed | None]:
        """Run the handler on one message. What a guest does wrong is the second value, and the first is empty.

        Raises:
          Internal: a host function of ours failed.
        """
        self._output.begin(invoke.id)
        try:
            answer = self._answer(invoke)
        finally:
            held = self._held.take()
            self._output.end()
        if isinstance(answer, Failed):
            return [], answer
        outputs = held + answer if held else answer
        failure = too_much(outputs)
        return ([], failure) if failure is not None else (outputs, None)

    def prepare(self) -> bool:
        """Make the next call's instance now; False when there is nothing to make."""
        return self._instances.prepare()

    def close(self) -> None:
        """Free the waiting instance."""
        self._instances.close()

    def _answer(self, invoke: Invoke) -> list[Output] | Failed:
        try:
            instance = self._instances.take()
        except wasmtime.WasmtimeError as error:
            return traps.classify(error, self.spec)
        arguments = self._arguments(invoke, self.spec.payload)
        try:
            value = self._codec.call(instance.target, arguments)
        except wasmtime.WasmtimeError as error:
            return self._broken(instance, error)
        except TooMany as error:
            self._instances.give_back(instance)
            return failed("output", str(error))
        except TooLarge as error:
            self._instances.give_back(instance)
            return failed("memory", str(error))
        except BaseException:
            instance.close()
            raise
        answer = self._read(value)
        self._instances.give_back(instance, full=isinstance(answer, Failed) and answer.kind == "memory")
        return answer

    def _broken(self, instance: Instance, error: wasmtime.WasmtimeError) -> Failed:
        """A trap: the store is dead."""
        grown_bytes = instance.growth_bytes()
        instance.close()
        for host in self._hosts:
            fault, host.fault = host.fault, None
            if fault is not None:
                raise Internal(f"component {self.spec.name}: a host function failed") from fault
        return traps.classify(error, self.spec, grown_bytes > traps.FULL_SHARE * self.spec.memory_bytes)

    def _define(self, engine: Engine, compiled: wt.Component) -> list[HostFunction]:
        hosts: list[HostFunction] = []
        for offer, functions in imports.offered(shapes.imports_of(compiled, engine.raw)):
            made = offer.make(self._held)
            with self._instances.linker.root() as root, root.add_instance(offer.name) as instance:
                for name, function in functions.items():
                    host = HostFunction(function, made[name], engine.memory)
                    native.add_function(instance, name, host.callback)
                    hosts.append(host)
        return hosts


class Components:
    """All components of a farm, in one worker. Nothing is mapped before `prepare` or the first call needs it.

    Args:
      entries: component name -> its cache entry, as `Entry.encoded` made it.
    """

    def __init__(self, engine: Engine, spec: FarmSpec, entries: Mapping[str, bytes], on_output: OnOutput) -> None:
        self._engine, self._spec, self._entries, self._on_output = engine, spec, entries, on_output
        self._live: dict[str, Component] = {}

    def call(self, invoke: Invoke) -> tuple[list[Output], Failed | None]:
        """Run `invoke.component` on a message: outputs, or why there are none.

        Raises:
          Internal: no such component, its cache entry was changed, or a host function of ours failed.
        """
        component = self._live.get(invoke.component)
        return (component or self._map(invoke.component)).call(invoke)

    def prepare(self) -> None:
        """Map every component: 2 ms each, and no guest runs.

        Raises:
          Internal: a cache entry was changed.
        """
        for name in self._spec.components:
            if name not in self._live:
                self._map(name)

    def prepare_next(self) -> bool:
        """Make one instance that the next call of its component will find ready: idle work, False when there is none.

        A guest's start may run in it, so the engine must be ticking.
        """
        return any(component.prepare() for component in self._live.values())

    def close(self) -> None:
        """Free all instances."""
        for component in self._live.values():
            component.close()
        self._live.clear()

    def _map(self, name: str) -> Component:
        spec, entry = self._spec.components.get(name), self._entries.get(name)
        if spec is None or entry is None:
            raise Internal(f"no compiled component {name!r} in this worker")
        component = self._live[name] = Component(self._engine, spec, decoded(entry), self._on_output)
        return component
