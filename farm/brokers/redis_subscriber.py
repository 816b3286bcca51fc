"""Channels and patterns of Redis pub/sub: each subscribed to once, however many want it, again after every outage.

add > SUBSCRIBE or PSUBSCRIBE, once > server > all of a chunk that came, by name, in one call
                                             > refused: that name alone is, and asked for again every two seconds
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, cast

from farm.brokers.redis_life import Life
from farm.brokers.redis_link import Link, ServerFault

Heard = tuple[bytes, bytes]  # the channel and what came on it
OnHeard = Callable[[list[Heard]], None]
OnRefused = Callable[[str, Mapping[str, str]], None]  # one that is refused, or is no more; and all that are, with why
AGAIN_S: Final = 2.0
_MESSAGE: Final = b"message"
_PMESSAGE: Final = b"pmessage"
_PONG: Final = b"pong"


class Subscriber:
    """All that one broker listens to.

    A name is that of a channel, or a pattern where it is said so. One name is added once.
    """

    def __init__(self, on_refused: OnRefused) -> None:
        self._on_refused: Final = on_refused
        self._refused: Final[dict[str, str]] = {}  # which the user of this server may not hear, and what it says
        self._asked: Final[dict[int, deque[tuple[bool, str]]]] = {}  # by number of server: what it has to answer
        self._wanted: Final[dict[tuple[bool, str], OnHeard]] = {}
        self._by_bytes: Final[dict[tuple[bool, bytes], OnHeard]] = {}
        self._links: Final[dict[int, Link]] = {}  # by number of server
        self._dirty: asyncio.Event | None = None
        self._done: Final[set[tuple[bool, str]]] = set()  # what the server was asked for
        self._missing: Final[set[tuple[bool, bytes]]] = set()  # of what was wanted when the life began
        self._whole: asyncio.Event | None = None

    def __len__(self) -> int:
        return len(self._wanted)

    def add(self, name: str, on_heard: OnHeard, *, pattern: bool = False) -> None:
        """Hear what comes on it, from when the server has it."""
        self._wanted[pattern, name] = on_heard
        self._by_bytes[pattern, name.encode()] = on_heard
        self._touch()

    def remove(self, name: str, *, pattern: bool = False) -> None:
        """Hear no more."""
        self._wanted.pop((pattern, name), None)
        self._by_bytes.pop((pattern, name.encode()), None)
        self._allow(name)
        self._touch()

    def begin(self, life: Life) -> None:
        """The server is there."""
        self._dirty, self._whole = asyncio.Event(), asyncio.Event()
        self._missing.update(self._by_bytes)
        if not self._missing:
            self._whole.set()
        life.spawn(self._follow(life, self._dirty))
        self._touch()

    def lost(self) -> None:
        """The server is gone."""
        self._dirty = self._whole = None
        self._links.clear()
        self._done.clear()
        self._asked.clear()
        self._refused.clear()
        self._missing.clear()

    async def whole(self) -> None:
        """Returns when the server has all that was wanted when it came back."""
        if self._whole is not None:
            await self._whole.wait()

    def _touch(self) -> None:
        if self._dirty is not None:
            self._dirty.set()

    async def _follow(self, life: Life, dirty: asyncio.Event) -> None:
        """Tell the server what has changed, whenever something has."""
        while True:
            await dirty.wait()
            dirty.clear()
            for key in [key for key in self._wanted if key not in self._done]:
                await self._tell(life, key, "PSUBSCRIBE" if key[0] else "SUBSCRIBE")
                self._done.add(key)
            for key in [key for key in self._done if key not in self._wanted]:
                await self._tell(life, key, "PUNSUBSCRIBE" if key[0] else "UNSUBSCRIBE")
                self._done.discard(key)

    async def _tell(self, life: Life, key: tuple[bool, str], command: str) -> None:
        """On the connection for a name: to any server for a pattern, for it is told all; to the channel's otherwise."""
        name = "" if key[0] else key[1]
        number = life.number_of(name)
        link = self._links.get(number)
        if link is None:
            link = self._links[number] = await life.open(name)
            self._asked[number] = asked = deque[tuple[bool, str]]()
            link.told = lambda said: self._hear(life, said, asked)
        self._asked[number].append(key)
        link.tell((command, key[1]))

    def _hear(self, life: Life, said: list[object], asked: deque[tuple[bool, str]]) -> None:
        came: dict[tuple[bool, bytes], list[Heard]] = {}
        for reply in said:
            if isinstance(reply, ServerFault):
                if reply.code == "NOPERM" and asked:
                    self._refuse(life, asked.popleft(), life.told(reply))
                else:
                    life.end(life.told(reply))
            elif isinstance(reply, list):
                words = cast("list[bytes]", reply)
                if words[0] == _PMESSAGE:
                    came.setdefault((True, words[1]), []).append((words[2], words[3]))
                elif words[0] == _MESSAGE:
                    came.setdefault((False, words[1]), []).append((words[1], words[2]))
                elif words[0] != _PONG:
                    if asked:
                        self._allow(asked.popleft()[1])
                    self._note(words)
        for key, heard in came.items():
            on_heard = self._by_bytes.get(key)
            if on_heard is not None:
                on_heard(heard)

    def _refuse(self, life: Life, key: tuple[bool, str], why: str) -> None:
        pattern, name = key
        self._note([b"psubscribe" if pattern else b"subscribe", name.encode()])
        if key not in self._wanted:
            return
        asyncio.get_running_loop().call_later(AGAIN_S, self._again, life, key)
        if self._refused.get(name) != why:
            self._refused[name] = why
            self._on_refused(name, self._refused)

    def _again(self, life: Life, key: tuple[bool, str]) -> None:
        if not life.over.done():
            self._done.discard(key)
            self._touch()

    def _allow(self, name: str) -> None:
        if self._refused.pop(name, ""):
            self._on_refused(name, self._refused)

    def _note(self, words: list[bytes]) -> None:
        """What the server says of a subscription of ours."""
        self._missing.discard((words[0].startswith(b"p"), words[1]))
        if not self._missing and self._whole is not None:
            self._whole.set()
