"""Dead letters: messages that no attempt could help, kept in a local file until a person looks.

    dead-letters.jsonl        one JSON object a line, the newest last
    dead-letters.jsonl.1      the part before; thrown away, oldest letters first, when the newer part is full
Each part is at most 32 MiB, so both are at most 64 MiB; a letter that is larger is a part of its own. A letter is with
the kernel before its source is settled: it outlives every process. It is on the disk at most a second later, and before
ingest ends in order: a power failure may cost that second. A letter that cannot be stored leaves its source unsettled
and is tried again, 1 s to 60 s apart.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from farm import log
from farm.errors import denied
from farm.ingest.table import Record
from farm.ingest.verdict import Reason
from farm.invocation import Failed

VERSION: Final = 1
PART_LIMIT_BYTES: Final = 32 << 20
PIECE_BYTES: Final = 1 << 20  # that are looked through at once for the end of the last whole line
SYNC_S: Final = 1.0
AGAIN_S: Final = 1.0
AGAIN_LIMIT_S: Final = 60.0


class LetterError(msgspec.Struct, frozen=True):
    """Why the last attempt failed, as `farm.invocation.Failed`."""

    kind: str
    text: str
    trace: str


class Letter(msgspec.Struct, frozen=True):
    """One line. Times are ISO 8601, UTC. payload is base64 where its bytes are not UTF-8: `encoding` says which."""

    version: int
    at: str
    reason: Reason
    attempts: int
    error: LetterError
    component: str
    broker: str
    topic: str
    id: str
    subject: str
    cause: str
    hops: int
    headers: list[tuple[str, str]]
    reply_to: str | None
    encoding: str
    payload: str


def letter_of(record: Record, reason: Reason, failed: Failed, at: datetime) -> Letter:
    """What is kept of a record."""
    message = record.delivery.message
    try:
        encoding, payload = "text", message.payload.decode()
    except UnicodeDecodeError:
        encoding, payload = "base64", base64.b64encode(message.payload).decode()
    return Letter(
        version=VERSION,
        at=at.astimezone(UTC).isoformat(timespec="milliseconds"),
        reason=reason,
        attempts=record.attempts,
        error=LetterError(failed.kind, failed.text, failed.trace),
        component=record.lane.name,
        broker=record.trigger.spec.broker,
        topic=record.trigger.spec.topic,
        id=message.id,
        subject=message.subject,
        cause=message.cause,
        hops=message.hops,
        headers=list(message.headers),
        reply_to=message.reply_to,
        encoding=encoding,
        payload=payload,
    )


class LetterFile:
    """The two parts on disk. One process writes them."""

    def __init__(self, path: Path, part_limit_bytes: int = PART_LIMIT_BYTES) -> None:
        """Raises: NotPermitted, NoRoom: the file cannot be opened."""
        self._path = path
        self._older = path.with_name(path.name + ".1")
        self._limit_bytes = part_limit_bytes
        self._unsynced_s: float | None = None  # since when something is not on the disk
        self.discarded = 0
        try:
            self._fd, self._size = _open(path)
        except OSError as error:
            raise denied("cannot open the dead-letter file", str(path), error) from error

    def append(self, letter: Letter, now_s: float) -> None:
        """Hand a letter to the kernel. Raises: OSError: it could not be kept; nothing of it is left."""
        line = msgspec.json.encode(letter) + b"\n"
        if self._size and self._size + len(line) > self._limit_bytes:
            self._turn_over()
        written = 0
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(line)
        if self._unsynced_s is None:
            self._unsynced_s = now_s

    def sync(self, now_s: float) -> None:
        """Put on the disk what has waited for a second. Raises: OSError."""
        if self._unsynced_s is not None and now_s - self._unsynced_s >= SYNC_S:
            self._unsynced_s = now_s  # where it fails: again in a second
            os.fdatasync(self._fd)
            self._unsynced_s = None

    def next_sync_s(self) -> float | None:
        """When `sync` will have something to do; None: never."""
        return None if self._unsynced_s is None else self._unsynced_s + SYNC_S

    def close(self) -> None:
        """Put all on the disk and close. Raises: OSError."""
        try:
            os.fdatasync(self._fd)
        finally:
            os.close(self._fd)

    def _turn_over(self) -> None:
        os.fdatasync(self._fd)
        fresh = self._path.with_name(self._path.name + ".new")
        fd, size = _open(fresh)
        try:
            if self._path.exists():  # else an earlier attempt moved it, and could make no new one
                lost = self._older.read_bytes().count(b"\n") if self._older.exists() else 0
                self._path.replace(self._older)
                self.discarded += lost
            fresh.replace(self._path)
        except OSError:
            os.close(fd)
            self._take(*_open(self._path))  # ours may be the older part by now
            raise
        self._take(fd, size)

    def _take(self, fd: int, size: int) -> None:
        os.close(self._fd)
        self._fd, self._size = fd, size


class _Waiting:
    __slots__ = ("due_s", "letter", "record", "wait_s")

    def __init__(self, letter: Letter, record: Record, now_s: float) -> None:
        self.letter = letter
        self.record = record
        self.wait_s = AGAIN_S
        self.due_s = now_s + AGAIN_S


class DeadLetters:
    """Stores letters; those that cannot be stored wait here, and their sources with them."""

    def __init__(self, file: LetterFile, stored: Callable[[list[Record]], None]) -> None:
        """
        Args:
          stored: hears of records whose letter is kept: their sources may be settled.
        """
        self._file = file
        self._stored = stored
        self._waiting: list[_Waiting] = []
        self.fault = ""  # why the last letter could not be stored; empty once all are

    @property
    def waiting(self) -> list[Record]:
        """Records whose letter could not be stored yet."""
        return [one.record for one in self._waiting]

    @property
    def discarded(self) -> int:
        """Letters thrown away for want of room, oldest first."""
        return self._file.discarded

    def add(self, letters: list[tuple[Record, Letter]], now_s: float) -> None:
        """Store these."""
        stored: list[Record] = []
        for record, letter in letters:
            if self._append(letter, now_s):
                stored.append(record)
            else:
                self._waiting.append(_Waiting(letter, record, now_s))
        self._end(stored)

    def wake(self, now_s: float) -> None:
        """Try again what is due, and put on the disk what has waited."""
        due = [one for one in self._waiting if one.due_s <= now_s]
        stored: list[Record] = []
        for one in due:
            if self._append(one.letter, now_s):
                stored.append(one.record)
            else:
                one.wait_s = min(AGAIN_LIMIT_S, one.wait_s * 2)
                one.due_s = now_s + one.wait_s
        if stored:
            kept = set(map(id, stored))
            self._waiting = [one for one in self._waiting if id(one.record) not in kept]
        self._end(stored)
        try:
            self._file.sync(now_s)
        except OSError as error:
            self._fails(error)

    def next_wake_s(self) -> float | None:
        """When `wake` will have something to do; None: never."""
        times = [one.due_s for one in self._waiting]
        sync_s = self._file.next_sync_s()
        return min([*times, sync_s] if sync_s is not None else times, default=None)

    def close(self) -> None:
        """Put all on the disk. Raises: OSError."""
        self._file.close()

    def _append(self, letter: Letter, now_s: float) -> bool:
        try:
            self._file.append(letter, now_s)
        except OSError as error:
            self._fails(error)
            return False
        return True

    def _fails(self, error: OSError) -> None:
        why = error.strerror or str(error)
        if why != self.fault:
            log.get().error("a dead letter cannot be stored", why=why)
        self.fault = why

    def _end(self, stored: list[Record]) -> None:
        if not stored:
            return
        if self.fault and not self._waiting:
            log.get().info("dead letters are stored again")
            self.fault = ""
        self._stored(stored)


def _open(path: Path) -> tuple[int, int]:
    """The file and its size; a line that a crash left half written is cut off (its source was never settled)."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(fd, 0o600)
        size = os.fstat(fd).st_size
        whole = _whole_lines(fd, size)
        if whole < size:
            os.ftruncate(fd, whole)
    except OSError:
        os.close(fd)
        raise
    return fd, whole


def _whole_lines(fd: int, size: int) -> int:
    """How many bytes of a file are whole lines."""
    end = size
    while end:
        start = max(0, end - PIECE_BYTES)
        place = os.pread(fd, end - start, start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0
