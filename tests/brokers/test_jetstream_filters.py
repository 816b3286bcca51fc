from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.brokers.jetstream_filters import covered, covers, joined, overlap, stored
from farm.subject import compile_filter

TOKENS = st.sampled_from(["a", "b", "*"])
FILTERS = st.builds(
    lambda tokens, rest: ".".join([*tokens, *rest]),
    st.lists(TOKENS, min_size=1, max_size=3),
    st.sampled_from([[], [">"]]),
)
# What no filter names, `c`, tells `a` and `b` from `*`; four tokens tell `>` from its absence.
SUBJECTS = [".".join(tokens) for size in range(1, 6) for tokens in product("abc", repeat=size)]


def matched(each: str) -> set[str]:
    return set(filter(compile_filter(each, "nats"), SUBJECTS))


@given(FILTERS, FILTERS)
def test_one_covers_another_when_it_matches_all_that_the_other_does(wide: str, narrow: str) -> None:
    assert covers(wide, narrow) == (matched(narrow) <= matched(wide))


@given(FILTERS, FILTERS)
def test_two_overlap_when_they_match_one_subject(one: str, other: str) -> None:
    assert overlap(one, other) == overlap(other, one) == bool(matched(one) & matched(other))


@given(st.lists(FILTERS, max_size=6))
def test_what_is_joined_covers_all_and_does_not_overlap(filters: list[str]) -> None:
    found = joined(filters)
    assert all(covered(each, found) for each in filters)
    assert not [pair for pair in combinations(found, 2) if overlap(*pair)]


def test_what_does_not_overlap_stays_as_it_is() -> None:
    assert joined(["a.b", "a.c", "b.>", "a.b"]) == ["a.c", "b.>", "a.b"]


def test_what_overlaps_becomes_no_wider_than_it_must() -> None:
    assert joined(["a.*", "*.b"]) == ["*.*"]
    assert joined(["a.b.>", "a.*"]) == ["a.b.>", "a.*"]
    assert joined(["a.>", "*.b.c"]) == ["*.>"]


@pytest.mark.parametrize(
    ("subjects", "source", "target", "found"),
    [
        (["a.*", "b"], "", "", ["a.*", "b"]),
        (["a.*", "b"], "a.*", "c.{{wildcard(1)}}", ["b", "c.*"]),
        (["a.*", "b"], "a.b", "c.d", ["a.*", "b", "c.d"]),
        (["a.>"], "", "x.>", ["x.>"]),
        (["a.*"], "z.*", "c.$1", ["a.*"]),
        (["a.*.*"], "a.*.*", "n.{{partition(3,1)}}.$2", ["n.*.*"]),
    ],
)
def test_under_what_a_stream_stores_what_it_takes_in(
    subjects: list[str], source: str, target: str, found: list[str]
) -> None:
    assert stored(subjects, source, target) == found
