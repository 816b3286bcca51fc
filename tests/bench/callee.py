"""One guest in this process, called in four ways on the same body.

    raw    the C function, arguments ready, the result deleted undecoded: what the engine and the guest take
    codec  farm's codec: bytes and fields in, outputs out, on the same instance as `raw` and `own`
    call   what a worker calls: the codec, and which instance serves, and what the guest published
    own    wasmtime-py's own call of the same function, with a record that is made already
No ticker runs: nothing but the call is measured.
"""

from __future__ import annotations

import ctypes
import importlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import wasmtime
from wasmtime import component as wt

from farm.invocation import Invoke
from farm.spec import AppSpec, ComponentSpec, FarmSpec
from farm.workers import cache, compiler, native, shapes
from farm.workers.cache import Cache, Entry
from farm.workers.codec import Codec
from farm.workers.component import Components
from farm.workers.engine import Engine
from farm.workers.exports import registry as exports
from farm.workers.instances import index_of
from tests.bench import guests
from tests.bench.guests import Guest

MEMORY_BYTES: Final = 256 << 20
FOREVER_TICKS: Final = 1 << 40
KEPT_BYTES: Final = 31 << 20
DIFFERENT: Final = 64  # messages that are taken in turn: what repeats is cheaper than what does not
DIFFERENT_BYTES: Final = 4 << 20

_ffi: Final[Any] = importlib.import_module("wasmtime._ffi")

Call = Callable[[], object]


def invokes_of(payload: bytes) -> list[Invoke]:
    """Different messages of the same size and kind: other ids, another first byte."""
    count = max(2, min(DIFFERENT, DIFFERENT_BYTES // len(payload)))
    return [
        Invoke(n, n, 1, "guest", "test", f"0199f0c8-6d5e-7000-8000-{n:012x}", "in", bytes([65 + n % 26]) + payload[1:])
        for n in range(count)
    ]


@dataclass
class Callee:
    """A guest that can be called. `calls(payload)` gives the four ways."""

    handler: exports.Handler
    store: wasmtime.Store
    func: wt.Func
    codec: Codec
    components: Components

    def calls(self, payload: bytes) -> dict[str, Call]:
        """The ways to call it, each checked once: the answer is the body."""
        invokes = invokes_of(payload)
        made = {
            "raw": self._raw(invokes[0]),
            "codec": self._codec(invokes),
            "call": self._call(invokes),
            "own": self._own(invokes[0]),
        }
        for way in ("codec", "call"):
            outputs = made[way]()
            assert isinstance(outputs, list), outputs
            assert outputs[0].payload[1:] == payload[1:], f"{way} answered something else"
        return made

    def _raw(self, invoke: Invoke) -> Call:
        ((_, kind),) = self.func.type(self.store).params
        arguments = (_ffi.wasmtime_component_val_t * 1)()
        kind.convert_to_c(self.store, self._record(invoke), ctypes.pointer(arguments[0]))
        result = _ffi.wasmtime_component_val_t()
        pointer, one = ctypes.c_void_p(ctypes.addressof(result)), ctypes.c_size_t(1)
        func, context = ctypes.addressof(native.func_of(self.func)), native.context_of(self.store)
        given = (*map(ctypes.c_void_p, (func, context, ctypes.addressof(arguments))), one, pointer, one)
        call, delete = _function("wasmtime_component_func_call"), _function("wasmtime_component_val_delete")

        def run(_keep: object = arguments) -> None:
            assert not call(*given)
            delete(pointer)
            result.kind = 0

        return run

    def _codec(self, invokes: list[Invoke]) -> Call:
        func, context = ctypes.addressof(native.func_of(self.func)), native.context_of(self.store)
        handler, codec = self.handler, self.codec
        target = codec.target(context, func)
        turn = itertools.cycle(invokes)
        arguments, answer = handler.form.arguments, handler.kind.answer
        return lambda: answer(codec.call(target, arguments(next(turn), "text")))

    def _call(self, invokes: list[Invoke]) -> Call:
        components, turn = self.components, itertools.cycle(invokes)

        def run() -> object:
            outputs, failed = components.call(next(turn))
            assert failed is None, failed
            return outputs

        return run

    def _own(self, invoke: Invoke) -> Call:
        record = self._record(invoke)
        return lambda: self.func(self.store, record)

    def _record(self, invoke: Invoke) -> wt.Record:
        """The argument as wasmtime-py wants it."""
        (given,) = self.handler.form.arguments(invoke, "text")
        ((_, shape),) = self.handler.form.function.params
        assert isinstance(shape, shapes.Record)
        record = wt.Record()
        for (name, _), value in zip(shape.fields, given, strict=True):
            setattr(record, name, wt.Variant(value[0], _text(value[1])) if name == "payload" else value)
        return record


def _text(body: str | bytes) -> str:
    """Our codec takes text as UTF-8 bytes too; wasmtime-py does not."""
    return body if isinstance(body, str) else body.decode()


def _function(name: str) -> Callable[..., Any]:
    function = _ffi.dll[name]  # an object of its own: bare, as cheap as ctypes has it
    function.restype = ctypes.c_void_p
    return function


def keep_memory() -> None:
    """Have the C allocator keep what it is given back: else what ran before decides how a list of 320 KiB is paid for.

    Source: mallopt(3), M_MMAP_THRESHOLD: it grows to the largest block that was freed, up to 32 MiB.
    """
    c = ctypes.CDLL(None)
    c.malloc.restype = ctypes.c_void_p
    c.free.argtypes = [ctypes.c_void_p]
    c.free(c.malloc(KEPT_BYTES))


@contextmanager
def callee(guest: Guest) -> Iterator[Callee]:
    """That guest, compiled (kept in build/bench) and instantiated."""
    keep_memory()
    wasm = guests.path_of(guest)
    entry = compiler.inspect(wasm, Cache(guests.cache_folder())).entry
    assert entry is not None, f"{wasm} cannot be compiled"
    with ExitStack() as stack:
        engine = stack.enter_context(Engine())
        yield _callee(engine, entry, wasm, stack)


def _linker(engine: Engine, compiled: wt.Component) -> wt.Linker:
    """WASI, and in place of what farm offers functions that none of these guests calls."""
    linker = engine.linker()
    with linker.root() as root:
        for name, item in shapes.imports_of(compiled, engine.raw).items():
            if isinstance(item, shapes.Interface) and not name.startswith("wasi:"):
                with root.add_instance(name) as instance:
                    for function in item.functions:
                        instance.add_func(function, lambda *_: None)
    return linker


def _callee(engine: Engine, entry: Entry, wasm: Path, stack: ExitStack) -> Callee:
    compiled = cache.load(engine, entry)
    handler = exports.recognise(shapes.exports_of(compiled, engine.raw), str(wasm))
    assert isinstance(handler, exports.Handler), handler
    linker = _linker(engine, compiled)
    store = engine.store(MEMORY_BYTES)
    stack.callback(store.close)
    store.set_wasi(wasmtime.WasiConfig())
    store.set_epoch_deadline(FOREVER_TICKS)
    func = linker.instantiate(store, compiled).get_func(store, index_of(compiled, handler.place))
    assert func is not None
    component = ComponentSpec("guest", wasm, (), wasm=wasm, memory_bytes=MEMORY_BYTES)
    spec = FarmSpec(wasm.parent / "farm.toml", AppSpec("bench"), {}, {"guest": component})
    components = Components(engine, spec, {"guest": entry.encoded()}, lambda *_: None)
    stack.callback(components.close)
    return Callee(handler, store, func, Codec(handler.form.function, engine.memory), components)
