from __future__ import annotations

import base64
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from farm.errors import NotPermitted
from farm.ingest.dead_letters import PIECE_BYTES, DeadLetters, Letter, LetterFile, letter_of
from farm.ingest.table import Record
from farm.invocation import Failed
from tests.ingest.pieces import STARTED_S as NOW_S
from tests.ingest.pieces import record_of

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


def letter(payload: bytes = b"x", **message: Any) -> Letter:
    return letter_of(record_of(payload=payload, **message), "attempts", Failed("trap", "no", "trace"), AT)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dead-letters.jsonl"


def test_a_letter_says_everything_about_its_message(path: Path) -> None:
    headers = (("x-a", "1"), ("x-a", "2"))
    LetterFile(path).append(letter(b"caf\xc3\xa9", id="m", cause="p", hops=2, headers=headers, reply_to="re"), NOW_S)
    assert lines(path) == [
        {
            "version": 1,
            "at": "2026-01-02T03:04:05.678+00:00",
            "reason": "attempts",
            "attempts": 1,
            "error": {"kind": "trap", "text": "no", "trace": "trace"},
            "component": "c",
            "broker": "in",
            "topic": "t",
            "id": "m",
            "subject": "t",
            "cause": "p",
            "hops": 2,
            "headers": [["x-a", "1"], ["x-a", "2"]],
            "reply_to": "re",
            "encoding": "text",
            "payload": "café",
        }
    ]


def test_a_payload_that_is_no_text_is_kept_byte_for_byte(path: Path) -> None:
    LetterFile(path).append(letter(bytes(range(256))), NOW_S)
    [line] = lines(path)
    assert line["encoding"] == "base64"
    assert base64.b64decode(line["payload"]) == bytes(range(256))


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    path.touch(0o644)
    LetterFile(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_letters_of_a_life_before_stay(path: Path) -> None:
    first = LetterFile(path)
    first.append(letter(id="1"), NOW_S)
    first.close()
    LetterFile(path).append(letter(id="2"), NOW_S)
    assert [line["id"] for line in lines(path)] == ["1", "2"]


@pytest.mark.parametrize("size_bytes", [1, 20, PIECE_BYTES, 9 << 20])
def test_a_line_that_a_crash_left_half_written_is_cut_off(path: Path, size_bytes: int) -> None:
    LetterFile(path).append(letter(id="1"), NOW_S)
    with path.open("ab") as file:
        file.write(b"{".ljust(size_bytes, b"x"))
    LetterFile(path).append(letter(id="2"), NOW_S)
    assert [line["id"] for line in lines(path)] == ["1", "2"]


def test_a_full_part_becomes_the_older_one_and_the_oldest_letters_go(path: Path) -> None:
    LetterFile(path).append(letter(id="00"), NOW_S)
    size = path.stat().st_size
    file = LetterFile(path, part_limit_bytes=size * 3)
    for n in range(1, 8):
        file.append(letter(id=f"{n:02}"), NOW_S)
    older = path.with_name("dead-letters.jsonl.1")
    assert [line["id"] for line in lines(older)] == ["03", "04", "05"]
    assert [line["id"] for line in lines(path)] == ["06", "07"]
    assert file.discarded == 3
    assert stat.S_IMODE(older.stat().st_mode) == stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("failing", [1, 2])
def test_a_turn_over_that_fails_half_way_loses_no_letter_and_is_made_good(
    path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    file = LetterFile(path, part_limit_bytes=1)
    for n in (1, 2):
        file.append(letter(id=str(n)), NOW_S)
    replace, calls = Path.replace, list[Path]()

    def fail_once(source: Path, target: Path) -> Path:
        calls.append(source)
        if len(calls) == failing:
            raise OSError(5, "Input/output error")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", fail_once)
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="Input/output error"):
        file.append(letter(id="3"), NOW_S)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
    assert path.exists()
    file.append(letter(id="3"), NOW_S)
    older = path.with_name("dead-letters.jsonl.1")
    assert [line["id"] for part in (older, path) for line in lines(part)] == ["2", "3"]
    assert file.discarded == 1


def test_a_file_that_is_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotPermitted, match="cannot open the dead-letter file"):
        LetterFile(path)


def disk_with_room_for(monkeypatch: pytest.MonkeyPatch, size_bytes: int) -> None:
    """A disk that takes so many bytes more, and then none."""
    write, left = os.write, [size_bytes]

    def write_some(fd: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        written = write(fd, data[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", write_some)


def test_of_a_letter_that_does_not_fit_on_the_disk_nothing_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LetterFile(path)
    file.append(letter(id="1"), NOW_S)
    with monkeypatch.context() as patched:
        disk_with_room_for(patched, 20)
        with pytest.raises(OSError, match="No space"):
            file.append(letter(id="2"), NOW_S)
    file.append(letter(id="3"), NOW_S)
    assert [line["id"] for line in lines(path)] == ["1", "3"]


def test_letters_are_put_on_the_disk_a_second_later_and_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    file = LetterFile(path)
    assert file.next_sync_s() is None
    file.append(letter(), NOW_S)
    file.append(letter(), NOW_S + 0.5)
    assert file.next_sync_s() == NOW_S + 1
    file.sync(NOW_S + 0.9)
    assert synced == []
    file.sync(NOW_S + 1)
    file.sync(NOW_S + 9)
    assert len(synced) == 1


def test_a_letter_that_cannot_be_stored_waits_and_its_record_with_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[Record] = []
    letters = DeadLetters(LetterFile(path), stored.extend)
    record = record_of()
    with monkeypatch.context() as patched:
        disk_with_room_for(patched, 0)
        letters.add([(record, letter())], NOW_S)
        assert (stored, letters.waiting, letters.fault) == ([], [record], "No space left on device")
        now_s, waits = NOW_S, []
        for _ in range(8):
            due_s = letters.next_wake_s()
            assert due_s is not None
            waits.append(due_s - now_s)
            now_s = due_s
            letters.wake(now_s)
        assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    letters.wake(now_s + 60)
    assert (stored, letters.waiting, letters.fault) == ([record], [], "")
    assert len(lines(path)) == 1


def test_why_letters_wait_is_said_as_long_as_one_does(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = DeadLetters(LetterFile(path), lambda _: None)
    with monkeypatch.context() as patched:
        disk_with_room_for(patched, 0)
        letters.add([(record_of(), letter())], NOW_S)
    letters.add([(record_of(), letter())], NOW_S)
    assert len(lines(path)) == 1
    assert (len(letters.waiting), letters.fault) == (1, "No space left on device")
    letters.wake(NOW_S + 1)
    assert (letters.waiting, letters.fault) == ([], "")


def test_a_full_disk_is_told_once_and_so_is_its_end(
    path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    letters = DeadLetters(LetterFile(path), lambda _: None)
    with monkeypatch.context() as patched:
        disk_with_room_for(patched, 0)
        letters.add([(record_of(), letter()), (record_of(), letter())], NOW_S)
        letters.wake(NOW_S + 1)
    letters.wake(NOW_S + 3)
    letters.add([(record_of(), letter())], NOW_S + 4)
    said = "".join(capfd.readouterr())
    assert said.count("a dead letter cannot be stored") == 1
    assert "No space left on device" in said
    assert said.count("dead letters are stored again") == 1


def test_a_disk_that_cannot_be_written_to_is_tried_again_a_second_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    letters = DeadLetters(LetterFile(path), lambda _: None)
    letters.add([(record_of(), letter())], NOW_S)
    monkeypatch.setattr(os, "fdatasync", broken)
    letters.wake(NOW_S + 1)
    assert letters.fault == "Input/output error"
    assert letters.next_wake_s() == NOW_S + 2
