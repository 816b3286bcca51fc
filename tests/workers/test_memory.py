"""The codec gives back what it was given: the allocator's own figures over many calls, against a control that leaks."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from farm.workers import native
from tests.workers.farmhand import Guest, guest

CALLS: Final = 1_000_000
LEAK_BYTES_PER_CALL: Final = 0.5  # a leak of the smallest block in every 32nd call would show


class Mallinfo2(ctypes.Structure):
    """struct mallinfo2 of mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def allocated_bytes() -> int:
    """What the allocator has given out and not got back."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2
    found = mallinfo2()
    return found.uordblks + found.hblkhd


def growth_per_call(call: Callable[[], object], calls: int = CALLS) -> float:
    """Bytes that each call leaves behind, of the allocator's and of Python's own (its blocks are at least 16 bytes)."""
    for _ in range(1000):
        call()
    gc.collect()
    before_bytes, before_blocks = allocated_bytes(), sys.getallocatedblocks()
    for _ in range(calls):
        call()
    gc.collect()
    grown_bytes = allocated_bytes() - before_bytes
    grown_blocks = sys.getallocatedblocks() - before_blocks
    return (grown_bytes + 16 * grown_blocks) / calls


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: results are never given back."""
    monkeypatch.setattr(native, "delete", lambda _value: None)


def everything(echo: Guest) -> Callable[[], object]:
    """A call that goes through text, headers, an option, a variant and lists, both ways."""
    headers = (("x-a", "1"), ("x-b", "two"))
    return lambda: echo.answers(b"hello, world", headers=headers, reply_to="r.1")


@pytest.mark.parametrize("form", ["text", "binary"])
def test_calls_leave_nothing_behind(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.workers.instances.CALLS_LIMIT", 1 << 30)
    with guest("echo", tmp_path, payload=form) as echo:
        assert growth_per_call(everything(echo)) < LEAK_BYTES_PER_CALL


def test_host_functions_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.workers.instances.CALLS_LIMIT", 1 << 30)
    with guest("publish", tmp_path) as publish:
        assert growth_per_call(lambda: publish.answers(b"held and answered")) < LEAK_BYTES_PER_CALL


def test_failed_calls_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.workers.instances.CALLS_LIMIT", 1 << 30)
    with guest("fail", tmp_path) as fail:
        assert growth_per_call(lambda: fail.fails(b"error"), calls=20_000) < LEAK_BYTES_PER_CALL


def test_what_a_thousand_instances_took_comes_back(tmp_path: Path) -> None:
    with guest("count", tmp_path, instances="fresh") as count:
        assert growth_per_call(count.answers, calls=2000) < 64


@pytest.mark.usefixtures("forgetful")
def test_a_codec_that_gives_nothing_back_is_noticed(tmp_path: Path) -> None:
    with guest("echo", tmp_path) as echo:
        assert growth_per_call(everything(echo), calls=2000) > 100
