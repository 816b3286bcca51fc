"""What one connection to NATS is subscribed to, and what its server denies it.

    add > lines, at each connect > denied(subject), too_many() > again, every while > answered: what is allowed by now
Rights change, and others' subscriptions end, while a connection stays: no server says that it would say yes now. Pure:
it neither writes nor waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from farm.brokers.nats_protocol import OnRaw, encode_subscribe


@dataclass(frozen=True, slots=True)
class _Subscription:
    subject: str
    queue: str


class Subscriptions:
    """Of one connection. routes: where messages go, by the number of their subscription as it comes."""

    def __init__(self) -> None:
        self.routes: Final[dict[bytes, OnRaw]] = {}
        self._wanted: Final[dict[int, _Subscription]] = {}
        self._last_sid = 0
        self._refused: set[int] = set()  # the server denies these
        self._asked: set[int] = set()  # those of them that it was asked for again, and has not answered yet

    def add(self, subject: str, on_raw: OnRaw, queue: str) -> int:
        """One more; its number."""
        self._last_sid += 1
        sid = self._last_sid
        self._wanted[sid] = _Subscription(subject, queue)
        self.routes[b"%d" % sid] = on_raw
        return sid

    def end(self, sid: int) -> bool:
        """Want it no longer; whether it was wanted. What still comes goes where it went, until `forget`."""
        self._refused.discard(sid)
        return self._wanted.pop(sid, None) is not None

    def forget(self, sid: int) -> None:
        """Nothing more comes of it."""
        self.routes.pop(b"%d" % sid, None)

    def lines(self, sids: Collection[int] | None = None) -> Iterator[bytes]:
        """SUB of each, or of these, in the order of their numbers."""
        for sid, each in self._wanted.items():
            if sids is None or sid in sids:
                yield encode_subscribe(sid, each.subject, each.queue)

    def denied(self, subject: str) -> set[str]:
        """The server says no to what is subscribed to this subject; the subjects of which nobody knows it yet."""
        return self._refuse({sid for sid, each in self._wanted.items() if each.subject == subject})

    def too_many(self) -> set[str]:
        """The server says no to one more. Which one it does not say: it deals with them in their order, so it is the
        last. Returns: as `denied`.
        """
        among = (self._asked & self._wanted.keys()) or self._wanted.keys()
        return self._refuse({max(among - self._refused, default=0)})

    def again(self) -> list[bytes]:
        """SUB of all that was refused; `answered` is to follow."""
        if self._asked:
            return []
        self._asked, self._refused = self._refused, set()
        return list(self.lines(self._asked))

    def answered(self, *, known: bool) -> set[str]:
        """What was asked for again is dealt with. Returns: the subjects that the server allows now.

        Args:
          known: the server has answered; else all of it is as it was.
        """
        asked, self._asked = self._asked & self._wanted.keys(), set()
        if not known:
            self._refused |= asked
            return set()
        return self._subjects(asked - self._refused) - self._subjects(self._refused)

    def lose(self) -> None:
        """The connection is gone: the next server may think otherwise."""
        self._refused.clear()
        self._asked.clear()

    def _refuse(self, sids: set[int]) -> set[str]:
        sids &= self._wanted.keys()
        new = sids - self._refused - self._asked
        self._refused |= sids
        return self._subjects(new)

    def _subjects(self, sids: set[int]) -> set[str]:
        return {self._wanted[sid].subject for sid in sids}
