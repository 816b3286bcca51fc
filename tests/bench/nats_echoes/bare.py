"""An echo with nats-py alone. Argument: the port of the server."""

from __future__ import annotations

import asyncio
import sys

import nats
import uvloop
from nats.aio.msg import Msg


async def main(port: str) -> None:
    """Until ended."""
    client = await nats.connect(f"nats://127.0.0.1:{port}")

    async def echo(message: Msg) -> None:
        await client.publish("out.bare", message.data)

    await client.subscribe("in.bare", cb=echo)
    await asyncio.Event().wait()


uvloop.run(main(sys.argv[1]))
