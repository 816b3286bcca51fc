"""An echo with FastStream, run by a Python that has it. Argument: the port of the server."""

from __future__ import annotations

import sys

import uvloop
from faststream import FastStream  # pyright: ignore[reportMissingImports]  (an environment of its own has it)
from faststream.nats import NatsBroker  # pyright: ignore[reportMissingImports]

broker = NatsBroker(f"nats://127.0.0.1:{sys.argv[1]}", logger=None)


@broker.subscriber("in.faststream")
@broker.publisher("out.faststream")
async def echo(body: bytes) -> bytes:
    """The answer is what came."""
    return body


uvloop.run(FastStream(broker, logger=None).run())
