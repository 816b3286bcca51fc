"""Topics and topic filters of MQTT, and the subjects and patterns of farm that stand for them. Pure.

    subject   orders.new         topic    orders/new            a dot is a slash, both ways
    pattern   orders.*           filter   orders/+              `*` is `+`, `>` is `#`
              orders.>                    orders/#
A dot in a topic of somebody else's (`v1.2/state`) is a dot in the subject too, so that topic cannot be published to
from here, but for the answer to a message that named it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from farm.subject import RESERVED_PREFIXES, Matcher, compile_filter

_LEVELS: Final = {"*": "+", ">": "#"}
_SWAPPED: Final = str.maketrans("./", "/.")
_SHARED: Final = "$share/"
_RESERVED: Final = tuple(prefix.replace(".", "/") for prefix in RESERVED_PREFIXES)


def topic_of(subject: str) -> str:
    """Where a subject is published. Wildcards are nobody's to publish to: none is translated."""
    return subject.replace(".", "/")


def subject_of(topic: str) -> str:
    """What a topic is called here."""
    return topic.replace("/", ".")


def filter_of(pattern: str) -> str:
    """The topic filter of a pattern."""
    return "/".join(_LEVELS.get(token, token) for token in pattern.replace("/", ".").split("."))


def shared_filter(topic_filter: str, group: str) -> str:
    """The filter with which a group shares what matches. Source: MQTT 5.0, section 4.8.2."""
    return f"{_SHARED}{group}/{topic_filter}"


def is_shared(topic_filter: str) -> bool:
    """Whether it is one of a group."""
    return topic_filter.startswith(_SHARED)


def is_reserved(topic: str) -> bool:
    """Whether no wildcard of farm reaches it, though a server's does."""
    return topic.startswith(_RESERVED)


def matcher_of(topic_filter: str) -> Matcher:
    """Whether a topic matches a filter, or that which a group shares."""
    if is_shared(topic_filter):
        topic_filter = topic_filter.split("/", 2)[2]
    matches = compile_filter(topic_filter.translate(_SWAPPED), "mqtt")
    return lambda topic: matches(topic.translate(_SWAPPED))


def overlap(one: str, other: str) -> bool:
    """Whether there are topics that match both of these filters."""
    ones, others = one.split("/"), other.split("/")
    if ones[0] != others[0] and (ones[0].startswith("$") or others[0].startswith("$")):
        return False  # no wildcard reaches a topic that begins so
    for place in range(max(len(ones), len(others))):
        mine = ones[place] if place < len(ones) else ""
        theirs = others[place] if place < len(others) else ""
        if "#" in (mine, theirs):
            return True
        if place >= len(ones) or place >= len(others):
            return False
        if mine != theirs and "+" not in (mine, theirs):
            return False
    return True


def disjoint(filters: Iterable[str]) -> list[str]:
    """Filters of which exactly one matches each topic that some of these match, and that match perhaps more.

    A server of MQTT 3.1.1 may send a message once or once for each filter that matches it, and does not say which: so
    there is one only.
    """
    found: list[str] = []
    exact: list[str] = []
    for topic_filter in dict.fromkeys(filters):
        if not _is_wild(topic_filter):
            exact.append(topic_filter)
            continue
        wide = topic_filter
        while other := next((each for each in found if overlap(each, wide)), None):
            found.remove(other)
            wide = _join(wide, other)
        found.append(wide)
    return found + [each for each in exact if not any(overlap(wide, each) for wide in found)]


def _is_wild(topic_filter: str) -> bool:
    return "+" in topic_filter or "#" in topic_filter


def _join(one: str, other: str) -> str:
    """The narrowest filter that matches whatever these two match."""
    ones, others = one.split("/"), other.split("/")
    levels: list[str] = []
    for mine, theirs in zip(ones, others, strict=False):
        if "#" in (mine, theirs):
            return "/".join([*levels, "#"])
        levels.append(mine if mine == theirs else "+")
    if len(ones) != len(others):
        levels.append("#")
    return "/".join(levels)
