"""py-spy's lines become functions that a person can read."""

from __future__ import annotations

import pytest

from tests.bench.profile_flame import flame
from tests.bench.profile_stacks import GUEST, by_code, demangled, stacks, top, working

ABOVE = "main (farm/control/cli/main.py:133);fork (farm/control/child.py:55);_run (farm/control/child.py:99)"


def names(line: str) -> list[str]:
    return [frame.name for stack in stacks([line]) for frame in stack.frames]


def test_what_the_supervisor_did_before_the_fork_is_cut() -> None:
    assert names(f"{ABOVE};main (farm/workers/process.py:36);Loop.run (farm/workers/loop.py:243) 3") == [
        "main",
        "Loop.run",
    ]


def test_another_thread_is_left_out() -> None:
    assert stacks(["Thread.run (threading.py:982);Ticker._run (farm/workers/loop.py:168) 429"]) == []


def test_what_lies_between_two_python_functions_is_left_out_and_what_lies_below_the_last_is_kept() -> None:
    line = "run (a.py:1);uv_run (core.c:464);_turn (b.py:2);call (callproc.c:7);write (libc.so.6) 1"
    assert names(line) == ["run", "_turn", "call", "write"]


def test_code_without_a_symbol_is_named_by_its_library_once() -> None:
    line = "send (zmq/socket.py:1);0x7f01 (zmq/_zmq.so);0x7f02 (zmq/_zmq.so);write (libc.so.6);0x7f03 (libc.so.6) 1"
    assert names(line) == ["send", "[_zmq.so]", "write"]


def test_code_of_no_library_is_the_guest() -> None:
    assert names("call (farm/workers/codec.py:54);0x7f01 (?);0x7f02 (?) 1") == ["call", GUEST]


def test_a_wait_is_not_work_and_a_look_is() -> None:
    found = stacks(
        [
            "run (a.py:1);uv_run (core.c:1);epoll_pwait (libc.so.6) 5",
            "wait (a.py:2);select_poll_poll (selectmodule.c:9);poll (libc.so.6) 6",
            "send (a.py:3);zmq_send (libzmq.so);poll (libc.so.6) 7",
        ]
    )
    assert [stack.count for stack in working(found)] == [7]


def test_a_function_has_its_own_time_that_of_the_native_code_it_called_and_all() -> None:
    found = stacks(["f (a.py:1) 1", "f (a.py:2) 2", "f (a.py:2);memcpy (libc.so.6) 3", "f (a.py:3);g (b.py:9) 4"])
    rows = {row.name: row for row in top(found, 25)}
    assert rows["f"].place == "a.py:2"  # where it was seen most
    assert (rows["f"].own, rows["f"].native, rows["f"].total) == pytest.approx((0.3, 0.6, 1.0))
    assert (rows["g"].own, rows["memcpy"].own) == pytest.approx((0.4, 0.3))


def test_a_function_that_calls_itself_is_counted_once_in_all() -> None:
    (row,) = top(stacks(["f (a.py:1);f (a.py:1) 2"]), 25)
    assert row.total == 1.0


def test_time_is_counted_by_whose_code_it_was() -> None:
    found = stacks(
        [
            "run (farm/workers/loop.py:1) 4",
            "run (farm/workers/loop.py:1);0x01 (?) 3",
            "run (farm/workers/loop.py:1);zmq_send (libzmq-2f02442c.so.5) 2",
            "run (farm/workers/loop.py:1);call (callproc.c:1) 1",
        ]
    )
    assert by_code(found) == [("farm", 0.4), ("guest", 0.3), ("zmq", 0.2), ("C of Python", 0.1)]


@pytest.mark.parametrize(
    ("mangled", "short"),
    [
        (
            "_RNvMse_NtNtNtCsj7FSLG1y9E8_8wasmtime7runtime9component10concurrentNtNtB9_5store11StoreOpaque14cleanup_thread",
            "wasmtime..StoreOpaque::cleanup_thread",
        ),
        (
            "_RINvMNtNtNtCsj7FSLG1y9E8_8wasmtime7runtime9component6valuesNtB3_3Val5lowerNtNtCscz6eGwQ6Gn0_14wasmtime_c_api"
            "5store17WasmtimeStoreDataEB1e_",
            "wasmtime..Val::lower<WasmtimeStoreData>",
        ),
        (
            "_RINvNtCsevLNFiNqfJP_4core3ptr9drop_glueNtNtNtNtCsj7FSLG1y9E8_8wasmtime7runtime9component6values3ValEBJ_.35532",
            "core::ptr::drop_glue<Val>",
        ),
        ("_RNvNtNtCsevLNFiNqfJP_4core3str8converts9from_utf8", "core..converts::from_utf8"),
        ("_PyEval_EvalFrameDefault", "_PyEval_EvalFrameDefault"),
    ],
)
def test_a_rust_symbol_is_shortened(mangled: str, short: str) -> None:
    assert demangled(mangled) == short


def test_the_picture_names_each_function_and_its_share_and_what_it_names_cannot_break_it() -> None:
    picture = flame("a < b", stacks(["f (a.py:1);<listcomp> (a.py:2) 3", "f (a.py:1) 1"]))
    assert "<title>&lt;listcomp&gt; (a.py): 3 samples, 75.0 %</title>" in picture
    assert "a &lt; b" in picture
    assert 'width="900.000"' in picture
