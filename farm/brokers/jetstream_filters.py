"""What a stream must take in so that filters find their messages: filters of NATS against each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

ONE: Final = "*"
REST: Final = ">"


def covers(wide: str, narrow: str) -> bool:
    """Whether every subject that `narrow` matches is matched by `wide`."""
    theirs, ours = wide.split("."), narrow.split(".")
    for place, token in enumerate(theirs):
        if token == REST:
            return len(ours) > place
        if place == len(ours) or ours[place] == REST or (token != ONE and token != ours[place]):
            return False
    return len(ours) == len(theirs)


def overlap(one: str, other: str) -> bool:
    """Whether there is a subject that both match."""
    first, second = one.split("."), other.split(".")
    for ours, theirs in zip(first, second, strict=False):
        if REST in (ours, theirs):
            return True
        if ONE not in (ours, theirs) and ours != theirs:
            return False
    return len(first) == len(second)


def joined(filters: Iterable[str]) -> list[str]:
    """Filters that cover all of these and do not overlap each other, as those of a stream must not.

    Two that overlap become one that covers both; a filter that overlaps with none stays as it is.
    """
    found: list[str] = []
    for each in filters:
        new = each
        while (other := next((one for one in found if overlap(one, new)), None)) is not None:
            found.remove(other)
            new = _join(other, new)
        found.append(new)
    return found


def covered(wanted: str, filters: Sequence[str]) -> bool:
    """Whether one of the filters covers what is wanted."""
    return any(covers(each, wanted) for each in filters)


def stored(subjects: Iterable[str], source: str, target: str) -> list[str]:
    """Under what a stream that takes in these subjects, and renames what matches `source` to `target`, stores them.

    Args:
      target: with places for tokens of the source, `{{wildcard(1)}}`, `$1` and the like; empty: nothing is renamed.
    """
    if not target:
        return list(subjects)
    source = source or REST
    kept = [each for each in subjects if not covers(source, each)]
    renamed = any(overlap(source, each) for each in subjects)
    return kept + [target_filter(target)] * renamed


def target_filter(target: str) -> str:
    """What matches all subjects that a renaming may lead to."""
    return ".".join(ONE if "{{" in token or token.startswith("$") else token for token in target.split("."))


def _join(one: str, other: str) -> str:
    if covers(one, other):
        return one
    first, second = one.split("."), other.split(".")
    tokens: list[str] = []
    for ours, theirs in zip(first, second, strict=False):
        if REST in (ours, theirs):
            break
        tokens.append(ours if ours == theirs else ONE)
    if len(tokens) == len(first) == len(second):
        return ".".join(tokens)
    return ".".join([*tokens, REST])
