from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.brokers.mqtt_topics import (
    disjoint,
    filter_of,
    is_reserved,
    matcher_of,
    overlap,
    shared_filter,
    subject_of,
    topic_of,
)

LEVELS = ["a", "b", "+", "$x"]
TOPICS = ["/".join(levels) for size in range(1, 5) for levels in product(["a", "b", "$x"], repeat=size)]


@st.composite
def filters(draw: st.DrawFn) -> str:
    levels = draw(st.lists(st.sampled_from(LEVELS), min_size=0, max_size=4))
    rest = draw(st.booleans())
    return "/".join([*levels, "#"] if rest or not levels else levels)


@pytest.mark.parametrize(
    ("pattern", "topic_filter"),
    [
        ("a.b", "a/b"),
        ("a.*", "a/+"),
        ("a.+.c", "a/+/c"),
        ("a.>", "a/#"),
        ("#", "#"),
        (">", "#"),
        ("a.*b", "a/*b"),
        ("$SYS.>", "$SYS/#"),
    ],
)
def test_a_pattern_is_a_filter(pattern: str, topic_filter: str) -> None:
    assert filter_of(pattern) == topic_filter


def test_a_dot_is_a_slash_both_ways_and_nothing_else_is_translated() -> None:
    assert topic_of("orders.new") == "orders/new"
    assert subject_of("orders/new") == "orders.new"
    assert topic_of("a.*.>") == "a/*/>"
    assert subject_of("/a//b") == ".a..b"


def test_a_dot_in_a_level_is_a_part_of_it() -> None:
    matches = matcher_of("sensors/+/state")
    assert matches("sensors/v1.2/state")
    assert not matches("sensors/v1/2/state")


def test_the_filter_of_a_group_matches_what_it_shares() -> None:
    assert shared_filter("a/+", "g") == "$share/g/a/+"
    assert matcher_of("$share/g/a/+")("a/b")


@pytest.mark.parametrize("topic", ["farm/dlq/a", "_INBOX/x", "$SYS/x", "$JS/x"])
def test_no_wildcard_reaches_what_is_reserved(topic: str) -> None:
    assert is_reserved(topic)
    assert not matcher_of("#")(topic)
    assert not matcher_of("+/#")(topic)
    assert matcher_of(topic.split("/")[0] + "/#")(topic)
    assert not is_reserved("a/" + topic)


@given(filters(), filters())
def test_filters_overlap_when_a_topic_matches_both(one: str, other: str) -> None:
    both = [topic for topic in TOPICS if matcher_of(one)(topic) and matcher_of(other)(topic)]
    assert overlap(one, other) == overlap(other, one) == bool(both)


@given(st.lists(filters(), max_size=6))
def test_one_disjoint_filter_matches_what_some_match(wanted: list[str]) -> None:
    found = disjoint(wanted)
    for topic in TOPICS:
        matching = [each for each in found if matcher_of(each)(topic)]
        assert len(matching) <= 1
        if any(matcher_of(each)(topic) for each in wanted):
            assert matching


def test_filters_that_do_not_overlap_stay_as_they_are() -> None:
    assert sorted(disjoint(["a/b", "a/c", "x/+"])) == ["a/b", "a/c", "x/+"]
    assert disjoint(["a/b", "a/+"]) == ["a/+"]
    assert disjoint(["a/+", "+/b"]) == ["+/+"]
    assert disjoint(["a/b", "a/b"]) == ["a/b"]
