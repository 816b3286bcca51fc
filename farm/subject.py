"""Subjects, and the filters that match them: every wildcard grammar of farm lives here.

subject    what a message is published to: `hello.world`. No wildcards, no empty token.
filter     what a trigger or a listener subscribes to: `hello.*`. What its wildcards mean is the broker's grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Final, Literal

from farm.errors import InvalidSubject, Problem, printable

SUBJECT_LIMIT_BYTES: Final = 256
TOKEN_LIMIT: Final = 16
RESERVED_PREFIXES: Final = ("farm.", "_INBOX.", "$")

Grammar = Literal["reference", "nats"]
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


def validate_filter(pattern: str, grammar: Grammar) -> None:
    """Let pass what may be subscribed to.

    Raises:
      InvalidSubject: as `validate`, but wildcards are welcome; with "nats", `*` and `>` only as whole tokens and
        `>` only last.
    """
    why = _shape_fault(pattern)
    if not why and grammar == "nats":
        tokens = pattern.split(".")
        if ">" in tokens[:-1]:
            why = "`>` stands only at the end"
        elif any(len(t) > 1 and ("*" in t or ">" in t) for t in tokens):
            why = "`*` and `>` are whole tokens"
    if why:
        raise InvalidSubject(Problem(f"invalid pattern {_shown(pattern)}", why=why))


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
        "nats": `*` one token, `>` one or more at the end.
    Returns: a function that says whether a subject matches. No wildcard reaches into a reserved namespace: only a
      filter that itself names it does.
    Source: the reference's in-memory broker; NATS subject-based messaging.
    """
    if grammar == "nats":
        parts = [r"[^.]+" if t == "*" else r".+" if t == ">" else re.escape(t) for t in pattern.split(".")]
        text = r"\.".join(parts)
        literal = not any(t in ("*", ">") for t in pattern.split("."))
    else:
        text = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
        literal = "*" not in pattern and "?" not in pattern
    if literal:
        return pattern.__eq__
    matches = re.compile(text, re.DOTALL).fullmatch
    if pattern.startswith(RESERVED_PREFIXES):
        return lambda subject: matches(subject) is not None
    return lambda subject: not subject.startswith(RESERVED_PREFIXES) and matches(subject) is not None


def nearest(subject: str, patterns: Iterable[str]) -> str | None:
    """The pattern that a person most likely meant by `subject`, or None when nothing is close."""
    close = get_close_matches(subject, list(patterns), n=1, cutoff=0.5)
    return close[0] if close else None
