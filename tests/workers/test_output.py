"""Guests' output on its way to the log."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from farm.workers.output import RATE_BYTES_PER_S, GuestLog


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


def test_each_line_is_a_line_of_the_log_with_component_and_message() -> None:
    with capture_logs() as lines:
        GuestLog(Clock()).write("hello", "id-1", "stdout", "one\n\ntwo\n")
    assert [line["text"] for line in lines] == ["one", "two"]
    assert {(line["component"], line["message_id"], line["stream"]) for line in lines} == {("hello", "id-1", "stdout")}


@pytest.mark.parametrize(
    ("printed", "level", "text"),
    [
        ("<3>shop: bad", "error", "shop: bad"),
        ("<4>shop: hm", "warning", "shop: hm"),
        ("<6>shop: well", "info", "shop: well"),
        ("<7>shop: so", "debug", "shop: so"),
        ("<8>no level", "info", "<8>no level"),
        ("plain", "info", "plain"),
    ],
)
def test_a_level_before_a_line_is_its_level_in_the_log(printed: str, level: str, text: str) -> None:
    with capture_logs() as lines:
        GuestLog(Clock()).write("hello", "id-1", "stderr", printed)
    assert [(line["log_level"], line["text"]) for line in lines] == [(level, text)]


def test_a_component_that_floods_is_left_out_and_counted_and_the_others_are_not() -> None:
    clock = Clock()
    guest_log = GuestLog(clock)
    with capture_logs() as lines:
        guest_log.write("loud", "1", "stdout", "x" * RATE_BYTES_PER_S)
        guest_log.write("loud", "2", "stdout", "y" * 70)
        guest_log.write("calm", "3", "stdout", "z")
        clock.now += 1.0
        guest_log.write("loud", "4", "stdout", "again")
    assert [line.get("message_id") for line in lines] == ["1", "3", None, "4"]
    assert (lines[2]["event"], lines[2]["component"], lines[2]["bytes"]) == ("guest output left out", "loud", 70)
