"""Where `farm publish` has its messages from: an argument, a file, a pipe."""

from __future__ import annotations

import os
import select
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from farm.errors import FarmError, InputError, NotPermitted, PayloadTooLarge, Problem, SourceMissing
from farm.message import PAYLOAD_LIMIT_BYTES

CHUNK_BYTES: Final = 256 << 10
STDIN: Final = "-"


class Lines:
    """A message a line, without its line end; None while a pipe has nothing right now.

    A line over the limit ends it: `fault` then says which.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.read_bytes = 0
        self.count = 0
        self.fault: FarmError | None = None

    def __iter__(self) -> Iterator[bytes | None]:
        rest = b""
        while chunk := self._chunk():
            if chunk is _NOTHING:
                yield None
                continue
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if self._refuses(line):
                    return
                yield line.removesuffix(b"\r")
            if len(rest) > PAYLOAD_LIMIT_BYTES and self._refuses(rest):
                return
        if rest and not self._refuses(rest):
            yield rest

    def _refuses(self, line: bytes) -> bool:
        self.count += 1
        if len(line) <= PAYLOAD_LIMIT_BYTES:
            return False
        fault = PayloadTooLarge(len(line), PAYLOAD_LIMIT_BYTES).problems[0]
        why = f"over {PAYLOAD_LIMIT_BYTES} bytes"
        self.fault = InputError(
            Problem(fault.what, where=f"line {self.count}", why=why, todo="What follows was not read")
        )
        return True

    def _chunk(self) -> bytes:
        ready, _, _ = select.select([self._fd], [], [], 0)
        if not ready:
            return _NOTHING
        chunk = os.read(self._fd, CHUNK_BYTES)
        self.read_bytes += len(chunk)
        return chunk


_NOTHING: Final = b"nothing right now"


@contextmanager
def opened(file: str) -> Generator[int]:
    """The descriptor of a file or, for `-`, of standard input.

    Raises: SourceMissing, NotPermitted: there is no such file, or it may not be read.
    """
    if file == STDIN:
        yield 0
        return
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise NotPermitted(Problem("cannot read the file", where=file, why=error.strerror or "")) from error
    except FileNotFoundError as error:
        raise SourceMissing(Problem("no such file", where=file)) from error
    except OSError as error:
        raise SourceMissing(Problem("cannot read the file", where=file, why=error.strerror or "")) from error
    try:
        if Path(f"/proc/self/fd/{fd}").is_dir():
            raise SourceMissing(Problem("cannot read the file", where=file, why="it is a folder"))
        yield fd
    finally:
        os.close(fd)


def whole(fd: int) -> bytes:
    """All of it.

    Raises: PayloadTooLarge: it is more than a message may be.
    """
    data = bytearray()
    while len(data) <= PAYLOAD_LIMIT_BYTES and (chunk := os.read(fd, CHUNK_BYTES)):
        data += chunk
    if len(data) > PAYLOAD_LIMIT_BYTES:
        size = max(len(data), os.fstat(fd).st_size)
        raise PayloadTooLarge(size, PAYLOAD_LIMIT_BYTES)
    return bytes(data)
