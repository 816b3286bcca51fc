"""Our two packets against paho's own reader and writer of them, which are slow and right."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from farm.brokers.mqtt_packets import (
    PUBACK,
    PUBLISH,
    Frames,
    Malformed,
    kind_of,
    puback,
    publish,
    read_large_publish,
    read_puback,
    read_publish,
    write_extras,
)

LIMIT_BYTES = 1 << 20
TEXT = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=40)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=5)
V5, V3 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311


def cut_one(packet: bytes) -> tuple[int, bytes]:
    [(first, body, whole)] = Frames(LIMIT_BYTES).cut(packet)
    assert whole == packet
    return first, body


@given(TEXT, st.binary(max_size=300), st.integers(0, 0xFFFF), PAIRS, st.binary(max_size=20))
def test_paho_reads_what_we_write(
    topic: str, payload: bytes, mid: int, pairs: list[tuple[str, str]], data: bytes
) -> None:
    extras = write_extras(pairs, "x/y", b"an/swer", data)
    first, body = cut_one(publish(topic.encode(), payload, mid, extras, retain=True))
    found = _packet.decode_publish(first, body, V5)
    assert (found.topic.decode(), bytes(found.payload), found.mid) == (topic, payload, mid)
    assert (found.qos, found.retain, found.dup) == (1 if mid else 0, True, False)
    said = vars(found.properties)
    assert said.get("UserProperty", []) == pairs
    assert (said["ContentType"], said["ResponseTopic"], said.get("CorrelationData", b"")) == ("x/y", "an/swer", data)


@given(TEXT, st.binary(max_size=300), st.integers(1, 0xFFFF), PAIRS, st.lists(st.integers(1, 268_435_455), max_size=3))
def test_we_read_what_paho_writes(
    topic: str, payload: bytes, mid: int, pairs: list[tuple[str, str]], identifiers: list[int]
) -> None:
    properties = Properties(PacketTypes.PUBLISH)
    for pair in pairs:
        properties.UserProperty = pair
    for identifier in identifiers:
        properties.SubscriptionIdentifier = identifier
    properties.PayloadFormatIndicator = 1
    properties.MessageExpiryInterval = 7
    properties.CorrelationData = b"data"
    raw = topic.encode()
    body = struct.pack(">H", len(raw)) + raw + struct.pack(">H", mid) + properties.pack() + payload
    found = read_publish(PUBLISH | 0x0A, body, five=True)
    assert (found.topic, found.payload, found.mid, found.dup, found.retain) == (topic, payload, mid, True, False)
    assert (found.extras.pairs, found.extras.identifiers) == (pairs, identifiers)
    assert found.extras.correlation == b"data"


@given(TEXT, st.binary(max_size=300), st.integers(0, 0xFFFF))
def test_a_publish_of_3_1_1_has_no_properties(topic: str, payload: bytes, mid: int) -> None:
    first, body = cut_one(publish(topic.encode(), payload, mid, None))
    found = read_publish(first, body, five=False)
    assert (found.topic, found.payload, found.mid) == (topic, payload, mid)
    assert bytes(_packet.decode_publish(first, body, V3).payload) == payload if topic else True


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 300_000])
def test_packets_are_whole_however_they_come(size: int) -> None:
    packets = [publish(b"a/b", bytes(size), 7, b""), puback(9), publish(b"c", b"x", 0, b"")]
    stream = b"".join(packets)
    for step in (1, 3, 4096, len(stream)) if size < 1000 else (4096, len(stream)):
        frames = Frames(LIMIT_BYTES)
        found = [each for start in range(0, len(stream), step) for each in frames.cut(stream[start : start + step])]
        assert [whole for _, _, whole in found] == packets
        assert [kind_of(first) for first, _, _ in found] == [PUBLISH, PUBACK, PUBLISH]


@pytest.mark.parametrize("step", [1000, 65_536, 1 << 22])
def test_of_a_packet_above_the_limit_there_is_its_number_and_the_next_is_whole(step: int) -> None:
    large, small = publish(b"a/b", bytes(300_000), 7, None), publish(b"c", b"x", 8, None)
    frames, stream = Frames(200_000), small + large + small
    found = [each for start in range(0, len(stream), step) for each in frames.cut(stream[start : start + step])]
    assert [whole for _, _, whole in found] == [small, b"", small]
    arrival = read_large_publish(found[1][0], found[1][1])
    assert (arrival.topic, arrival.mid, arrival.payload, arrival.is_large) == ("a/b", 7, b"", True)


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80"])
def test_a_length_of_more_than_four_bytes_is_refused(length: bytes) -> None:
    with pytest.raises(Malformed):
        Frames(LIMIT_BYTES).cut(bytes((PUBLISH,)) + length)


@given(st.binary(max_size=20))
def test_properties_of_any_bytes_come_to_an_end(rest: bytes) -> None:
    with suppress(Malformed):
        read_publish(PUBLISH, b"\x00\x00" + bytes((len(rest),)) + rest, five=True)
    with suppress(Malformed):
        read_puback(b"\x00\x01\x80" + bytes((len(rest),)) + rest)


@given(st.binary(max_size=60), st.booleans())
def test_nothing_but_malformed_is_raised_for_any_bytes(body: bytes, five: bool) -> None:
    for first in (PUBLISH, PUBLISH | 2):
        with suppress(Malformed):
            read_publish(first, body, five=five)
    with suppress(Malformed):
        read_puback(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\x00\x05ab",
        b"\x00\x01a",
        b"\x00\x01a\x00\x01\x05\x26\x00",
        b"\x00\x01a\x00\x01\x01\x63",
        b"\x00\x01a\x00\x01\x7f",
        b"\x00\x01a\x00\x01\x80",
        b"\x00\x01a\x00\x01\x02\x0b\x80",
    ],
)
def test_a_publish_that_ends_early_or_makes_no_sense_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_publish(PUBLISH | 2, body, five=True)


def test_a_puback_says_why() -> None:
    properties = Properties(PacketTypes.PUBACK)
    properties.UserProperty = ("k", "v")
    properties.ReasonString = "because"
    found = read_puback(b"\x00\x09\x87" + properties.pack())
    assert (found.mid, found.reason, found.text) == (9, 0x87, "because")
    assert (read_puback(b"\x00\x09").reason, read_puback(b"\x00\x09\x10").reason) == (0, 0x10)


def test_what_no_server_takes_in_a_text_is_replaced() -> None:
    extras = write_extras([("x-k", "a\x00b\nc\ud800d\ufffee\U0001ffff")])
    first, body = cut_one(publish(b"a", b"", 0, extras))
    [(_, value)] = read_publish(first, body, five=True).extras.pairs
    assert value == "a\ufffdb\ufffdc\ufffdd\ufffde\ufffd"


def test_a_text_that_is_too_long_is_cut_between_characters() -> None:
    extras = write_extras([("x-k", "ü" * 40_000)])
    first, body = cut_one(publish(b"a", b"", 0, extras))
    assert read_publish(first, body, five=True).extras.pairs == [("x-k", "ü" * 32_767)]
