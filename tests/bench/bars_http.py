"""Many POSTs, fast, by one process: a few connections, several requests ahead on each, every answer read to its end."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, cast

CONNECTIONS: Final = 32
AHEAD: Final = 8  # requests of a connection that are unanswered
SILENCE_S: Final = 30.0  # after which what is unanswered counts as such

ACCEPTED: Final = 202
REFUSED: Final = 503

Accept = Callable[[int, str], None]
"""(number, message id): this one was accepted."""


@dataclass
class Answers:
    """What became of all requests. codes: of those refused as they should be; unclear: everything else."""

    accepted: int = 0
    codes: Counter[str] = field(default_factory=Counter[str])
    unclear: Counter[str] = field(default_factory=Counter[str])


async def post_all(address: str, path: str, bodies: Iterator[bytes], accept: Accept) -> Answers:
    """POST each body, in their order but over many connections; `accept` hears of each that was accepted.

    Args:
      address: host:port.
    """
    host, _, port = address.rpartition(":")
    answers = Answers()
    head = f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: ".encode()
    requests = _Requests(enumerate(bodies), head)
    loop = asyncio.get_running_loop()
    made = [
        (await loop.create_connection(lambda: _Connection(requests, answers, accept), host, int(port)))[1]
        for _ in range(CONNECTIONS)
    ]
    while any(not one.ended.done() for one in made):
        before = answers.accepted + answers.codes.total()
        await asyncio.wait([one.ended for one in made], timeout=SILENCE_S)
        if answers.accepted + answers.codes.total() == before:
            break
    for one in made:
        one.close()
    return answers


@dataclass
class _Requests:
    """What is still to be sent, of all connections."""

    bodies: Iterator[tuple[int, bytes]]
    head: bytes

    def next(self) -> tuple[int, bytes] | None:
        for number, body in self.bodies:
            return number, b"%b%d\r\n\r\n%b" % (self.head, len(body), body)
        return None


class _Connection(asyncio.Protocol):
    """One connection. ended: nothing is left to send or to hear of."""

    def __init__(self, requests: _Requests, answers: Answers, accept: Accept) -> None:
        self._requests = requests
        self._answers = answers
        self._accept = accept
        self._open: deque[int] = deque()
        self._unread = bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (answer := _taken(self._unread)) is not None:
            self._note(self._open.popleft(), *answer)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()

    def close(self) -> None:
        """What is unanswered stays so, and is counted."""
        if self._open:
            self._answers.unclear["no answer"] += len(self._open)
            self._open.clear()
        if not self.ended.done():
            self.ended.set_result(None)
        self._transport.abort()

    def _send(self) -> None:
        wanted: list[bytes] = []
        while len(self._open) < AHEAD and (request := self._requests.next()) is not None:
            self._open.append(request[0])
            wanted.append(request[1])
        if wanted:
            self._transport.write(b"".join(wanted))
        elif not self._open and not self.ended.done():
            self.ended.set_result(None)

    def _note(self, number: int, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        answers = self._answers
        if status == ACCEPTED and b"farm-message-id" in headers:
            answers.accepted += 1
            self._accept(number, headers[b"farm-message-id"].decode())
        elif status == REFUSED and headers.get(b"retry-after", b"").isdigit():
            answers.codes[json.loads(body)["code"]] += 1
        else:
            answers.unclear[f"{status} without {'its id' if status == ACCEPTED else 'Retry-After'}"] += 1


def _taken(unread: bytearray) -> tuple[int, dict[bytes, bytes], bytes] | None:
    """The first whole answer, taken out: status, headers (names in lower case), body; None: there is none yet."""
    end = unread.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(unread[:end]).split(b"\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    over = end + 4 + int(headers[b"content-length"])
    if len(unread) < over:
        return None
    body = bytes(unread[end + 4 : over])
    del unread[:over]
    return int(first.split()[1]), headers, body
