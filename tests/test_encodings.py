from __future__ import annotations

import pytest

from farm.encodings import SHAPES, Format

MESSAGE = (b"A\x00\xff", "hello.w\u00f6rld", "test", None)
WITH_REPLY = (b"", "a", "b", "reply.to")


@pytest.mark.parametrize(
    ("form", "given", "data"),
    [
        ("text", (b"Ada", "a", "b", None), b"Ada"),
        ("text", ("grüß".encode(), "a", "b", None), "grüß".encode()),
        ("text", (b"", "a", "b", None), b""),
        ("text", (b"\xff", "a", "b", None), None),
        ("text", (b"\xed\xa0\x80", "a", "b", None), None),
        ("binary", MESSAGE, b"A\x00\xff"),
        (
            "json",
            MESSAGE,
            '{"message":[65,0,255],"subject":"hello.wörld","broker":"test","response_subject":null}'.encode(),
        ),
        ("json", WITH_REPLY, b'{"message":[],"subject":"a","broker":"b","response_subject":"reply.to"}'),
        ("messagepack", MESSAGE, b"\x94\x93\x41\x00\xcc\xff\xachello.w\xc3\xb6rld\xa4test\xc0"),
        ("messagepack", WITH_REPLY, b"\x94\x90\xa1a\xa1b\xa8reply.to"),
    ],
)
def test_each_shape_is_exact_to_the_byte(
    form: Format, given: tuple[bytes, str, str, str | None], data: bytes | None
) -> None:
    assert SHAPES[form].encode(*given) == data


def test_text_and_json_are_text_frames_and_the_others_binary() -> None:
    assert {form for form, shape in SHAPES.items() if shape.is_text} == {"text", "json"}
