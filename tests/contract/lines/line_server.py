"""The server of the example broker: python line_server.py PORT."""

from __future__ import annotations

import asyncio
import sys

WRITERS: list[asyncio.StreamWriter] = []


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Repeat what one connection says to all."""
    WRITERS.append(writer)
    try:
        while line := await reader.readline():
            for each in WRITERS:
                each.write(line)
    except OSError:
        pass  # it has gone
    finally:
        WRITERS.remove(writer)
        writer.close()


async def main(port: int) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=8 << 20)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
