"""What a broker does by itself, beside what it is asked for: coroutines that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


def begin(life: Coroutine[object, object, None], what: str) -> asyncio.Task[None]:
    """Run it. A fault of our own ends it, and is the loop's to tell: it would be silence else.

    Args:
      what: it is, for whoever reads that.
    """

    def report(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            ended.get_loop().call_exception_handler({"message": f"{what} has ended", "exception": error})

    running = asyncio.get_running_loop().create_task(life)
    running.add_done_callback(report)
    return running
