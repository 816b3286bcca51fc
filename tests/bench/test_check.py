"""The gate as a program: what it keeps, which sections it measures again, and that it notices a slower codec."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.bench import check, gate, latency, machine
from tests.bench.callee import callee
from tests.bench.codec import body_of, paired
from tests.bench.gate import Kept
from tests.bench.ratios import Ratio, ratio
from tests.bench.report import Effort, Report
from tests.bench.sections import GATED, SECTIONS, unknown

SLOWER_NS = 20_000


def reported(*values: tuple[str, float]) -> Report:
    return Report(ratios=[Ratio(name, value, 0.0, 3, "lower") for name, value in values])


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    kept = {"codec, tiny: codec / raw": Kept(3.1, 0.02, "lower")}
    check.write(tmp_path / "ratios.json", kept, {"cores": 2})
    assert check.read(tmp_path / "ratios.json") == (kept, {"cores": 2})


def test_the_ratios_of_the_repository_name_sections_that_there_are() -> None:
    kept, _ = check.read(check.KEPT)
    assert {check.section_of(name) for name in kept} == set(GATED)


def test_a_section_that_looks_worse_is_measured_again_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    values = {"codec": [9.0, 9.0, 1.0], "link": [1.0]}

    def measure(section: str) -> Any:
        def run(_effort: Effort, _say: object) -> Report:
            measured.append(section)
            return reported((f"{section}: a / b", values[section].pop(0)))

        return run

    for section in values:
        monkeypatch.setitem(SECTIONS, section, measure(section))
    kept = {f"{section}: a / b": Kept(1.0, 0.0, "lower") for section in values}
    monkeypatch.setattr(machine, "wait_for_quiet", lambda _: None)
    looks = check.looks_at(list(values), kept, lambda _: None)
    assert measured == ["codec", "link", "codec", "codec"]
    assert gate.faults(kept, gate.mildest(kept, looks)) == []


def test_what_is_worse_every_time_is_named_after_three_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "wait_for_quiet", lambda _: None)
    monkeypatch.setitem(SECTIONS, "codec", lambda *_: reported(("codec: a / b", 1.5)))
    kept = {"codec: a / b": Kept(1.0, 0.0, "lower")}
    looks = check.looks_at(["codec"], kept, lambda _: None)
    assert len(looks) == check.LOOKS
    assert len(gate.faults(kept, gate.mildest(kept, looks))) == 1


def test_a_codec_that_takes_20_us_longer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with callee("tiny") as guest:
        calls = guest.calls(body_of(100, "text"))
        before = _codec_ratio(calls)
        kept = {before.name: Kept(before.value, before.noise, before.better)}
        plain = guest.codec.call

        def slow(*arguments: Any) -> Any:
            end_ns = time.perf_counter_ns() + SLOWER_NS
            while time.perf_counter_ns() < end_ns:
                pass
            return plain(*arguments)

        monkeypatch.setattr(guest.codec, "call", slow)
        (line,) = gate.faults(kept, {before.name: _codec_ratio(guest.calls(body_of(100, "text")))})
    assert line.startswith("worse: codec, tiny, 100 B text: codec / raw")


def _codec_ratio(calls: dict[str, Any]) -> Ratio:
    rounds = paired({way: calls[way] for way in ("raw", "codec")}, 0.1)
    return ratio("codec, tiny, 100 B text: codec / raw", "lower", rounds["codec"], rounds["raw"])


def test_an_unknown_section_is_told_with_those_there_are() -> None:
    assert unknown(["codec", "path"]) == ""
    assert unknown(["codex"]) == f"no such section: codex. There are {', '.join(SECTIONS)}"


def test_another_machine_is_told_by_what_differs_and_its_load_is_not() -> None:
    assert machine.differences({"cores": 8, "load_before": 3.0}, {"cores": 2, "load_before": 0.1}) == [
        "cores 8, here 2"
    ]


def test_what_others_take_is_what_is_busy_less_what_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, own, clock = iter([10.0, 13.0]), iter([1.0, 2.0]), iter([100.0, 102.0])
    monkeypatch.setattr(machine, "_busy_s", lambda: next(busy))
    monkeypatch.setattr(machine, "_own_s", lambda _: next(own))
    monkeypatch.setattr(machine.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    assert machine.Others().share() == 2 / 8


def test_measuring_ends_with_as_many_quiet_rounds_as_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([0.5, 0.0, 0.3, 0.05, 0.0])
    monkeypatch.setattr(machine.Others, "share", lambda _: next(shares))
    assert machine.quiet_rounds(lambda number: number, wanted=2, limit=5) == ([1, 3], 0.05)


def test_of_rounds_that_were_all_disturbed_the_quietest_count(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([0.5, 0.2, 0.9, 0.3])
    monkeypatch.setattr(machine.Others, "share", lambda _: next(shares))
    assert machine.quiet_rounds(lambda number: number, wanted=2, limit=4) == ([1, 3], 0.3)


def test_an_open_loop_sends_at_times_drawn_beforehand() -> None:
    times = latency.drawn(1000.0, 10.0)
    assert times == sorted(times)
    assert times == latency.drawn(1000.0, 10.0)
    assert 9_000 < len(times) < 11_000
