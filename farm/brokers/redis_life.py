"""What is connected to Redis at one time: a life, which is over as a whole.

    commands   one connection to each server, for what does not wait
    open       a further one, for what waits (XREADGROUP .. BLOCK) or is told unasked (SUBSCRIBE)
    spawn      what runs until the life is over
When one connection ends all do, and whatever was begun is cancelled: there is one way to begin, the next life.
"""

from __future__ import annotations

import asyncio
import binascii
import time
from bisect import bisect_right
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from farm.brokers import lives
from farm.brokers.redis_link import Address, Link, LinkFault, ServerFault

SLOTS: Final = 16384
LATE_S: Final = 2.0  # longer than from one look at the servers to the next
# With these the server is another than it was: scripts are gone, a master became a replica, slots have moved.
ENDING: Final = ("NOSCRIPT", "READONLY", "MOVED", "CLUSTERDOWN", "MASTERDOWN", "NOAUTH", "WRONGPASS")
REPLICA: Final = "it is a replica: nothing can be written to it"
_REFUSALS: Final = {  # what people are told instead of the server's own words
    "WRONGPASS": "it refuses: wrong username or password",
    "NOAUTH": "it refuses: username and password are missing",
    "NOPERM": "this user may not do what farm needs",
    "LOADING": "it is still loading its data",
    "DENIED": "it is in protected mode, and lets in nobody from elsewhere",
    "READONLY": REPLICA,
    "MASTERDOWN": "it is a replica, and its master is away",
    "NOSCRIPT": "its scripts were flushed",
    "NOGROUP": "a stream is not there, and is about to be made",
    "MOVED": "it is a node of a cluster: write cluster = true",
    "ASK": "its slot is moving to another node",
    "TRYAGAIN": "its slot is moving to another node",
    "CLUSTERDOWN": "its cluster is down",
}


@dataclass(frozen=True)
class Features:
    """What this server can beyond Redis 6.2: XADD .. IDMP (8.6), XNACK (8.8)."""

    idmp: bool = False
    xnack: bool = False


class Life:
    """What is connected now."""

    def __init__(self, open_one: Callable[[Address, Callable[[str], None]], Coroutine[None, None, Link]]) -> None:
        self.features = Features()
        self.cluster = False
        self.over: Final[asyncio.Future[str]] = asyncio.get_running_loop().create_future()
        self._open_one = open_one
        self._links: list[Link] = []
        self._commands: list[Link] = []  # one for each server
        self._starts: list[int] = [0]  # first slot of each range
        self._owners: list[int] = [0]  # of each range, the number of its server
        self._running: set[asyncio.Task[None]] = set()
        self._checked_s = time.monotonic()

    def number_of(self, key: str) -> int:
        """Which of the servers has a key: from 0."""
        if not self.cluster:
            return 0
        return self._owners[bisect_right(self._starts, slot_of(key)) - 1]

    def commands(self, key: str) -> Link:
        """The connection for commands that do not wait, to the server that has this key."""
        return self._commands[self.number_of(key)]

    async def open(self, key: str) -> Link:
        """A further connection to the server that has this key. Raises: LinkFault."""
        return await self.open_to(self.commands(key).address)

    async def open_to(self, address: Address) -> Link:
        """A connection to this server. Raises: LinkFault."""
        link = await self._open_one(address, self.end)
        self._links.append(link)
        return link

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run this until the life is over. It may end by a LinkFault, which ends the life."""
        running = lives.begin(self._guard(work), "a part of a Redis broker")
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    def end(self, why: str) -> None:
        """Have it over."""
        if not self.over.done():
            self.over.set_result(why)

    def adopt(self, links: Sequence[Link], ranges: Sequence[tuple[int, int]]) -> None:
        """Take these, which are open, for commands.

        Args:
          ranges: first slot and number of the server, ascending; none: no cluster.
        """
        self._commands = list(links)
        if ranges:
            self.cluster = True
            self._starts, self._owners = [first for first, _ in ranges], [number for _, number in ranges]

    def told(self, fault: ServerFault) -> str:
        """A server's refusal, for people."""
        return "its slots have moved" if self.cluster and fault.code == "MOVED" else told(fault)

    def check(self, now_s: float) -> None:
        """Look whether all servers are alive; not where we have stood still: what has come meanwhile is read first."""
        late, self._checked_s = now_s - self._checked_s > LATE_S, now_s
        if late:
            return
        for link in list(self._links):
            link.check(now_s)

    async def close(self) -> None:
        """Leave nothing: no connection, no coroutine."""
        self.end("closed")
        running = list(self._running)
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in self._links))

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except LinkFault as fault:
            self.end(str(fault))
        except ServerFault as fault:
            self.end(self.told(fault))
        except Exception:
            self.end("a fault of farm's own")
            raise


class User(Protocol):
    """Who lives on a connection."""

    def prepare(self) -> None:
        """It is about to be made: have what it takes. Raises: FarmError: that is why it is down."""

    async def begin(self, life: Life) -> None:
        """The servers are there: subscribe to all there is. It is up when this returns; it may not take for ever."""

    def lost(self) -> None:
        """It is over."""


def slot_of(key: str) -> int:
    """The slot of a key: of what stands between its first braces, if there is something.

    Source: Redis documentation, "Redis cluster specification", "Hash tags".
    """
    _, brace, rest = key.partition("{")
    tag, end, _ = rest.partition("}")
    return binascii.crc_hqx((tag if brace and end and tag else key).encode(), 0) % SLOTS


def told(fault: ServerFault) -> str:
    """A server's refusal, for people."""
    said = _REFUSALS.get(fault.code, fault.text)
    return f"{said}: {fault.text.removeprefix(fault.code).strip()}" if fault.code == "NOPERM" else said
