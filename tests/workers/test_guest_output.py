from __future__ import annotations

from pathlib import Path

from farm.workers.guest_output import LIMIT_BYTES, LINE_LIMIT, LINES_LIMIT, GuestOutput
from tests.workers.farmhand import guest

Line = tuple[str, str, str, str]


def printed(*writes: bytes) -> list[Line]:
    """What one call that wrote this on stdout is said to have printed."""
    lines: list[Line] = []
    output = GuestOutput("hello", lambda *line: lines.append(line))
    output.begin("id-1")
    for data in writes:
        output.write("stdout", data)
    output.end()
    return lines


def test_what_a_call_printed_comes_with_component_message_and_stream(tmp_path: Path) -> None:
    with guest("print", tmp_path) as hello:
        hello.answers(b"one\ntwo\n", id="id-7")
        hello.answers(b"three", id="id-8")
        assert hello.printed == [
            ("guest", "id-7", "stdout", "one\ntwo"),
            ("guest", "id-7", "stderr", "one\ntwo"),
            ("guest", "id-8", "stdout", "three"),
            ("guest", "id-8", "stderr", "three"),
        ]


def test_a_guest_that_breaks_off_is_heard_to_the_last(tmp_path: Path) -> None:
    with guest("print", tmp_path) as hello:
        hello.fails(b"the end!")
        assert ("guest", "id-1", "stderr", "the end!") in hello.printed


def test_a_flood_is_cut_and_counted(tmp_path: Path) -> None:
    with guest("print", tmp_path) as hello:
        hello.answers(b"1000" + b"x" * 4000)
        total = sum(len(text) for _, _, _, text in hello.printed)
        assert total < LIMIT_BYTES
        left_out = 1000 * 2 * 4004 - LIMIT_BYTES
        assert hello.printed[0][3].endswith(f"\n({left_out} more bytes on stdout and stderr)")


def test_a_call_that_prints_nothing_says_nothing() -> None:
    assert printed() == []


def test_control_characters_are_escaped_so_that_no_line_is_forged() -> None:
    ((_, _, _, text),) = printed(b"a\x1b[2Jb\rc\x00\xe2\x80\xa8d")
    assert text == "a\\x1b[2Jb\\rc\\x00\\u2028d"


def test_bytes_that_are_no_text_are_shown_as_they_are() -> None:
    assert printed(b"\xff\xfe")[0][3] == "\\xff\\xfe"


def test_a_character_written_in_two_pieces_is_whole() -> None:
    assert printed(b"\xc3", b"\xa4")[0][3] == "ä"


def test_the_number_of_lines_is_bounded() -> None:
    ((_, _, _, text),) = printed(b"x\n" * 1000)
    assert text.split("\n")[LINES_LIMIT:] == [f"({1000 - LINES_LIMIT} more lines)"]


def test_a_line_that_is_too_long_is_cut_and_marked() -> None:
    assert printed(b"x" * 10_000)[0][3] == "x" * LINE_LIMIT + f" ({10_000 - LINE_LIMIT} more characters)"
    assert printed(b"x" * LINE_LIMIT)[0][3] == "x" * LINE_LIMIT


def test_each_message_has_room_of_its_own() -> None:
    lines: list[Line] = []
    output = GuestOutput("hello", lambda *line: lines.append(line))
    for message in ("id-1", "id-2"):
        output.begin(message)
        output.write("stderr", b"x\n" * LIMIT_BYTES)
        output.end()
    assert lines[0][3] == lines[1][3]
    assert [line[1] for line in lines] == ["id-1", "id-2"]
