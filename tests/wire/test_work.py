"""The work link's frames."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import WireError
from farm.invocation import Failed, Finished, Invoke, Output
from farm.wire import work
from farm.wire.frames import LARGE_BYTES

PAYLOADS = st.sampled_from([b"", b"x", b"y" * LARGE_BYTES, b"z" * (LARGE_BYTES + 1), b"w" * 3 * LARGE_BYTES])


def invoke(seq: int, payload: bytes) -> Invoke:
    return Invoke(seq, seq, 1, "hello", "test", f"id-{seq}", "a.b", payload, (("x-a", "b"),), "re")


@given(st.lists(PAYLOADS, min_size=1, max_size=6))
def test_a_batch_arrives_as_it_was_sent_whatever_the_sizes(payloads: list[bytes]) -> None:
    batch = [invoke(i, payload) for i, payload in enumerate(payloads)]
    word = work.from_ingest(work.invokes(7, list(batch)))
    assert (word.boot, word.invokes) == (7, batch)


@given(st.lists(st.lists(PAYLOADS, max_size=3), min_size=1, max_size=4))
def test_results_arrive_as_they_were_sent_whatever_the_sizes(calls: list[list[bytes]]) -> None:
    batch = [Finished(i, 1, 5, [Output(p, "s", None, (("x-a", "b"),)) for p in call]) for i, call in enumerate(calls)]
    batch.append(Finished(99, 2, 5, [], Failed("guest_error", "ValueError: bad", "trace", None)))
    word = work.from_worker(work.results(7, list(batch), [(3, 4)]))
    assert isinstance(word, work.Results)
    assert (word.boot, word.finished, word.returned) == (7, batch, [(3, 4)])


def test_small_bodies_ride_in_one_frame_and_large_ones_beside_it() -> None:
    assert len(work.invokes(1, [invoke(1, b"x" * LARGE_BYTES)] * 10)) == 1
    assert len(work.invokes(1, [invoke(1, b"x" * (LARGE_BYTES + 1))] * 10)) == 11


def test_a_join_is_no_result() -> None:
    assert work.from_worker(work.join(9)) == work.Join(9)


@pytest.mark.parametrize(
    "message",
    [
        [],
        [b""],
        [b"\xc1"],
        [b"hello"],
        [msgspec.msgpack.encode(["results", 1])],
        [msgspec.msgpack.encode(["results", 1, [], [[0, 0]]]), b"body"],
        [msgspec.msgpack.encode(["results", 1, [], []]), b"a body too many"],
        [msgspec.msgpack.encode(["results", 1, [[1, 1, 5, [[b""]]]], [[0, -1]]]), b"body"],
    ],
)
def test_what_does_not_parse_is_the_senders_fault(message: list[bytes]) -> None:
    with pytest.raises(WireError):
        work.from_worker(message)


def test_text_that_is_no_utf_8_is_the_senders_fault() -> None:
    (frame,) = work.invokes(1, [invoke(1, b"x")])
    with pytest.raises(WireError):
        work.from_ingest([frame.replace(b"hello", b"\xffello")])


@given(st.lists(st.binary(max_size=64), max_size=3))
def test_random_frames_end_in_a_word_or_in_a_wire_error(message: list[bytes]) -> None:
    for parse in (work.from_worker, work.from_ingest):
        try:
            parse(message)
        except WireError:
            continue
