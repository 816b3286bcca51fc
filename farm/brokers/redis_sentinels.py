"""Which server the sentinels name: asked before each connection, and listened to while there is one.

    find     each is asked in turn; one answer will do
    follow   +selected-slave, of whoever leads a failover    the server is about to be none: what it takes is lost
             +switch-master, of each                         another one is it
A server that was left is a master yet, for seconds after its replica has become one: so it is not gone back to at once.
Source: Redis documentation, "High availability with Redis Sentinel", "Pub/Sub messages".
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, cast

from farm.brokers.faults import NO_ANSWER
from farm.brokers.redis_life import Life, told
from farm.brokers.redis_link import Address, Link, LinkFault, ServerFault, together
from farm.errors import FarmError

ANSWER_S: Final = 1.5
AGAIN_S: Final = 2.0
CHECK_S: Final = 1.0
LEFT_S: Final = 5.0  # how long after that it may be found to be the server yet: a failover may be given up
LEAVING: Final = "the sentinels make another server the master"
SELECTED: Final = b"+selected-slave"
SWITCHED: Final = b"+switch-master"

OpenOne = Callable[[Address, Callable[[str], None]], Awaitable[Link]]  # Raises: LinkFault
Introduce = Callable[[Link], Awaitable[None]]  # says who we are. Raises: LinkFault, ServerFault, FarmError


class Sentinels:
    """Those of one broker."""

    def __init__(
        self, addresses: Iterable[Address], master: str, open_one: OpenOne, introduce: Introduce, *, unasked: bool
    ) -> None:
        """
        Args:
          master: what they call the server.
          unasked: they are told who we are at once; else only where they want to know.
        """
        self._addresses: Final = tuple(addresses)
        self._master: Final = master
        self._open: Final = open_one
        self._introduce: Final = introduce
        self._unasked: Final = unasked
        self._found: Address | None = None
        self._teller: Address | None = None  # the sentinel that said so
        self._left: Address | None = None
        self._left_s = 0.0  # when it was left

    async def find(self) -> Address:
        """Where the server is. Raises: LinkFault: nobody tells, and why not; FarmError."""
        faults: list[tuple[Address, str]] = []
        for address in self._addresses:
            try:
                async with asyncio.timeout(ANSWER_S):
                    found = await self._ask_once(address)
            except TimeoutError:
                why = NO_ANSWER
            except LinkFault as fault:
                why = str(fault)
            except ServerFault as fault:
                why = self._told(fault)
            else:
                if found is None:
                    why = f"it knows no {self._master!r}"
                elif found == self._left and time.monotonic() - self._left_s < LEFT_S:
                    raise LinkFault(LEAVING)
                else:
                    self._found, self._teller = found, address
                    return found
            faults.append((address, why))
        raise LinkFault(f"no sentinel tells where the server is: {together(faults)}")

    def follow(self, life: Life) -> None:
        """Have the life be over when the sentinels make another server the one."""
        for address in self._addresses:
            life.spawn(self._follow(address, life))

    def _told(self, fault: ServerFault) -> str:
        if fault.text.startswith("unknown command"):
            return "it is no sentinel"
        theirs = fault.code in ("NOAUTH", "WRONGPASS") and not self._unasked
        return f"{told(fault)} (sentinel_password)" if theirs else told(fault)

    async def _ask_once(self, address: Address) -> Address | None:
        link = await self._open(address, _ignore)
        try:
            return await self._ask(link)
        finally:
            await link.close()

    async def _ask(self, link: Link) -> Address | None:
        words = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)
        if self._unasked:
            await self._introduce(link)
        try:
            found = await link.ask(*words)
        except ServerFault as fault:
            if fault.code != "NOAUTH" or self._unasked:
                raise
            await self._introduce(link)
            found = await link.ask(*words)
        if not isinstance(found, list):
            return None
        host, port = cast("list[bytes]", found)
        return Address(host.decode(), int(port))

    async def _follow(self, address: Address, life: Life) -> None:
        while True:
            with contextlib.suppress(LinkFault, ServerFault, FarmError):  # `find` says what is wrong with a sentinel
                await self._hear(address, life)
            await asyncio.sleep(AGAIN_S)

    async def _hear(self, address: Address, life: Life) -> None:
        """Listen to one sentinel until its connection is over."""
        over = asyncio.Event()
        link = await self._open(address, lambda _: over.set())
        try:
            found = await self._ask(link)
            if address == self._teller and found is not None and found != self._found:
                self._leave(life)
            link.told = lambda said: self._note(said, life)
            link.tell(("SUBSCRIBE", SELECTED, SWITCHED))
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_S):
                        await over.wait()
                link.check(time.monotonic())
        finally:
            await link.close()

    def _note(self, said: list[object], life: Life) -> None:
        for words in said:
            if isinstance(words, list) and words[0] == b"message":
                _, event, text = cast("list[bytes]", words)
                told_of = text.decode(errors="replace").split()  # slave, name, host, port, @, master, host, port
                # .. or master, host, port, and the two where it is now
                master = told_of[-3:] if event == SELECTED else told_of[:3]
                if self._found is not None and master == [self._master, self._found.host, str(self._found.port)]:
                    self._leave(life)

    def _leave(self, life: Life) -> None:
        self._left, self._left_s = self._found, time.monotonic()
        life.end(LEAVING)


def _ignore(_: object) -> None:
    """Whoever asks hears it too."""
