"""N WebSocket listeners, and publishers that wait until all have heard: a phase of `make load`.

So many messages are on their way at once as there are publishers: fewer than a listener may fall behind before farm
closes it as slow.
A payload says which message it is and when it left: "<number> <us>", filled up to its size.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from farm.client.aio import Relay
from farm.errors import FarmError, Unanswered
from farm.wire.relay import Publish
from farm.wire.sockets import Sockets
from tests.bench import load_drive
from tests.bench.load_drive import Drive
from tests.bench.load_relay import PAUSE_S
from tests.bench.load_result import Hearing, Result

HEARD_S: Final = 5.0  # a message that some have not heard by then is late; the publisher goes on without it
OPEN_AT_ONCE: Final = 32
WINDOW: Final = 128  # messages on their way: half of what farm lets a listener fall behind by
WINDOW_BYTES: Final = 512 << 10  # likewise


@dataclass
class Flight:
    """A message on its way: how many have not heard it yet."""

    left: int
    all_heard: asyncio.Future[None]


@dataclass
class Ear:
    """A listener. seen: a byte for each message that it heard."""

    seen: bytearray = field(default_factory=bytearray)
    heard: int = 0
    twice: int = 0
    closed: str = ""


class Hall:
    """Publishers and listeners."""

    def __init__(self, drive: Drive, relay: Relay, options: argparse.Namespace) -> None:
        self._drive = drive
        self._relay = relay
        self._options = options
        self._flights: dict[int, Flight] = {}
        self._next = 0
        self.ears: list[Ear] = []
        self.taken: list[int] = []
        self.unknown = 0

    async def listen(self, socket: ClientConnection) -> None:
        """One listener, until its connection is closed."""
        ear = Ear()
        self.ears.append(ear)
        try:
            async for frame in socket:
                self._hear(ear, frame if isinstance(frame, bytes) else frame.encode())
        except ConnectionClosed as error:
            ear.closed = str(error.rcvd.code if error.rcvd else "broken")
        else:
            ear.closed = str(socket.close_code)
        self._leave(ear)

    async def publish(self) -> None:
        """One publisher, until the phase is over."""
        while not self._drive.over:
            number, self._next = self._next, self._next + 1
            flight = Flight(sum(not ear.closed for ear in self.ears), asyncio.get_running_loop().create_future())
            if not flight.left:
                return
            self._flights[number] = flight
            try:
                await self._relay.publish(Publish(self._options.subject, self._payload(number), self._options.broker))
            except FarmError as error:
                self._drive.errors[error.code] += 1
                self.unknown += isinstance(error, Unanswered)
                del self._flights[number]
                await asyncio.sleep(PAUSE_S)
                continue
            self.taken.append(number)
            await asyncio.wait([flight.all_heard], timeout=HEARD_S)
            if not flight.all_heard.done():
                self._drive.errors["late"] += 1
            self._flights.pop(number, None)

    def hearing(self) -> Hearing:
        """What came of it."""
        stayed = [ear for ear in self.ears if not ear.closed]
        missing = sum(1 for ear in stayed for number in self.taken if number >= len(ear.seen) or not ear.seen[number])
        closed = Counter(ear.closed for ear in self.ears if ear.closed)
        heard, twice = sum(ear.heard for ear in self.ears), sum(ear.twice for ear in self.ears)
        return Hearing(len(self.ears), len(self.taken), heard, missing, twice, dict(closed))

    def _payload(self, number: int) -> bytes:
        return f"{number} {time.monotonic_ns() // 1000} ".encode().ljust(self._options.payload, b"x")

    def _hear(self, ear: Ear, payload: bytes) -> None:
        try:
            number, left_us = map(int, payload.split(b" ", 2)[:2])
        except ValueError:
            self._drive.errors["not ours"] += 1
            return
        if number >= len(ear.seen):
            ear.seen.extend(bytes(max(1024, number + 1 - len(ear.seen))))
        if ear.seen[number]:
            ear.twice += 1
            return
        ear.seen[number] = 1
        ear.heard += 1
        self._drive.latencies.record(time.monotonic_ns() // 1000 - left_us)
        if (flight := self._flights.get(number)) is not None:
            self._one_less(flight)

    def _leave(self, ear: Ear) -> None:
        for number, flight in self._flights.items():
            if number >= len(ear.seen) or not ear.seen[number]:
                self._one_less(flight)

    def _one_less(self, flight: Flight) -> None:
        flight.left -= 1
        if flight.left <= 0 and not flight.all_heard.done():
            flight.all_heard.set_result(None)


async def open_all(drive: Drive, options: argparse.Namespace) -> list[ClientConnection]:
    """The listeners' connections; what did not open is counted."""
    url = f"{options.url.replace('http', 'ws', 1)}/subscribe/{options.heard}?gap=close"
    opened: list[ClientConnection] = []
    turn = asyncio.Semaphore(OPEN_AT_ONCE)

    async def open_one() -> None:
        async with turn:
            try:
                opened.append(await connect(url, compression=None, max_queue=None))
            except InvalidStatus as error:
                drive.errors[str(error.response.status_code)] += 1
            except (OSError, EOFError, InvalidHandshake, ConnectionClosed, AssertionError):
                # AssertionError: websockets 17 asks its own state, when a server has closed before the request was sent
                drive.errors["no listener"] += 1

    await asyncio.gather(*(open_one() for _ in range(options.listeners)))
    return opened


async def drive_listeners(drive: Drive, options: argparse.Namespace) -> Result:
    """The phase."""
    sockets = Sockets()
    relay = Relay(sockets, options.relay)
    connections = await open_all(drive, options)
    hall = Hall(drive, relay, options)
    listening = [asyncio.create_task(hall.listen(one)) for one in connections]
    await asyncio.sleep(0)
    drive.begin()
    publishers = min(options.connections, WINDOW, max(1, WINDOW_BYTES // options.payload))
    await asyncio.gather(*(hall.publish() for _ in range(publishers)))
    seconds, hearing = drive.seconds, hall.hearing()
    for one in listening:
        one.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    await asyncio.gather(*(one.close() for one in connections), return_exceptions=True)
    relay.close()
    sockets.close()
    accepted, latency = len(hall.taken), drive.latencies.latency()
    return Result(hearing.heard, accepted, hall.unknown, seconds, latency, dict(drive.errors), hearing)


def main() -> None:
    """Read the command line, drive."""
    parser = argparse.ArgumentParser()
    for name in ("--relay", "--broker", "--subject", "--url", "--heard"):
        parser.add_argument(name, required=True)
    for name in ("--payload", "--connections", "--seconds", "--listeners"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()
    load_drive.run(lambda drive: drive_listeners(drive, options), options.seconds)


if __name__ == "__main__":
    main()
