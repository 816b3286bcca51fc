"""The compiler: what a .wasm is, and its native code in the cache. Runs in a child of its own, forked for one file.

preamble -> cache: there and genuine?  yes: map it        -> imports, exports -> Inspected
                                       no: compile, store ->
"""

from __future__ import annotations

import hashlib
import resource
import signal
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import wasmtime
from wasmtime import component as wt

from farm import log
from farm.errors import Problem
from farm.workers import cache as caches
from farm.workers import shapes
from farm.workers.cache import Cache, Entry, Tampered
from farm.workers.engine import Engine
from farm.workers.exports import registry as exports
from farm.workers.imports import registry as imports

SIZE_LIMIT_BYTES: Final = 64 << 20
CPU_LIMIT_S: Final = 60
DATA_LIMIT_BYTES: Final = 1 << 30
# What is told of one component fits into a word of the lifeline, however many imports it has and of whatever types.
PROBLEMS_LIMIT: Final = 32
TEXT_LIMIT: Final = 1024  # characters of one part of a problem

COMPONENT_PREAMBLE: Final = b"\0asm\x0d\0\1\0"
MODULE_PREAMBLE: Final = b"\0asm\1\0\0\0"


class Inspected(msgspec.Struct, frozen=True):
    """What a .wasm is.

    digest is the hex sha256 of its bytes; entry its native code, None where there are problems or nothing was kept;
    interface the kind of handler it exports; imports the names of what it imports; compiled whether this run compiled
    it; exit_code 0, 65 (cannot be run) or 66 (not there). Problems and warnings are lines for people.
    """

    digest: str = ""
    entry: Entry | None = None
    interface: str = ""
    imports: list[str] = []
    compiled: bool = False
    problems: list[str] = []
    warnings: list[str] = []
    exit_code: int = 0


def confine() -> None:
    """Lower this process's limits for good: CPU time, memory, no core. For the child, before `inspect`."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_LIMIT_BYTES, DATA_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def death(wasm: Path, number: int) -> Problem:
    """Why a compiler child died of signal `number`."""
    if number in (signal.SIGXCPU, signal.SIGKILL):
        why = f"compiling took more than {CPU_LIMIT_S} s of CPU time"
    elif number == signal.SIGABRT:
        why = f"compiling took more than {DATA_LIMIT_BYTES >> 20} MiB of memory, or the compiler failed"
    else:
        why = f"the compiler died of {signal.Signals(number).name}"
    return Problem("cannot compile a component", str(wasm), why, "Make it smaller, or leave it out")


def check(wasm: Path) -> list[Problem]:
    """Everything that keeps a .wasm from running; nothing is kept. Compiles it: run it in a child."""
    return _inspect(wasm, None)[1]


def inspect(wasm: Path, cache: Cache) -> Inspected:
    """Find or make the native code of a .wasm, and say what it is. In a child: compiling starts threads.

    Raises:
      NoRoom, NotPermitted: its native code can be kept nowhere; the cache directory is not ours.
    """
    return _inspect(wasm, cache)[0]


def _inspect(wasm: Path, cache: Cache | None) -> tuple[Inspected, list[Problem]]:
    content, problem = _read(wasm)
    if problem is not None:
        missing = problem.what == MISSING
        return Inspected(problems=[str(problem)], exit_code=66 if missing else 65), [problem]
    digest = hashlib.sha256(content).hexdigest()
    with Engine() as engine:
        try:
            compiled, entry, warnings, fresh = _compiled(engine, wasm, content, digest, cache)
        except wasmtime.WasmtimeError as error:
            problem = _cut(_refusal(wasm, content, str(error)))
            return Inspected(digest, problems=[str(problem)], exit_code=65), [problem]
        found_imports = shapes.imports_of(compiled, engine.raw)
        handler = exports.recognise(shapes.exports_of(compiled, engine.raw), str(wasm))
        problems = imports.problems(found_imports, str(wasm))
        if isinstance(handler, Problem):
            problems.append(handler)
        problems = _bounded(problems, str(wasm))
        inspected = Inspected(
            digest=digest,
            entry=entry,
            interface=handler.kind.name if isinstance(handler, exports.Handler) else "",
            imports=sorted(found_imports),
            compiled=fresh,
            problems=[str(problem) for problem in problems],
            warnings=warnings,
            exit_code=65 if problems else 0,
        )
        return inspected, problems


def _bounded(problems: list[Problem], where: str) -> list[Problem]:
    """The first of them, cut, and how many others there are."""
    shown = [_cut(problem) for problem in problems[:PROBLEMS_LIMIT]]
    more = len(problems) - len(shown)
    return [*shown, Problem(f"{more} problems more", where)] if more else shown


def _cut(problem: Problem) -> Problem:
    return replace(problem, what=_shortened(problem.what), why=_shortened(problem.why))


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}..."


MISSING: Final = "component not found"


def _read(wasm: Path) -> tuple[bytes, Problem | None]:
    where = str(wasm)
    try:
        size = wasm.stat().st_size
        if size > SIZE_LIMIT_BYTES:
            why = f"{size} bytes exceed the limit of {SIZE_LIMIT_BYTES} bytes"
            return b"", Problem("component too large", where, why, "Strip it, or build it smaller")
        content = wasm.read_bytes()
    except FileNotFoundError:
        return b"", Problem(MISSING, where, "there is no such file", "Build it, or correct `source`")
    except OSError as error:
        return b"", Problem("cannot read a component", where, error.strerror or str(error))
    if content.startswith(COMPONENT_PREAMBLE):
        return content, None
    if content.startswith(MODULE_PREAMBLE):
        todo = "Make a component of it: wasm-tools component new --adapt wasi_snapshot_preview1=<adapter>"
        return b"", Problem("not a component", where, "it is a core module", todo)
    if not content:
        return b"", Problem("not a component", where, "the file is empty", "Build it again")
    if COMPONENT_PREAMBLE.startswith(content[:8]):
        return b"", Problem("not a component", where, "the file is cut short", "Build it again")
    if b"\0" not in content[:512]:
        return b"", Problem("not a component", where, "it is a text file", "Name the .wasm that your build made")
    return b"", Problem("not a component", where, "it is no WebAssembly", "Name the .wasm that your build made")


def _compiled(
    engine: Engine, wasm: Path, content: bytes, digest: str, cache: Cache | None
) -> tuple[wt.Component, Entry | None, list[str], bool]:
    """The component, its entry, warnings, and whether it was compiled now."""
    if cache is None:
        return wt.Component(engine.raw, content), None, [], True
    warnings: list[str] = []
    try:
        entry = cache.find(digest)
        if entry is not None:
            return caches.load(engine, entry), entry, [], False
    except Tampered as error:
        warnings.append(f"compiled component refused ({cache.folder}): {error}. It is compiled again")
    log.get().info("compiling", file=wasm.name)
    compiled = wt.Component(engine.raw, content)
    entry, warning = cache.store(digest, compiled.serialize())
    return compiled, entry, [*warnings, *([warning] if warning else [])], True


def _refusal(wasm: Path, content: bytes, text: str) -> Problem:
    """wasmtime's reason in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    why = lines[-1] if lines else "the compiler refused it"
    if "unexpected end" in text or "(bound = " in text:
        return Problem("not a component", str(wasm), f"the file is cut short ({why})", "Build it again")
    if "component model async" in text:
        return exports.async_problem(content, str(wasm))
    return Problem("cannot compile a component", str(wasm), why, "Build it again, or check its toolchain")
