"""What guests print, on its way to the log: with component and message id, at most 1 MiB/s of each component.

A line that begins as syslog's do, `<3>`, is logged at that level: so the SDK hands on the levels of Python's logging.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from farm import log
from farm.workers.guest_output import Stream

RATE_BYTES_PER_S: Final = 1 << 20

# Source: sd-daemon(3), which took them from syslog(3).
_LEVELS: Final[dict[str, log.Level]] = {
    "<0>": "error",
    "<1>": "error",
    "<2>": "error",
    "<3>": "error",
    "<4>": "warning",
    "<5>": "info",
    "<6>": "info",
    "<7>": "debug",
}


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
            level = _LEVELS.get(line[:3])
            said = line if level is None else line[3:]
            if said:
                write = getattr(log.get(), level or "info")
                write("guest", component=component, message_id=message_id, stream=stream, text=said)

    def _turn(self) -> None:
        now = self._clock()
        if now - self._second < 1.0:
            return
        for component, count in self._left_out.items():
            log.get().warning("guest output left out", component=component, bytes=count, limit="1 MiB/s")
        self._second = now
        self._written.clear()
        self._left_out.clear()
