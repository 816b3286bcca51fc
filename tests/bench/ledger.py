"""The ledger of a run, kept outside farm: what it said it had, and what came out. Pure.

accept(id, payload)     farm answered that it has this message
see(output id, payload) an output was heard: an output's id begins with the id of the message it was made of
run(id)                 a guest ran on a message, as its own print says
faults()                what does not add up; nothing: every accepted message was handled exactly once
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

SHOWN: Final = 3  # ids that a fault is told with


@dataclass
class Ledger:
    """One run's. Payloads are remembered by their hash: a run may have gigabytes of them.

    missed: outputs that farm left out because the ledger's own listener was too slow: they prove nothing, so they are
    a fault of the run.
    """

    missed: int = 0
    _accepted: dict[str, int] = field(default_factory=dict[str, int])
    _seen: Counter[str] = field(default_factory=Counter[str])
    _runs: Counter[str] = field(default_factory=Counter[str])
    _again: list[str] = field(default_factory=list[str])
    _payloads: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    @property
    def accepted_count(self) -> int:
        """How many messages farm has said it had."""
        return len(self._accepted)

    @property
    def seen_count(self) -> int:
        """How many outputs were heard, those heard twice counted twice."""
        return len(self._payloads)

    def accept(self, message_id: str, payload: bytes) -> None:
        """Farm has this message; its output has this payload."""
        if message_id in self._accepted:
            self._again.append(message_id)
        self._accepted[message_id] = hash(payload)

    def see(self, output_id: str, payload: bytes) -> None:
        """An output was heard."""
        source = source_of(output_id)
        self._seen[source] += 1
        self._payloads.append((source, hash(payload)))

    def run(self, message_id: str) -> None:
        """A guest ran on a message, or on what was made of it."""
        self._runs[source_of(message_id)] += 1

    def faults(self) -> list[str]:
        """What does not add up, one line for each kind."""
        accepted, seen, runs = self._accepted, self._seen, self._runs
        unlike = [source for source, found in self._payloads if accepted.get(source, found) != found]
        kinds = {
            "accepted twice under one id": self._again,
            "accepted and never handled": [one for one in accepted if one not in seen],
            "handled twice": [one for one, count in seen.items() if count > 1],
            "handled and never accepted": [one for one in seen if one not in accepted],
            "answered with another's payload": unlike,
            "run twice by a guest": [one for one, count in runs.items() if count > 1],
            "heard of and run by no guest": [one for one in seen if one not in runs] if runs else [],
        }
        found = [_told(what, ids) for what, ids in kinds.items() if ids]
        if self.missed:
            found.append(f"{self.missed} outputs came too fast for the ledger: this run proves nothing")
        return found


def source_of(output_id: str) -> str:
    """The id of the first message of a chain: `<id>:<component>:<index>..` for what components made of it."""
    return output_id.partition(":")[0]


def uneven(counters: dict[str, int], wanted: dict[str, int]) -> Iterable[str]:
    """Which of farm's own counters do not agree with what was counted outside."""
    for name, count in wanted.items():
        if counters[name] != count:
            yield f"farm counts {counters[name]:,} {name}, outside it were {count:,}"


def _told(what: str, ids: list[str]) -> str:
    more = ", .." if len(ids) > SHOWN else ""
    return f"{len(ids):,} {what}: {', '.join(ids[:SHOWN])}{more}"
