"""Subjects and filters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import InvalidSubject
from farm.subject import Grammar, compile_filter, has_wildcards, nearest, validate, validate_filter, validate_reply

TOKENS = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        ("", "empty"),
        ("a..b", "empty token"),
        (".a", "empty token"),
        ("a.", "empty token"),
        ("a b", "space"),
        ("a\x00b", "control character"),
        ("a\u202eb", "control character"),
        ("a\udcff", "control character"),
        ("x" * 257, "257 bytes"),
        ("é" * 129, "258 bytes"),
        (".".join("a" * 17), "17 tokens"),
        ("a.*", "wildcard"),
        ("a.>", "wildcard"),
        ("a.b#", "wildcard"),
        ("$JS.API.STREAM.DELETE.x", "reserved"),
        ("_INBOX.x", "reserved"),
        ("farm.dlq.x", "reserved"),
    ],
)
def test_a_subject_that_no_broker_may_see_is_refused_with_the_reason(subject: str, why: str) -> None:
    with pytest.raises(InvalidSubject, match=why):
        validate(subject)


@pytest.mark.parametrize("subject", ["a", "hello.world", "x" * 256, ".".join("a" * 16), "größe.β", "farmer.x", "a/b"])
def test_an_ordinary_subject_passes(subject: str) -> None:
    validate(subject)


def test_an_error_never_shows_control_characters_raw() -> None:
    with pytest.raises(InvalidSubject) as caught:
        validate("a\x1b[31mb")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(("pattern", "why"), [("a.>.b", "end"), ("a*.b", "whole tokens"), ("a..b", "empty token")])
def test_a_nats_pattern_keeps_its_grammar(pattern: str, why: str) -> None:
    with pytest.raises(InvalidSubject, match=why):
        validate_filter(pattern, "nats")


@pytest.mark.parametrize("pattern", ["$share.workers.work.*", "$share.g", "$queue.work.*", "$exclusive.work"])
def test_a_pattern_of_mqtt_takes_no_part_of_a_queue(pattern: str) -> None:
    with pytest.raises(InvalidSubject, match="takes messages away from others"):
        validate_filter(pattern, "mqtt")
    validate_filter("$SYS.>", "mqtt")
    validate_filter("$shares.x", "mqtt")
    validate_filter(pattern.replace("*", "x"), "exact")


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [
        ("hello.*", "hello.", True),
        ("hello.*", "hello.a", True),
        ("hello.*", "hello.a.b", True),
        ("hello.*", "hello", False),
        ("h?llo", "hallo", True),
        ("h?llo", "hllo", False),
        ("*", "any.thing", True),
        ("a.b", "aXb", False),
        ("a[bc]", "ab", False),
        ("*", "farm.dlq.x", False),
        ("farm.*", "farm.dlq.x", True),
        ("*", "$SYS.x", False),
    ],
)
def test_the_reference_grammar_spans_dots_and_knows_no_escapes(pattern: str, subject: str, matches: bool) -> None:
    assert compile_filter(pattern, "reference")(subject) is matches


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [
        ("hello.*", "hello.a", True),
        ("hello.*", "hello.a.b", False),
        ("hello.>", "hello.a.b", True),
        ("hello.>", "hello", False),
        ("*.b", "a.b", True),
        (">", "a.b.c", True),
        (">", "_INBOX.x", False),
    ],
)
def test_the_nats_grammar_counts_tokens(pattern: str, subject: str, matches: bool) -> None:
    assert compile_filter(pattern, "nats")(subject) is matches


@given(TOKENS, st.data())
def test_replacing_any_token_by_a_star_still_matches_in_both_grammars(tokens: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(tokens) - 1))
    pattern = ".".join("*" if i == at else token for i, token in enumerate(tokens))
    subject = ".".join(tokens)
    assert compile_filter(pattern, "nats")(subject)
    assert compile_filter(pattern, "reference")(subject)


@given(TOKENS, TOKENS)
def test_a_filter_without_wildcards_matches_only_itself(pattern: list[str], subject: list[str]) -> None:
    for grammar in ("nats", "reference"):
        assert compile_filter(".".join(pattern), grammar)(".".join(subject)) is (pattern == subject)


def test_a_typing_error_finds_the_pattern_that_was_meant() -> None:
    assert nearest("helo.world", ["good.bye", "hello.*"]) == "hello.*"
    assert nearest("zzz", ["good.bye", "hello.*"]) is None


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [
        ("news.*", "news.a.b", True),
        ("news.*", "news.", True),
        ("h?llo", "hello", True),
        ("h?llo", "hllo", False),
        ("h[ae]llo", "hallo", True),
        ("h[ae]llo", "hillo", False),
        ("h[^e]llo", "hello", False),
        ("h[^e]llo", "hallo", True),
        ("h[a-c]llo", "hbllo", True),
        ("h[c-a]llo", "hbllo", True),
        ("h[a-]llo", "h-llo", False),  # from a to ], and the class is never closed
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        (r"h[\]]llo", "h]llo", True),
        ("h[]llo", "hllo", False),
        ("h[abc", "ha", True),
        ("h[abc", "hd", False),
        ("a\\", "a\\", True),
        ("a?", "aé", False),  # two bytes
        ("a??", "aé", True),
        ("é*", "éa", True),
        ("*", "farm.dlq.x", False),
        ("farm.*", "farm.dlq.x", True),
    ],
)
def test_globs_are_those_of_redis(pattern: str, subject: str, matches: bool) -> None:
    assert compile_filter(pattern, "redis")(subject) is matches


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [
        ("a.*", "a.b", True),
        ("a.+", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*", "a", False),
        ("a.+.c", "a..c", True),
        ("a.#", "a.b.c", True),
        ("a.>", "a.b.c", True),
        ("a.#", "a", True),
        ("a.#", "ab", False),
        ("#", "a.b", True),
        (">", "a", True),
        ("*", "a", True),
        ("*", "a.b", False),
        ("#", "$SYS.x", False),
        ("a.b", "a.b", True),
    ],
)
def test_filters_are_those_of_mqtt_with_dots(pattern: str, subject: str, matches: bool) -> None:
    assert compile_filter(pattern, "mqtt")(subject) is matches


@pytest.mark.parametrize(
    ("pattern", "grammar", "why"),
    [
        ("a.#.b", "mqtt", "end"),
        ("a+.b", "mqtt", "whole tokens"),
        ("a/+/c", "mqtt", r"a dot .* not a slash: 'a\.\+\.c'"),
        ("/a/b", "mqtt", r"'\+\.a\.b'"),
        ("a.*", "exact", "none"),
        ("a.[b]", "exact", "none"),
    ],
)
def test_a_pattern_that_its_broker_does_not_understand_is_refused(pattern: str, grammar: Grammar, why: str) -> None:
    with pytest.raises(InvalidSubject, match=why):
        validate_filter(pattern, grammar)


@pytest.mark.parametrize(
    ("grammar", "wild", "plain"),
    [
        ("reference", ("a*", "a?"), ("a.b", "a>")),
        ("nats", ("a.*", ">"), ("a.b", "a*b")),
        ("redis", ("a*", "a[b]", "a?", r"a\b"), ("a.b",)),
        ("mqtt", ("a.+", "a.*", "#", "a.>"), ("a.b",)),
        ("exact", (), ("a.b",)),
    ],
)
def test_what_is_a_wildcard_depends_on_the_broker(
    grammar: Grammar, wild: tuple[str, ...], plain: tuple[str, ...]
) -> None:
    assert all(has_wildcards(pattern, grammar) for pattern in wild)
    assert not any(has_wildcards(pattern, grammar) for pattern in plain)


@pytest.mark.parametrize("subject", ["_INBOX.abc", "_INBOX.a.b.c", "reply.here"])
def test_an_answer_may_go_to_an_inbox(subject: str) -> None:
    validate_reply(subject)


@pytest.mark.parametrize(
    "subject", ["$JS.API.STREAM.DELETE.x", "$JS.ACK.x", "farm.dlq.x", "_INBOX.", "_INBOX.*", "_INBOX.$x", ""]
)
def test_an_answer_is_no_order_to_the_server(subject: str) -> None:
    with pytest.raises(InvalidSubject):
        validate_reply(subject)
