"""The end of a program that drives a phase: when to stop, what to say meanwhile, what to say at the end.

Each line on stdout is a JSON object: {"errors": .., "p50": .., "p99": ..} now and then, {"result": ..} at last.
SIGINT ends it early and in order.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, Final

import uvloop

from tests.bench.load_result import Histogram, Result

SAY_S: Final = 0.5


class Drive:
    """One phase, on an event loop."""

    def __init__(self, seconds: float) -> None:
        self.latencies = Histogram()
        self.errors: Counter[str] = Counter()
        self.began_s = time.monotonic()
        self._end_s = self.began_s + seconds
        self._over = False

    @property
    def over(self) -> bool:
        """Whether to begin nothing new."""
        return self._over or time.monotonic() >= self._end_s

    @property
    def seconds(self) -> float:
        """How long it has gone on."""
        return time.monotonic() - self.began_s

    def begin(self) -> None:
        """Count from here: all is set up."""
        lasts_s = self._end_s - self.began_s
        self.began_s = time.monotonic()
        self._end_s = self.began_s + lasts_s

    def stop(self) -> None:
        """Begin nothing new."""
        self._over = True

    async def say(self) -> None:
        """Tell how it goes, until it is cancelled."""
        while True:
            await asyncio.sleep(SAY_S)
            p50, p99 = self.latencies.quantile_ms(0.5), self.latencies.quantile_ms(0.99)
            print(json.dumps({"errors": self.errors.total(), "p50": p50, "p99": p99}), flush=True)


def run(main: Callable[[Drive], Coroutine[Any, Any, Result]], seconds: float) -> None:
    """Run a phase to its end and say its result."""

    async def around() -> Result:
        drive = Drive(seconds)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, drive.stop)
        saying = asyncio.create_task(drive.say())
        try:
            return await main(drive)
        finally:
            saying.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(around())
    json.dump({"result": asdict(result)}, sys.stdout)
    print(flush=True)
