"""The stream that has a topic's own name: where other programs put messages for farm.

    XADD orders * body ..  >  orders  >  one script: a copy to the stream of each trigger and queue, gone from here
Where others have a consumer group on it nothing is deleted, and farm's group remembers how far it came. Every farm that
has the topic looks; the script sees to it that each entry is copied once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, cast

from farm import log
from farm.brokers.redis_life import ENDING, Life, told
from farm.brokers.redis_link import ANSWER_S, ServerFault
from farm.brokers.redis_scripts import SPREAD_DIGEST

BLOCK_MS: Final = 1000
PART: Final = 64  # entries that one script copies: their payloads stay at the server
AGAIN_S: Final = 1.0
DOUBT_S: Final = 5.0  # how long a place behind others' entries is believed: who deletes the key ends no XREAD
START: Final = b"0"

Ensure = Callable[[str], Awaitable[None]]


class Inlets:
    """Those of one broker's topics."""

    def __init__(self, broker: str, ensure: Ensure) -> None:
        """
        Args:
          ensure: see to it that publishers know of a topic's streams: it seems that they do not.
        """
        self._broker: Final = broker
        self._ensure: Final = ensure
        self._topics: Final[dict[str, str]] = {}  # what is wrong with each: empty: nothing
        self._life: Life | None = None
        self._watched: Final[set[int]] = set()  # numbers of servers

    def add(self, topic: str) -> None:
        """Look there too."""
        if topic not in self._topics:
            self._topics[topic] = ""
            if self._life is not None:
                self._watch(self._life, topic)

    def begin(self, life: Life) -> None:
        """The server is there."""
        self._life = life
        for topic in self._topics:
            self._watch(life, topic)

    def lost(self) -> None:
        """The server is gone."""
        self._life = None
        self._watched.clear()

    def _watch(self, life: Life, topic: str) -> None:
        number = life.number_of(topic)
        if number not in self._watched:
            self._watched.add(number)
            life.spawn(self._follow(life, number))

    async def _follow(self, life: Life, number: int) -> None:
        """Copy what comes to the topics that one server has. Raises: LinkFault."""
        link = None
        cursors: dict[str, bytes] = {}
        doubt_s = time.monotonic() + DOUBT_S
        while True:
            if (now_s := time.monotonic()) >= doubt_s:
                doubt_s = now_s + DOUBT_S
                cursors = {topic: cursor for topic, cursor in cursors.items() if cursor == START}
            topics = [topic for topic in self._topics if life.number_of(topic) == number]
            link = link or await life.open(topics[0])
            for topic in topics:
                if topic not in cursors or self._topics[topic]:
                    await self._look(life, topic, cursors)
            sound = [topic for topic in topics if topic in cursors]
            if not sound:
                await asyncio.sleep(AGAIN_S)
                continue
            words = ("XREAD", "COUNT", 1, "BLOCK", BLOCK_MS, "STREAMS", *sound, *(cursors[topic] for topic in sound))
            try:
                said = await link.ask(*words, patience_s=BLOCK_MS / 1000 + ANSWER_S)
            except ServerFault as fault:
                if fault.code in ENDING:
                    raise
                cursors.clear()  # one of them is no stream any more: find out which
                await asyncio.sleep(AGAIN_S)  # or it may not be asked at all
                continue
            for topic, _ in cast("list[tuple[bytes, object]]", said or []):
                await self._look(life, topic.decode(), cursors)

    async def _look(self, life: Life, topic: str, cursors: dict[str, bytes]) -> None:
        """Have a part of what is in a topic's own stream copied; where that cannot be, say so once."""
        always = int(life.cluster)
        try:
            said = await life.commands(topic).ask("EVALSHA", SPREAD_DIGEST, 1, topic, always, PART)
            _, cursors[topic] = cast("tuple[int, bytes]", said)
            self._topics[topic] = ""
        except ServerFault as fault:
            if fault.code in ENDING:
                raise
            cursors.pop(topic, None)
            if fault.code == "NOGROUP":
                await self._ensure(topic)
                return
            if self._topics[topic] != (why := told(fault)):
                self._topics[topic] = why
                text = "nothing can be taken from the key that has a topic's name"
                log.get().warning(text, broker=self._broker, topic=topic, error=why)
