"""What has gone from the compile cache, or was changed there, is compiled again while the farm runs.

    a worker refused to start > look > one inspection at a time, in a child > its entry is the new one > workers start
A worker maps its components when it starts; one that cannot would be started again and again for nothing. The .wasm
must still be the one that the others run: a farm never runs two versions of a component.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from selectors import EVENT_READ, BaseSelector
from typing import Final

from farm import log
from farm.control.inspection import LIMIT_S, Inspector
from farm.control.member import Life
from farm.wire.lifeline import Inspected, Up

AGAIN_S: Final = 60.0  # what goes missing again within this time is left alone: somebody removes it


@dataclass
class _Inspection:
    """One that runs."""

    name: str
    wasm: Path
    life: Life
    end_s: float
    words: list[Up] = field(default_factory=list[Up])


class Renewal:
    """The entries of a family, kept usable."""

    def __init__(
        self, entries: dict[str, bytes], inspector: Inspector, selector: BaseSelector, renewed: Callable[[], None]
    ) -> None:
        """
        Args:
          entries: component name -> its entry; a renewed one is put in here.
          renewed: called when one was: workers may start now.
        """
        self._entries = entries
        self._inspector = inspector
        self._selector = selector
        self._renewed = renewed
        self._running: _Inspection | None = None
        self._not_before_s: dict[str, float] = {}

    def look(self, now_s: float) -> None:
        """A worker could not start: compile again what is not in the cache as it was, if that is why."""
        if self._running is not None:
            return
        for name in _lost(self._entries):
            if now_s >= self._not_before_s.get(name, 0.0):
                self._begin(name, now_s)
                return

    def wake(self, now_s: float) -> None:
        """End an inspection that takes too long."""
        if self._running is not None and now_s > self._running.end_s:
            self._running.life.kill("took too long")

    def close(self) -> None:
        """End the one that runs."""
        if self._running is not None:
            self._running.life.kill("the farm ends")
            self._forget(self._running)

    def _begin(self, name: str, now_s: float) -> None:
        wasm = self._inspector.spec.components[name].wasm
        assert wasm is not None, "it was compiled before the first fork"
        self._not_before_s[name] = now_s + AGAIN_S
        log.get().warning("compiled component gone or changed: compiling it again", component=name)
        try:
            life = self._inspector.begin(name, wasm)
        except OSError as error:
            log.get().error("cannot start the compiler", component=name, reason=error.strerror)
            return
        self._running = running = _Inspection(name, wasm, life, now_s + LIMIT_S)
        self._selector.register(life.lifeline, EVENT_READ, lambda: self._hear(running))
        self._selector.register(life.pidfd, EVENT_READ, lambda: self._ended(running))

    def _hear(self, running: _Inspection) -> None:
        life = running.life
        if life.watched:
            running.words += life.lifeline.receive()
            if life.lifeline.closed:
                self._selector.unregister(life.lifeline)
                life.watched = False

    def _ended(self, running: _Inspection) -> None:
        self._hear(running)
        why = self._forget(running)
        self._take(running.name, self._inspector.report(running.name, running.wasm, running.words, why))
        self.look(time.monotonic())

    def _forget(self, running: _Inspection) -> str:
        if running.life.watched:
            self._selector.unregister(running.life.lifeline)
        self._selector.unregister(running.life.pidfd)
        self._running = None
        return running.life.reap()

    def _take(self, name: str, found: Inspected) -> None:
        if found.problems:
            log.get().error("cannot compile it again", component=name, problems=found.problems)
        elif found.digest != self._inspector.spec.components[name].digest:
            log.get().error("its .wasm is another one now: restart the farm to run that", component=name)
        else:
            self._entries[name] = found.entry
            log.get().info("compiled", component=name, digest=found.digest[:12])
            self._renewed()


def _lost(entries: Mapping[str, bytes]) -> list[str]:
    from farm.workers.cache import decoded, intact  # known to this process since it compiled, and loaded nowhere else

    return [name for name, entry in entries.items() if not intact(decoded(entry))]
