"""Subjects, and the filters that match them: every wildcard grammar of farm lives here.

subject    what a message is published to: `hello.world`. No wildcards, no empty token.
filter     what a trigger or a listener subscribes to: `hello.*`. What its wildcards mean is the broker's grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, Literal

from farm.errors import InvalidSubject, Problem, printable

SUBJECT_LIMIT_BYTES: Final = 256
TOKEN_LIMIT: Final = 16
INBOX: Final = "_INBOX."
RESERVED_PREFIXES: Final = ("farm.", INBOX, "$")

# reference: `*` any run of characters, `?` one. nats: `*` one token, `>` the rest. redis: globs. mqtt: `*` and `+` one
# token, `>` and `#` the rest or none. exact: no wildcards.
Grammar = Literal["reference", "nats", "redis", "mqtt", "exact"]
WILDCARDS: Final[Mapping[Grammar, str]] = MappingProxyType(
    {"reference": "*?", "nats": "*>", "redis": "*?[\\", "mqtt": "*+>#", "exact": ""}
)
# How a subscription begins that takes messages away from others, some or all. Source: MQTT 5, 4.8.2; EMQX.
MQTT_ORDERS: Final = ("$share", "$queue", "$exclusive")
# What nearly every subject is made of: told at a glance to be valid, if it is not reserved.
_PLAIN: Final = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_:-]*(?:\.[A-Za-z0-9_:-]+)*").fullmatch

Matcher = Callable[[str], bool]


def validate(subject: str) -> None:
    """Let pass what may be published to.

    Raises:
      InvalidSubject: empty, an empty token, a wildcard, a space or control character, over 256 bytes or 16 tokens, or
        in a namespace that belongs to farm or to a server (`farm.`, `_INBOX.`, `$`).
    """
    short = len(subject) <= SUBJECT_LIMIT_BYTES and subject.count(".") < TOKEN_LIMIT
    if short and _PLAIN(subject) and not subject.startswith("farm."):
        return
    why = _shape_fault(subject)
    if not why and any(c in subject for c in "*>?#+"):
        why = "a wildcard in it; publish to one subject"
    if not why and subject.startswith(RESERVED_PREFIXES):
        why = "this namespace is reserved"
    if why:
        raise InvalidSubject(Problem(f"invalid subject {_shown(subject)}", why=why))


def validate_reply(subject: str) -> None:
    """Let pass what a message of a broker may name as the place for its answer: as `validate`, and `_INBOX.` too.

    A `$` or `farm.` in front is nobody's inbox: an answer there would be an order to the server, in our name.

    Raises: InvalidSubject.
    """
    validate(subject.removeprefix(INBOX) if subject.startswith(INBOX) else subject)


def validate_filter(pattern: str, grammar: Grammar) -> None:
    """Let pass what may be subscribed to.

    Raises:
      InvalidSubject: as `validate`, but the grammar's wildcards are welcome; with "nats" and "mqtt" only as whole
        tokens, and what stands for the rest only last. With "mqtt" a slash too, which is one at the server alone, and
        what takes messages away from others there.
    """
    why = _shape_fault(pattern) or _wildcard_fault(pattern, grammar)
    if why:
        raise InvalidSubject(Problem(f"invalid pattern {_shown(pattern)}", why=why))


def has_wildcards(pattern: str, grammar: Grammar) -> bool:
    """Whether a filter may match more than one subject."""
    if grammar in ("nats", "mqtt"):
        return any(token in WILDCARDS[grammar] for token in pattern.split("."))
    return any(c in pattern for c in WILDCARDS[grammar])


def _wildcard_fault(pattern: str, grammar: Grammar) -> str:
    if grammar == "exact":
        return "a wildcard in it, and this broker has none" if any(c in pattern for c in "*>?#+[") else ""
    if grammar not in ("nats", "mqtt"):
        return ""
    if grammar == "mqtt" and "/" in pattern:
        dotted = ".".join(token or "+" for token in pattern.split("/"))
        return f"here a dot stands between levels, not a slash: {_shown(dotted)}"
    one, rest = ("*", ">") if grammar == "nats" else ("*+", ">#")
    tokens = pattern.split(".")
    if grammar == "mqtt" and tokens[0] in MQTT_ORDERS:
        return f"`{tokens[0]}` takes messages away from others; a trigger says queue = {{ topic, group }}"
    if any(token in rest for token in tokens[:-1]):
        return f"{_ticked(rest)} stands only at the end"
    if any(len(token) > 1 and any(c in token for c in one + rest) for token in tokens):
        return f"{_ticked(one + rest)} are whole tokens"
    return ""


def _ticked(characters: str) -> str:
    return " and ".join(f"`{c}`" for c in characters)


def _shape_fault(text: str) -> str:
    if not text:
        return "it is empty"
    if not text.isprintable() or " " in text:
        return "a space or a control character in it"
    if not _encodable(text):
        return "it is not Unicode text"
    size = len(text.encode())
    if size > SUBJECT_LIMIT_BYTES:
        return f"{size} bytes exceed the limit of {SUBJECT_LIMIT_BYTES}"
    tokens = text.split(".")
    if "" in tokens:
        return "an empty token (two dots together, or a dot at an end)"
    if len(tokens) > TOKEN_LIMIT:
        return f"{len(tokens)} tokens exceed the limit of {TOKEN_LIMIT}"
    return ""


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    return repr(printable(text if len(text) <= 60 else text[:57] + "..."))


def compile_filter(pattern: str, grammar: Grammar) -> Matcher:
    """The matcher of one filter, made once and called for every message.

    Args:
      grammar: "reference": `*` any run of characters (dots and none included), `?` one character, the whole subject;
        "nats": `*` one token, `>` one or more at the end; "redis": globs over bytes; "mqtt": `*` and `+` one token,
        which may be empty, `>` and `#` any number at the end, none included.
    Returns: a function that says whether a subject matches. No wildcard reaches into a reserved namespace: only a
      filter that itself names it does.
    Source: the reference's in-memory broker; NATS subject-based messaging; stringmatchlen of Redis; MQTT 5, 4.7.
    """
    if not has_wildcards(pattern, grammar):
        return pattern.__eq__
    matches = _matcher(pattern, grammar)
    if pattern.startswith(RESERVED_PREFIXES):
        return lambda subject: matches(subject) is not None
    return lambda subject: not subject.startswith(RESERVED_PREFIXES) and matches(subject) is not None


def _matcher(pattern: str, grammar: Grammar) -> Callable[[str], object]:
    if grammar == "redis":
        if pattern.isascii():
            glob = re.compile(_glob(pattern), re.DOTALL).fullmatch
            return lambda subject: glob(subject if subject.isascii() else _as_bytes(subject))
        glob = re.compile(_glob(_as_bytes(pattern)), re.DOTALL).fullmatch
        return lambda subject: glob(_as_bytes(subject))
    if grammar == "reference":
        text = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    elif grammar == "nats":
        parts = [r"[^.]+" if t == "*" else r".+" if t == ">" else re.escape(t) for t in pattern.split(".")]
        text = r"\.".join(parts)
    else:
        tokens = pattern.split(".")
        rest = tokens[-1] in ("#", ">")
        text = r"\.".join(r"[^.]*" if t in ("*", "+") else re.escape(t) for t in tokens[: -1 if rest else None])
        text += ".*" if len(tokens) == 1 and rest else r"(?:\..*)?" if rest else ""
    return re.compile(text, re.DOTALL).fullmatch


def _as_bytes(text: str) -> str:
    """A character for each byte: to Redis `?` is one byte."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _glob(pattern: str) -> str:
    """The regular expression that a glob of Redis is."""
    text, place = "", 0
    while place < len(pattern):
        c = pattern[place]
        place += 1
        if c == "*":
            text += ".*"
        elif c == "?":
            text += "."
        elif c == "[":
            found, place = _glob_class(pattern, place)
            text += found
        else:
            if c == "\\" and place < len(pattern):
                c = pattern[place]
                place += 1
            text += re.escape(c)
    return text


def _glob_class(pattern: str, place: int) -> tuple[str, int]:
    """A class of a glob from behind its bracket, and where the pattern goes on; one that is not closed ends with it."""
    negated = pattern[place : place + 1] == "^"
    place += negated
    ranges: list[str] = []
    while place < len(pattern) and pattern[place] != "]":
        first = last = pattern[place]
        if first == "\\" and place + 1 < len(pattern):
            first = last = pattern[place + 1]
            place += 2
        elif pattern[place + 1 : place + 2] == "-" and place + 2 < len(pattern):
            first, last = sorted((first, pattern[place + 2]))
            place += 3
        else:
            place += 1
        ranges.append(f"{re.escape(first)}-{re.escape(last)}")
    if not ranges:
        return ("." if negated else r"(?!)"), place + 1
    return f"[{'^' if negated else ''}{''.join(ranges)}]", place + 1


def nearest(subject: str, patterns: Iterable[str]) -> str | None:
    """The pattern that a person most likely meant by `subject`, or None when nothing is close."""
    close = get_close_matches(subject, list(patterns), n=1, cutoff=0.5)
    return close[0] if close else None
