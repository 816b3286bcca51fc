"""One guest for each kind of failure: the texts are wasmtime's, and may change with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.invocation import FailureKind
from tests.guests import wat
from tests.workers.farmhand import guest, guest_of


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("trap", "trap", "wasm `unreachable` instruction executed in guest-m!handle"),
        ("bounds", "trap", "out of bounds memory access in guest-m!handle"),
        ("recurse", "trap", "call stack exhausted (endless recursion?)"),
        ("exit", "trap", "the guest called exit(1)"),
        ("start-trap", "trap", "wasm `unreachable` instruction executed in guest-m!never"),
        ("bad-pointer", "trap", "an answer that lies outside the guest's memory"),
        ("grow", "memory", "the memory limit of 128MiB was reached"),
        ("start-large", "memory", "the component starts with more memory than its limit"),
        ("start-table", "memory", "the component starts with larger tables than the limit"),
        ("bad-text", "output", "a text that is not UTF-8"),
    ],
)
def test_a_guest_that_breaks_off_is_told_by_kind_and_the_next_call_finds_the_worker_alive(
    name: str, kind: FailureKind, text: str, tmp_path: Path
) -> None:
    with guest(name, tmp_path) as hostile:
        for _ in range(2):
            failure = hostile.fails(b"trap")
            assert (failure.kind, failure.text) == (kind, text)


@pytest.mark.parametrize(
    ("module", "count", "text"),
    [
        ("(memory 1)", 5, "memory count too high at 5"),
        ("(table 1 funcref)", 65, "table count too high at 65"),
        ("", 257, "instance count too high at 257"),
    ],
)
def test_a_component_of_too_many_parts_fails_its_calls(module: str, count: int, text: str, tmp_path: Path) -> None:
    parts = f"(core module $part {module})" + count * "(core instance (instantiate $part))"
    wasm = tmp_path / "parts.wasm"
    wasm.write_bytes(wat.from_text(wat.text("echo").replace("(core module $guest-m", parts + "(core module $guest-m")))
    with guest_of(wasm, tmp_path) as hostile:
        failure = hostile.fails()
        assert (failure.kind, failure.text) == ("memory", text)


def test_more_headers_than_are_read_fail_the_call(tmp_path: Path) -> None:
    headers = tuple((f"x-{i}", "") for i in range(257))
    with guest("echo", tmp_path) as echo:
        assert echo.fails(headers=headers).text == "257 headers exceed the limit of 256"
        assert len(echo.answers(headers=headers[:256])[0].headers) == 256


@pytest.mark.parametrize("name", ["spin", "start-spin"])
def test_a_guest_that_never_ends_is_stopped_at_its_deadline(name: str, tmp_path: Path) -> None:
    with guest(name, tmp_path, deadline_s=0.1) as hostile:
        for _ in range(2):
            failure = hostile.fails()
            assert (failure.kind, failure.text) == ("timeout", "the deadline of 100ms passed")


def test_each_call_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    with guest("slow", tmp_path, deadline_s=1.5) as slow:
        for _ in range(9):
            slow.answers(b"200")


def test_a_guest_asleep_in_wasi_answers_when_it_wakes(tmp_path: Path) -> None:
    with guest("sleep", tmp_path) as sleep:
        assert sleep.answers(b"20 ms")[0].payload == b"20 ms"
