"""nats-py, as tests use it."""

from __future__ import annotations

from nats.aio.client import Client


async def flushed(client: Client) -> None:
    """Wait until the server has all that the client was told: a first PING may overtake it, as it waits in a buffer."""
    await client.flush()
    await client.flush()
