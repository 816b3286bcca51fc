"""The checker of the bars catches each fault it is there for: one that never failed proves nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.bench.ledger import Ledger, uneven

COUNT = 50


def good() -> Ledger:
    """A run in which everything was handled exactly once, and out of order."""
    ledger = Ledger()
    for n in range(COUNT):
        ledger.accept(f"m{n}", b"%d" % n)
    for n in reversed(range(COUNT)):
        ledger.run(f"m{n}")
        ledger.see(f"m{n}:echo:0:again:0", b"%d" % n)
    return ledger


def test_a_run_in_which_all_was_handled_once_has_no_fault() -> None:
    assert good().faults() == []


def test_a_message_that_is_missing_is_caught() -> None:
    ledger = good()
    ledger.accept("lost", b"x")
    assert ledger.faults() == ["1 accepted and never handled: lost"]


def test_a_message_that_is_handled_twice_is_caught() -> None:
    ledger = good()
    ledger.see("m7:echo:0:again:0", b"7")
    assert ledger.faults() == ["1 handled twice: m7"]


def test_one_missing_and_one_twice_do_not_make_up_for_each_other() -> None:
    ledger = good()
    ledger.accept("lost", b"x")
    ledger.see("m7:echo:0:again:0", b"7")
    assert ledger.seen_count == ledger.accepted_count
    assert ledger.faults() == ["1 accepted and never handled: lost", "1 handled twice: m7"]


def _stranger(ledger: Ledger) -> None:
    ledger.run("refused")
    ledger.see("refused:echo:0", b"x")


def _exchanged(ledger: Ledger) -> None:
    ledger.accept("m50", b"50")
    ledger.run("m50")
    ledger.see("m50:echo:0", b"51")


def _too_fast(ledger: Ledger) -> None:
    ledger.missed += 2


FAULTS: dict[str, Callable[[Ledger], None]] = {
    "1 handled and never accepted: refused": _stranger,
    "1 answered with another's payload: m50": _exchanged,
    "1 accepted twice under one id: m3": lambda ledger: ledger.accept("m3", b"3"),
    "1 run twice by a guest: m4": lambda ledger: ledger.run("m4"),
    "2 outputs came too fast for the ledger: this run proves nothing": _too_fast,
}


@pytest.mark.parametrize("told", FAULTS)
def test_other_faults_are_caught(told: str) -> None:
    ledger = good()
    FAULTS[told](ledger)
    assert ledger.faults() == [told]


def test_an_output_of_no_run_is_caught_where_guests_print() -> None:
    ledger = good()
    ledger.accept("m50", b"50")
    ledger.see("m50:echo:0", b"50")
    assert ledger.faults() == ["1 heard of and run by no guest: m50"]


def test_many_faults_are_told_with_a_few_ids() -> None:
    ledger = Ledger()
    for n in range(2000):
        ledger.accept(f"m{n}", b"")
    assert ledger.faults() == ["2,000 accepted and never handled: m0, m1, m2, .."]


def test_a_counter_of_farms_that_does_not_agree_is_named() -> None:
    assert list(uneven({"handled": 3, "failed": 0}, {"handled": 4, "failed": 0})) == [
        "farm counts 3 handled, outside it were 4"
    ]
