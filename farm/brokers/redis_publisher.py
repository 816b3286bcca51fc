"""What goes out: scripts whose replies become answers, in order, each publish answered in one call.

    begin, part (for each message) > a part: what one script is told > its reply > answers of who is in it > done
A part leaves at the end of the loop's turn while the server has little to do. Else it waits for the server's next
reply, and takes in what comes meanwhile, up to 128 messages or 1 MiB: a busy server has few scripts, and large ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar, cast

from farm.broker import Refused
from farm.brokers.redis_connection import Connection
from farm.brokers.redis_life import ENDING, Life
from farm.brokers.redis_link import LinkFault, ServerFault, Word
from farm.errors import BrokerFull, BrokerUnavailable, InputError, NotPermitted, Problem

PART: Final = 128
PART_BYTES: Final = 1 << 20
AHEAD: Final = 2  # scripts that the server has before others wait for its reply

Answer = int | Refused  # what the script says of one, or why not
OnAnswers = Callable[[list[Answer]], None]


What = TypeVar("What")
Result = TypeVar("Result")


def set_apart(
    items: Sequence[What],
    refusal_of: Callable[[What], Refused | None],
    done: Callable[[Sequence[Result | Refused]], None],
) -> tuple[Sequence[What], Callable[[Sequence[Result | Refused]], None]]:
    """Those that are not refused, and who is to hear what became of them; `done` hears of all, in order."""
    refused = {place: why for place, item in enumerate(items) if (why := refusal_of(item)) is not None}

    def merged(results: Sequence[Result | Refused]) -> None:
        following = iter(results)
        done([refused[place] if place in refused else next(following) for place in range(len(items))])

    return [item for place, item in enumerate(items) if place not in refused], merged


class Ask:
    """A publish on its way."""

    __slots__ = ("answers", "left", "on_answers", "placed")

    def __init__(self, count: int, on_answers: OnAnswers) -> None:
        self.answers: list[Answer] = [1] * count
        self.left = count
        self.placed = 0
        self.on_answers = on_answers


class _Asker:
    """Whose messages are in a part: from which place on, and how many."""

    __slots__ = ("ask", "count", "place")

    def __init__(self, ask: Ask, place: int) -> None:
        self.ask = ask
        self.place = place
        self.count = 1


class Part:
    """What one script is told. askers: whose messages are in it, in order.

    source, heading: for who writes the words: of what was put there last, and the place of a word that counts.
    """

    __slots__ = ("askers", "count", "heading", "key", "life", "size_bytes", "source", "words")

    def __init__(self, life: Life, key: str) -> None:
        self.life = life
        self.key = key
        self.words: list[Word] = []
        self.askers: list[_Asker] = []
        self.count = self.size_bytes = self.heading = 0
        self.source: tuple[str, str] | None = None


class Publisher:
    """Makes parts, sends them, and gathers what became of them."""

    def __init__(self, broker: str, connection: Connection, digest: str) -> None:
        """
        Args:
          digest: of the script.
        """
        self._broker: Final = broker
        self._connection: Final = connection
        self._digest: Final = digest
        self._asks = 0
        self._ahead = 0
        # Not sent yet; by subject in a cluster: a script may touch the keys of one slot.
        self._parts: dict[str, Part] = {}
        self._scheduled = False

    @property
    def idle(self) -> bool:
        """Whether all was answered."""
        return not self._asks

    def away(self) -> BrokerUnavailable:
        """The answer while there is no server."""
        return BrokerUnavailable(Problem(f"broker {self._broker!r} is down", why=self._connection.fault))

    def begin(self, count: int, on_answers: OnAnswers) -> Ask:
        """So many messages follow, at least one. `on_answers` gets an answer for each."""
        self._asks += 1
        return Ask(count, on_answers)

    def part(self, life: Life, ask: Ask, subject: str, size_bytes: int) -> Part:
        """Where the words of the next message go."""
        which = subject if life.cluster else ""
        part = self._parts.get(which)
        if part is not None and (part.count >= PART or part.size_bytes + size_bytes > PART_BYTES):
            self._send(self._parts.pop(which))
            part = None
        if part is None:
            part = self._parts[which] = Part(life, f"farm:{{{subject}}}:")
            if not self._scheduled:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._turn)
        part.count += 1
        part.size_bytes += size_bytes
        asker = part.askers[-1] if part.askers else None
        if asker is not None and asker.ask is ask and asker.place + asker.count == ask.placed:
            asker.count += 1
        else:
            part.askers.append(_Asker(ask, ask.placed))
        ask.placed += 1
        return part

    def lost(self) -> None:
        """The server is gone: what it was not told of is answered."""
        parts, self._parts = self._parts, {}
        for part in parts.values():
            self._gather(part, LinkFault("the connection is over"))

    def _turn(self) -> None:
        self._scheduled = False
        if self._ahead < AHEAD:
            parts, self._parts = self._parts, {}
            for part in parts.values():
                self._send(part)

    def _send(self, part: Part) -> None:
        link = part.life.commands(part.key)

        def replied(reply: object) -> None:
            self._ahead -= 1
            self._gather(part, reply)
            if self._parts:
                self._turn()

        self._ahead += 1
        if link.full:
            full = BrokerFull(Problem(f"broker {self._broker!r} takes nothing", why="its server reads too slowly"))
            link.send(("PING",), lambda _: replied(full))
        else:
            link.send(("EVALSHA", self._digest, 1, part.key, *part.words), replied)

    def _gather(self, part: Part, reply: object) -> None:
        answers = self._answers(part.life, reply, part.count)
        at = 0
        for asker in part.askers:
            ask, place, count = asker.ask, asker.place, asker.count
            ask.answers[place : place + count] = answers[at : at + count]
            at += count
            ask.left -= count
            if not ask.left:
                self._asks -= 1
                ask.on_answers(ask.answers)

    def why(self, life: Life, reply: object) -> Refused:
        """Why a message was not taken, by the reply to the command that was to bring it, among others perhaps."""
        if isinstance(reply, BrokerFull):
            return reply
        if isinstance(reply, ServerFault) and reply.code != "NOPERM":
            return self.refusal(life, reply)
        if isinstance(reply, ServerFault):
            why = life.told(reply)  # it is the command that is not allowed: no message is to blame
        else:
            why = str(reply) if isinstance(reply, LinkFault) else "its answer makes no sense"
        return BrokerUnavailable(Problem(f"broker {self._broker!r} did not confirm", why=why))

    def refusal(self, life: Life, fault: ServerFault) -> Refused:
        """What an error reply means for the message that it was about."""
        why = life.told(fault)
        where = f"broker {self._broker!r}"
        if fault.code in ENDING:
            life.end(why)
        if fault.code in ("OOM", "MISCONF"):
            return BrokerFull(Problem("the server takes nothing", where=where, why=why))
        if fault.code == "NOPERM":
            return NotPermitted(Problem("the server refuses a message", where=where, why=fault.text))
        if fault.code == "WRONGTYPE":
            return InputError(Problem("a key of the subject is no stream", where=where, why=fault.text))
        return BrokerUnavailable(Problem("the server took no message", where=where, why=why))

    def _answers(self, life: Life, reply: object, count: int) -> Sequence[Answer]:
        if not isinstance(reply, list):
            return [self.why(life, reply)] * count
        replies = cast("list[object]", reply)
        if len(replies) != count:
            return [self.why(life, None)] * count
        if replies.count(1) == count:  # as nearly always
            return cast("list[Answer]", replies)
        return [each if isinstance(each, int) else self._said(life, each) for each in replies]

    def _said(self, life: Life, text: object) -> Refused:
        said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        return self.refusal(life, text if isinstance(text, ServerFault) else ServerFault(said))
