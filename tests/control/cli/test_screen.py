"""The screen of `farm status`: what stands there, and that it fits."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from farm.control.cli.overview import Overview
from farm.control.cli.screen import Moment, draw, duration, rates, short
from farm.wire.admin import ProcessStatus


def component(**more: Any) -> dict[str, Any]:
    counters = dict.fromkeys(("received", "handled", "failed", "retried", "dead_lettered", "in_flight", "waiting"), 0)
    return {**counters, "last_error": None, "set_aside": None, "paused": None, **more}


def overview(**components: dict[str, Any]) -> Overview:
    processes = [ProcessStatus("ingest", 0, 100, "ready", 0), ProcessStatus("gateway", 0, 101, "ready", 0)]
    processes += [ProcessStatus("worker", index, 102 + index, "ready", 0) for index in range(7)]
    processes.append(ProcessStatus("worker", 7, None, "restarting", 3))
    broker = {"type": "memory", "state": "up", "gateway": "127.0.0.1:3005", "received": 1_234_567, "published": 2}
    return Overview("example", "degraded", 99, 192.0, processes, {"test": broker}, components)


def text(shown: Overview, width: int = 80, speeds: dict[tuple[str, str], float] | None = None) -> str:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(draw(shown, speeds or {}))
    return captured.get()


def test_it_begins_with_name_state_and_uptime() -> None:
    assert text(overview()).startswith("example  degraded  up 3m 12s  pid 99")


def test_what_still_builds_is_not_said_to_be_up() -> None:
    shown = Overview("example", "starting", 99, 0.0, [], None, None)
    assert text(shown).splitlines() == ["example  starting  pid 99", "it builds and compiles its components"]


def test_workers_of_one_state_share_a_line() -> None:
    lines = text(overview()).splitlines()
    assert [line.split()[:3] for line in lines if line.startswith("worker")] == [
        ["worker", "0-6", "ready"],
        ["worker", "7", "restarting"],
    ]


def test_brokers_show_where_they_can_be_reached() -> None:
    assert "127.0.0.1:3005" in text(overview())
    assert "1.23M" in text(overview())


def test_a_broker_that_is_down_says_why() -> None:
    shown = overview()
    assert shown.brokers is not None
    away = {"type": "nats", "state": "down", "gateway": None, "fault": "cannot reach nats://h:4222\x1b: refused"}
    shown = replace(shown, brokers={**shown.brokers, "shop": away})
    assert "shop  down: cannot reach nats://h:4222\\x1b: refused" in text(shown, width=120)


def test_a_counter_of_what_is_wrong_shows_when_there_is_something() -> None:
    assert "dead" not in text(overview(hello=component()))
    assert "dead" in text(overview(hello=component(dead_lettered=1)))


def test_the_last_error_is_said_with_its_message_and_cannot_forge_a_line() -> None:
    error = {
        "kind": "guest_error",
        "text": "ValueError\x1b[2J\nready",
        "message_id": "m-1",
        "at": "2020-01-01T00:00:00Z",
    }
    shown = text(overview(hello=component(last_error=error)), width=120)
    assert "last error, guest_error: ValueError\\x1b[2J\\nready" in shown
    assert "message m-1" in shown


def test_a_component_that_is_set_aside_or_paused_says_so() -> None:
    shown = text(overview(hello=component(set_aside=12.0), other=component(paused="64 dead letters wait")), width=120)
    assert "tried again in 12 s" in shown
    assert "paused: 64 dead letters wait" in shown


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("speeds", [{}, {("broker", "test"): 12_345.6, ("component", "hello"): 3.25}])
def test_no_number_is_cut(width: int, speeds: dict[tuple[str, str], float]) -> None:
    full = component(**dict.fromkeys(component(), 1_234_567) | {"last_error": None, "set_aside": None, "paused": None})
    shown = text(overview(hello=full, **{"a-component-with-a-long-name-of-40-letters": full}), width, speeds)
    assert all(len(line) <= width for line in shown.splitlines())
    assert shown.count("1.23M") == 15
    assert ("12,346" in shown) == bool(speeds)


def test_rates_are_what_came_between_two_looks() -> None:
    before, now = overview(hello=component(handled=10)), overview(hello=component(handled=40))
    assert rates(Moment(before, 5.0), Moment(now, 7.0))["component", "hello"] == 15.0


def test_a_new_life_of_ingest_is_no_negative_rate() -> None:
    before, now = overview(hello=component(handled=10)), overview(hello=component(handled=0))
    assert rates(Moment(before, 5.0), Moment(now, 7.0))["component", "hello"] == 0.0


def test_there_is_no_rate_on_the_first_look() -> None:
    assert rates(None, Moment(overview(), 7.0)) == {}


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0s"), (59.9, "59s"), (192, "3m 12s"), (7500, "2h 5m"), (273_600, "3d 4h")]
)
def test_a_duration_is_short(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (999_999, "999,999"),
        (1_234_567, "1.23M"),
        (123_456_789, "123M"),
        (5 * 10**9, "5.00G"),
        (10**14, "100T"),
    ],
)
def test_a_count_has_seven_characters_at_most(number: int, shown: str) -> None:
    assert short(number) == shown
    assert len(shown) <= 7
