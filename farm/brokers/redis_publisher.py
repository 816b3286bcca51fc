"""What goes out: commands whose replies become answers, in order, each publish answered in one call.

a publish > parts of at most 128 messages or 1 MiB > one script for each > answers of all parts > done
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, cast

from farm.brokers.redis_connection import Connection
from farm.brokers.redis_life import ENDING, Life, told
from farm.brokers.redis_link import LinkFault, ServerFault, Word
from farm.errors import BrokerError, BrokerFull, BrokerUnavailable, InputError, NotPermitted, Problem

PART: Final = 128
PART_BYTES: Final = 1 << 20
_FORBIDDEN: Final = "The user executing the script can't"  # what Redis 7.0 has for NOPERM within a script

Answer = int | BrokerError | InputError  # what the script says of one, or why not
OnAnswers = Callable[[list[Answer]], None]


class Part:
    """Some of a publish: for one server. places: where in the publish each was; words: what the script is told.

    source, heading: of what was put there last: what it was made from, and the place of the word that counts.
    """

    __slots__ = ("heading", "key", "places", "size_bytes", "source", "words")

    def __init__(self, key: str) -> None:
        self.key = key
        self.places: list[int] = []
        self.words: list[Word] = []
        self.source: tuple[str, str] | None = None
        self.heading = 0
        self.size_bytes = 0


class Parts:
    """A publish being taken apart. key: of what goes out: parts are by server, and as large as they may be."""

    def __init__(self, life: Life) -> None:
        self.all: Final[list[Part]] = []
        self._life = life
        self._open: dict[object, Part] = {}

    def part(self, subject: str, size_bytes: int) -> Part:
        """Where the next one goes."""
        which = subject if self._life.cluster else None  # a script may touch the keys of one slot
        part = self._open.get(which)
        if part is None or len(part.places) >= PART or part.size_bytes + size_bytes > PART_BYTES:
            part = self._open[which] = Part(f"farm:{{{subject}}}:")
            self.all.append(part)
        part.size_bytes += size_bytes
        return part


class Publisher:
    """Sends parts, and gathers what became of them."""

    def __init__(self, broker: str, connection: Connection) -> None:
        self._broker: Final = broker
        self._connection: Final = connection
        self._open = 0

    @property
    def idle(self) -> bool:
        """Whether all was answered."""
        return not self._open

    def away(self) -> BrokerUnavailable:
        """The answer while there is no server."""
        return BrokerUnavailable(Problem(f"broker {self._broker!r} is not connected", why=self._connection.fault))

    def send(self, life: Life, parts: Sequence[Part], digest: str, on_answers: OnAnswers) -> None:
        """Send all parts of a publish, at least one. `on_answers` gets an answer for each of its places."""
        answers: list[Answer] = [0] * sum(len(part.places) for part in parts)
        left = len(parts)
        self._open += 1

        def gather(part: Part, reply: object) -> None:
            nonlocal left
            found = self._answers(life, reply, len(part.places))
            for place, answer in zip(part.places, found, strict=True):
                answers[place] = answer
            left -= 1
            if not left:
                self._open -= 1
                on_answers(answers)

        for part in parts:
            link = life.commands(part.key)
            words: tuple[Word, ...] = ("EVALSHA", digest, 1, part.key, *part.words)
            if link.full:
                full = BrokerFull(Problem(f"broker {self._broker!r} takes nothing", why="its server reads too slowly"))
                link.send(("PING",), lambda _, part=part, full=full: gather(part, full))
            else:
                link.send(words, lambda reply, part=part: gather(part, reply))

    def why(self, life: Life, reply: object) -> BrokerError | InputError:
        """Why a message was not taken, by the reply to the command that was to bring it."""
        if isinstance(reply, BrokerFull):
            return reply
        if isinstance(reply, ServerFault):
            return self.refusal(life, reply)
        why = str(reply) if isinstance(reply, LinkFault) else "its answer makes no sense"
        return BrokerUnavailable(Problem(f"broker {self._broker!r} did not confirm", why=why))

    def refusal(self, life: Life, fault: ServerFault) -> BrokerError | InputError:
        """What an error reply means for the message that it was about."""
        why = told(fault)
        where = f"broker {self._broker!r}"
        if fault.code in ENDING:
            life.end(why)
        if fault.code in ("OOM", "MISCONF"):
            return BrokerFull(Problem("the server takes nothing", where=where, why=why))
        if fault.code == "NOPERM" or _FORBIDDEN in fault.text:
            return NotPermitted(Problem("the server refuses a message", where=where, why=fault.text))
        if fault.code == "WRONGTYPE":
            return InputError(Problem("the subject's key is no stream", where=where, why=fault.text))
        return BrokerUnavailable(Problem("the server took no message", where=where, why=why))

    def _answers(self, life: Life, reply: object, count: int) -> Sequence[Answer]:
        if not isinstance(reply, list):
            return [self.why(life, reply)] * count
        replies = cast("list[object]", reply)
        if len(replies) != count:
            return [self.why(life, None)] * count
        return [each if isinstance(each, int) else self._said(life, each) for each in replies]

    def _said(self, life: Life, text: object) -> BrokerError | InputError:
        said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        return self.refusal(life, text if isinstance(text, ServerFault) else ServerFault(said))
