"""Publishes over the relay from N publishers, each waiting for its answer: a phase of `make load`."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Final

from farm.client.aio import Relay
from farm.errors import FarmError, Unanswered
from farm.wire.relay import Publish
from farm.wire.sockets import Sockets
from tests.bench import load_drive
from tests.bench.load_drive import Drive
from tests.bench.load_result import Result

PAUSE_S: Final = 0.01  # after a refusal


class Publishers:
    """All of them."""

    def __init__(self, drive: Drive, relay: Relay, item: Publish) -> None:
        self._drive = drive
        self._relay = relay
        self._item = item
        self.accepted = 0
        self.unknown = 0

    async def publish(self) -> None:
        """One publisher, until the phase is over."""
        drive = self._drive
        while not drive.over:
            began_s = time.perf_counter()
            try:
                await self._relay.publish(self._item)
            except FarmError as error:
                drive.errors[error.code] += 1
                self.unknown += isinstance(error, Unanswered)
                await asyncio.sleep(PAUSE_S)
                continue
            self.accepted += 1
            drive.latencies.record(int((time.perf_counter() - began_s) * 1e6))


async def drive_relay(drive: Drive, options: argparse.Namespace) -> Result:
    """The phase."""
    sockets = Sockets()
    relay = Relay(sockets, options.relay)
    item = Publish(options.subject, b"x" * options.payload, options.broker)
    publishers = Publishers(drive, relay, item)
    await asyncio.gather(*(publishers.publish() for _ in range(options.connections)))
    seconds = drive.seconds
    relay.close()
    sockets.close()
    requests = publishers.accepted + drive.errors.total()
    latency = drive.latencies.latency()
    return Result(requests, publishers.accepted, publishers.unknown, seconds, latency, dict(drive.errors))


def main() -> None:
    """Read the command line, drive."""
    parser = argparse.ArgumentParser()
    for name in ("--relay", "--broker", "--subject"):
        parser.add_argument(name, required=True)
    for name in ("--payload", "--connections", "--seconds"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()
    load_drive.run(lambda drive: drive_relay(drive, options), options.seconds)


if __name__ == "__main__":
    main()
