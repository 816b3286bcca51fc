"""What guests print, on its way to the log: with component and message id, at most 1 MiB/s of each component."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from farm import log

RATE_BYTES_PER_S: Final = 1 << 20

Stream = Literal["stdout", "stderr"]


class GuestLog:
    """Writes guests' lines to the log. A component above its rate is left out and counted until the second is over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = clock()
        self._written: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def write(self, component: str, message_id: str, stream: Stream, text: str) -> None:
        """One call's output on one stream; a log line for each line that is not empty."""
        self._turn()
        written = self._written.get(component, 0)
        if written >= RATE_BYTES_PER_S:
            self._left_out[component] = self._left_out.get(component, 0) + len(text)
            return
        self._written[component] = written + len(text)
        for line in text.splitlines():
            if line:
                log.get().info("guest", component=component, message_id=message_id, stream=stream, text=line)

    def _turn(self) -> None:
        now = self._clock()
        if now - self._second < 1.0:
            return
        for component, count in self._left_out.items():
            log.get().warning("guest output left out", component=component, bytes=count, limit="1 MiB/s")
        self._second = now
        self._written.clear()
        self._left_out.clear()
