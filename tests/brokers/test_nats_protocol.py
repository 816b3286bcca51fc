from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.brokers.nats_protocol import (
    LINE_LIMIT_BYTES,
    Malformed,
    Parser,
    Raw,
    decode_headers,
    encode_headers,
    encode_publish,
    encode_subscribe,
    encode_unsubscribe,
    status_of,
)

Heard = list[tuple[bytes, list[Raw]] | bytes]


def heard(*chunks: bytes) -> Heard:
    found: Heard = []
    parser = Parser(lambda sid, raws: found.append((sid, raws)), found.append)
    for chunk in chunks:
        parser.feed(chunk)
    return found


def flat(found: Heard) -> list[tuple[bytes, Raw] | bytes]:
    return [one for each in found for one in ([each] if isinstance(each, bytes) else [(each[0], r) for r in each[1]])]


STREAM = (
    b'INFO {"a":1}\r\n'
    b"MSG a.b 1 5\r\nhello\r\n"
    b"MSG a.b 12 _INBOX.x 0\r\n\r\n"
    b"PING\r\n"
    b"HMSG a.c 1 21 25\r\nNATS/1.0\r\nname: v\r\n\r\n\r\nab\r\n"
    b"HMSG a.d 1 re.ply 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
    b"-ERR 'no'\r\n"
    b"+OK\r\n"
)
WHOLE: list[tuple[bytes, Raw] | bytes] = [
    b'INFO {"a":1}',
    (b"1", (b"a.b", b"", b"", b"hello")),
    (b"12", (b"a.b", b"_INBOX.x", b"", b"")),
    b"PING",
    (b"1", (b"a.c", b"", b"NATS/1.0\r\nname: v\r\n\r\n", b"\r\nab")),
    (b"1", (b"a.d", b"re.ply", b"NATS/1.0 503\r\n\r\n", b"")),
    b"-ERR 'no'",
    b"+OK",
]


def test_what_a_server_says_is_understood() -> None:
    assert flat(heard(STREAM)) == WHOLE


def test_where_the_chunks_end_makes_no_difference() -> None:
    for place in range(len(STREAM) + 1):
        assert flat(heard(STREAM[:place], STREAM[place:])) == WHOLE, place
    assert flat(heard(*(STREAM[place : place + 1] for place in range(len(STREAM))))) == WHOLE


def test_what_one_chunk_has_for_a_subscription_comes_in_one_call() -> None:
    found = heard(b"MSG a 7 1\r\nx\r\nMSG b 8 1\r\ny\r\nMSG c 7 1\r\nz\r\n")
    of_seven: list[Raw] = [(b"a", b"", b"", b"x"), (b"c", b"", b"", b"z")]
    assert found == [(b"7", of_seven), (b"8", [(b"b", b"", b"", b"y")])]


def test_messages_before_a_pong_come_before_it() -> None:
    found = heard(b"MSG a 7 1\r\nx\r\nPONG\r\nMSG a 7 1\r\ny\r\n")
    assert found == [(b"7", [(b"a", b"", b"", b"x")]), b"PONG", (b"7", [(b"a", b"", b"", b"y")])]


def test_a_payload_may_be_anything_and_of_any_size() -> None:
    payload = Random(1).randbytes(300_000) + b"\r\nMSG a 1 1\r\nx\r\n"
    data = b"MSG a 1 %d\r\n%s\r\nPONG\r\n" % (len(payload), payload)
    found = heard(*(data[place : place + 1000] for place in range(0, len(data), 1000)))
    assert found == [(b"1", [(b"a", b"", b"", payload)]), b"PONG"]


@pytest.mark.parametrize(
    "data",
    [b"MSG a\r\n", b"MSG a 1 x\r\n", b"HMSG a 1 x 5\r\n", b"MSG\r\n", b"HMSG\r\n", b"x" * (LINE_LIMIT_BYTES + 1)],
)
def test_what_is_none_of_the_protocol_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        heard(data)


def test_what_is_said_to_a_server_is_as_it_wants_it() -> None:
    assert encode_subscribe(3, "a.*") == b"SUB a.* 3\r\n"
    assert encode_subscribe(3, "a.*", "q") == b"SUB a.* q 3\r\n"
    assert encode_unsubscribe(3) == b"UNSUB 3\r\n"
    assert b"".join(encode_publish("a", b"xyz")) == b"PUB a 3\r\nxyz\r\n"
    assert b"".join(encode_publish("a", b"", "re.ply")) == b"PUB a re.ply 0\r\n\r\n"
    head = encode_headers([("n", "v")])
    assert b"".join(encode_publish("a", b"xy", "r", head)) == b"HPUB a r 18 20\r\nNATS/1.0\r\nn: v\r\n\r\nxy\r\n"


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=20)), max_size=6))
def test_no_header_becomes_two_or_an_end(pairs: Sequence[tuple[str, str]]) -> None:
    block = encode_headers(pairs)
    assert block.startswith(b"NATS/1.0\r\n")
    assert block.endswith(b"\r\n\r\n")
    assert block.find(b"\r\n\r\n") == len(block) - 4
    assert len(decode_headers(block)) <= len(pairs)


def test_headers_come_back_as_they_were() -> None:
    pairs = [("farm-id", "an id"), ("x-k", "v ü"), ("x-k", "a second: one"), ("empty", "")]
    assert decode_headers(encode_headers(pairs)) == pairs


def test_a_value_with_a_line_break_stays_one_header() -> None:
    block = encode_headers([("x-a", "1\r\nNats-Rollup: all"), ("bad\r\nname", "2"), ("x-b", "3")])
    assert decode_headers(block) == [("x-a", "1 Nats-Rollup: all"), ("x-b", "3")]


def test_headers_of_others_are_read_however_they_are_written() -> None:
    assert decode_headers(b"NATS/1.0 100 Idle\r\nA:1\r\nB:  2 \r\nnone\r\n: x\r\nC: \xff\r\n\r\n") == [
        ("A", "1"),
        ("B", "2"),
        ("C", "\ufffd"),
    ]
    assert decode_headers(b"") == []


def test_a_status_is_told_from_headers() -> None:
    assert status_of(b"NATS/1.0 503\r\n\r\n") == (503, "")
    assert status_of(b"NATS/1.0 100 Idle Heartbeat\r\na: b\r\n\r\n") == (100, "Idle Heartbeat")
    assert status_of(b"NATS/1.0\r\na: b\r\n\r\n") == (0, "")
    assert status_of(b"") == (0, "")
