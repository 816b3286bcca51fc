"""The worker process: one engine, one work link, one loop."""

from __future__ import annotations

import gc
import resource
import time
from typing import Final

from farm.spec import FarmSpec
from farm.wire.lifeline import Post, Ready
from farm.wire.sockets import Sockets
from farm.workers.component import Components
from farm.workers.engine import Engine
from farm.workers.loop import Link, Loop, Ticker
from farm.workers.output import GuestLog

OWN_DATA_BYTES: Final = 512 << 20


def main(post: Post) -> int:
    """Run one worker until drained; the exit code. Runs after the fork, owns all it opens."""
    bound_memory(post.spec)
    output = GuestLog(time.monotonic)
    with Sockets() as sockets, Engine() as engine:
        components = Components(engine, post.spec, post.entries, output.write)
        components.prepare()
        link = Link(sockets.dealer(post.rundir.work, post.id))
        deadlines_s = {name: component.deadline_s for name, component in post.spec.components.items()}
        loop = Loop(link, components, deadlines_s, post.lifeline, post.pulse)
        ticker = Ticker(engine.tick, loop.hold, link.flush)
        ticker.start()
        gc.freeze()
        post.lifeline.send(Ready())
        try:
            return loop.run(ticker)
        finally:
            ticker.stop()


def bound_memory(spec: FarmSpec) -> None:
    """Cap what this process may hold: 512 MiB of its own and what its guests may grow to."""
    guests = sum(component.memory_bytes for component in spec.components.values())
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = OWN_DATA_BYTES + 2 * guests  # an instance that is being replaced may live beside the new one
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
