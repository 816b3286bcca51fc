"""Components of hand-written guests, ready to be called in the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from farm.invocation import Failed, Invoke, Output
from farm.rundir import Rundir
from farm.spec import AppSpec, ComponentSpec, FarmSpec
from farm.workers import compiler
from farm.workers.cache import Cache
from farm.workers.component import Components
from farm.workers.engine import TICK_S, Engine
from tests.guests import wat

INVOKE = Invoke(seq=1, delivery=1, attempt=1, component="guest", broker="test", id="id-1", subject="a.b", payload=b"hi")


def rundir(folder: Path) -> Rundir:
    """Directories of a farm, made."""
    found = Rundir(folder / "state", folder / "run")
    found.make()
    return found


def spec_of(wasm: Path, **settings: object) -> ComponentSpec:
    """The component `guest` with some of its settings."""
    return replace(ComponentSpec("guest", wasm, (), wasm=wasm), **settings)


@dataclass
class Guest:
    """One component, and what it printed."""

    components: Components
    folder: Path
    printed: list[tuple[str, str, str, str]] = field(default_factory=list[tuple[str, str, str, str]])

    def call(self, payload: bytes = b"hi", **fields: object) -> tuple[list[Output], Failed | None]:
        """One call with this payload."""
        return self.components.call(msgspec.structs.replace(INVOKE, payload=payload, **fields))

    def answers(self, payload: bytes = b"hi", **fields: object) -> list[Output]:
        """The outputs of a call that must succeed."""
        outputs, failure = self.call(payload, **fields)
        assert failure is None, failure
        return outputs

    def fails(self, payload: bytes = b"hi", **fields: object) -> Failed:
        """The failure of a call that must fail."""
        outputs, failure = self.call(payload, **fields)
        assert failure is not None, outputs
        assert outputs == []
        return failure


@contextmanager
def ticking(engine: Engine) -> Iterator[None]:
    """Ticks, as a worker's own thread gives them."""
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(TICK_S):
            engine.tick()

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def guest(name: str, folder: Path, **settings: object) -> AbstractContextManager[Guest]:
    """The guest of that name, compiled and mapped as a worker would."""
    return guest_of(wat.write(name, folder), folder, **settings)


@contextmanager
def guest_of(wasm: Path, folder: Path, **settings: object) -> Iterator[Guest]:
    """The component in that file, compiled and mapped as a worker would."""
    inspected = compiler.inspect(wasm, Cache(rundir(folder)))
    assert inspected.entry is not None, inspected.problems
    spec = FarmSpec(folder / "farm.toml", AppSpec("test"), {}, {"guest": spec_of(wasm, **settings)})
    with Engine() as engine, ticking(engine):
        printed: list[tuple[str, str, str, str]] = []
        components = Components(engine, spec, {"guest": inspected.entry.encoded()}, lambda *line: printed.append(line))
        try:
            yield Guest(components, folder, printed)
        finally:
            components.close()
