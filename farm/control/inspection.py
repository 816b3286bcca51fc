"""The inspection of a component: a child of its own compiles a .wasm, and says what it is.

    fork (one at a time: it may take 1 GiB) -> Inspected over the lifeline -> reaped
Wasmtime compiles on threads, and a process forked from one that had any would hang: so never in the supervisor.
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from farm import log
from farm.control import child
from farm.control.child import Launch
from farm.control.member import Life
from farm.control.roles import Role
from farm.errors import Problem
from farm.rundir import Rundir
from farm.spec import FarmSpec
from farm.wire import lifeline
from farm.wire.lifeline import Inspected, Post, Refused, Up
from farm.wire.pulse import Board

LIMIT_S: Final = 180.0  # of wall time, on a busy machine; of CPU time the compiler allows itself less


@dataclass(frozen=True)
class Inspector:
    """Inspects the components of one farm. role: COMPILER, which fills the cache, or CHECKER, which keeps nothing."""

    spec: FarmSpec
    rundir: Rundir
    role: Role
    level: log.Level

    def inspect(self, name: str, wasm: Path) -> Inspected:
        """Inspect one component's .wasm.

        Raises: OSError: no child could be had.
        """
        life = self.begin(name, wasm)
        words = _listen(life, time.monotonic() + LIMIT_S)
        return self.report(name, wasm, words, life.reap())

    def report(self, name: str, wasm: Path, words: list[Up], why: str) -> Inspected:
        """What an inspection has found, of what its child said and how it ended."""
        for word in words:
            if isinstance(word, Inspected):
                return word
            if isinstance(word, Refused):
                return _failed(name, word.problems, word.exit_code)
        return _failed(name, [str(_death(wasm, why))], 65)

    def begin(self, name: str, wasm: Path) -> Life:
        """Begin one, for who cannot wait: listen to its child until it has ended, reap it, and make the `report`.

        Raises: OSError: no child could be had.
        """
        parent_end, child_end = lifeline.pair()
        board = Board()
        component = replace(self.spec.components[name], wasm=wasm)
        post = Post(
            spec=replace(self.spec, components={name: component}),
            rundir=self.rundir,
            role=self.role.name,
            index=0,
            id=b"",
            slot=0,
            lifeline=child_end,
            pulse=board.slot(0),
            board=board,
        )
        pid, pidfd = child.fork(Launch(self.role, post, self.level))
        child_end.close()
        return Life(pid, pidfd, parent_end, b"")


def _listen(life: Life, end_s: float) -> list[Up]:
    """Every word of a child until it has ended; it is killed at `end_s`, monotonic."""
    words: list[Up] = []
    poll = select.poll()
    poll.register(life.pidfd, select.POLLIN)
    poll.register(life.lifeline.fileno(), select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll(max(0.0, end_s - time.monotonic()) * 1000)}
        if not ready:
            life.kill("took too long")
            end_s = time.monotonic() + 1.0
            continue
        if not life.lifeline.closed:
            words += life.lifeline.receive()
            if life.lifeline.closed:
                poll.unregister(life.lifeline.fileno())
        if life.pidfd in ready:
            return words


def _failed(name: str, problems: list[str], exit_code: int) -> Inspected:
    return Inspected(name, "", b"", problems, compiled=False, exit_code=exit_code)


def _death(wasm: Path, why: str) -> Problem:
    kind, _, number = why.partition(" ")
    if kind == "signal":
        from farm.workers import compiler  # it says best what its own limits do; never loaded when all is well

        return compiler.death(wasm, int(number))
    return Problem("cannot compile a component", str(wasm), f"the compiler ended with {why} and no report")


def compile_into_cache(post: Post) -> int:
    """Runs in the child: compile the one component of `post.spec` into the cache, or find it there."""
    from farm.workers import compiler
    from farm.workers.cache import Cache

    compiler.confine()
    for name, component in post.spec.components.items():
        assert component.wasm is not None
        found = compiler.inspect(component.wasm, Cache(post.rundir))
        entry = found.entry.encoded() if found.entry else b""
        word = Inspected(name, found.digest, entry, found.problems, found.compiled, found.warnings, found.exit_code)
        post.lifeline.send(word)
    return 0


def check(post: Post) -> int:
    """Runs in the child: say what keeps the one component of `post.spec` from running; nothing is kept."""
    from farm.workers import compiler

    compiler.confine()
    for name, component in post.spec.components.items():
        assert component.wasm is not None
        problems = [str(problem) for problem in compiler.check(component.wasm)]
        post.lifeline.send(Inspected(name, "", b"", problems, True, exit_code=65 if problems else 0))
    return 0
