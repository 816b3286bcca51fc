from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import BadValue, InputError
from farm.units import Duration, Name, Size, Whole, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"), [("200ms", 0.2), ("5s", 5.0), ("1.5m", 90.0), ("1m", 60.0), ("2h", 7200.0), ("0s", 0.0)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0B", 0), ("512B", 512), ("64KiB", 65536), ("128MiB", 134217728), ("1GiB", 1 << 30), ("1.5KiB", 1536)],
)
def test_a_size_is_a_number_and_a_unit(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["5 sec", "5 s", " 5s", "5s\n", "-5s", "+5s", "5S", "5sec", "s", "", ".5s", "5.s", "\u0665s"]
)
def test_another_way_to_write_a_duration_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(BadValue, match="the units are ms, s, m and h"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["128MB", "1k", "64 KiB", "1mib", "1e3B", "9" * 50 + "B"])
def test_another_way_to_write_a_size_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(BadValue, match="the units are B, KiB, MiB and GiB"):
        parse_size(text)


@pytest.mark.parametrize("value", [5, 0.5, "5"])
def test_a_number_without_a_unit_is_refused_with_a_way_to_write_it(value: object) -> None:
    with pytest.raises(BadValue, match=f'it has no unit. Write it as a number and a unit, such as "{value}s"'):
        parse_duration(value)


def test_nothing_without_a_unit_is_not_answered_with_what_no_setting_takes() -> None:
    with pytest.raises(BadValue, match='such as "5MiB"'):
        parse_size("0")
    with pytest.raises(BadValue, match='such as "5s"'):
        parse_duration(0)


def test_half_a_byte_is_no_size() -> None:
    with pytest.raises(BadValue, match="not a whole number of bytes"):
        parse_size("0.3B")


def test_a_bad_value_is_a_users_error_and_a_value_error() -> None:
    assert issubclass(BadValue, InputError)
    assert issubclass(BadValue, ValueError)
    assert BadValue.exit_code == 2


@given(st.integers(min_value=0, max_value=10**9))
def test_what_format_size_writes_parse_size_reads(size_bytes: int) -> None:
    assert parse_size(format_size(size_bytes)) == size_bytes


@given(st.integers(min_value=0, max_value=10**9))
def test_what_format_duration_writes_parse_duration_reads(duration_ms: int) -> None:
    assert parse_duration(format_duration(duration_ms / 1000)) == duration_ms / 1000


def test_a_number_is_written_in_its_largest_whole_unit() -> None:
    assert [format_duration(s) for s in (0.2, 0.0005, 90.0, 120.0, 3600.0)] == ["200ms", "0.5ms", "90s", "2m", "1h"]
    assert [format_size(b) for b in (0, 1000, 1024, 128 << 20)] == ["0B", "1000B", "1KiB", "128MiB"]


def test_both_ends_of_a_range_are_in_it_and_what_lies_beyond_is_not() -> None:
    assert Duration("10ms", "1h").parse("10ms") == 0.01
    assert Duration("10ms", "1h").parse("60m") == 3600
    assert Size("1MiB", "4GiB").parse("4GiB") == 4 << 30
    assert Whole(1, 100).parse(100) == 100
    for check, value in ((Duration("10ms", "1h"), "9ms"), (Size("1MiB", "4GiB"), "5GiB"), (Whole(1, 100), 0)):
        with pytest.raises(BadValue, match=r"out of range\. Use "):
            check.parse(value)


@pytest.mark.parametrize("value", [True, "5", 5.0, None])
def test_only_an_integer_is_a_whole_number(value: object) -> None:
    with pytest.raises(BadValue, match="no whole number"):
        Whole(1, 100).parse(value)


@pytest.mark.parametrize("value", ["", "a b", "a.b", "é", "a" * 65, "a\n", 3])
def test_a_name_is_letters_digits_dashes_and_underscores(value: object) -> None:
    assert Name().parse("a-B_9") == "a-B_9"
    with pytest.raises(BadValue, match="no name"):
        Name().parse(value)
