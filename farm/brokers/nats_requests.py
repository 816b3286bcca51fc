"""Questions to a NATS server and their answers, on one inbox: for what is asked seldom, a future each."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from farm.brokers.nats_connection import NatsConnection
from farm.brokers.nats_pings import Flushed
from farm.brokers.nats_protocol import Raw, status_of
from farm.errors import BrokerUnavailable, NotPermitted

WITHIN_S: Final = 2.0
NO_RESPONDERS: Final = 503


class Requests:
    """Of one connection."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection: Final = connection
        self._waiting: Final[dict[str, asyncio.Future[Raw]]] = {}
        self._inbox = ""

    async def ask(self, subject: str, payload: bytes, headers: bytes = b"") -> Raw:
        """The answer to a request, within WITHIN_S.

        Raises:
          BrokerUnavailable: no connection, nobody who answers on that subject, or no answer in time.
          NotPermitted: we may not ask this.
        """
        connection = self._connection
        if not self._inbox:
            self._inbox = connection.new_inbox()
            connection.subscribe(f"{self._inbox}.*", self._heard)
        token = secrets.token_hex(8)
        future = self._waiting[token] = asyncio.get_running_loop().create_future()
        connection.publish(subject, payload, f"{self._inbox}.{token}", headers)
        connection.flush(lambda flushed: _fail(future, subject, flushed))
        try:
            async with asyncio.timeout(WITHIN_S):
                answer = await future
        except TimeoutError as error:
            raise BrokerUnavailable(f"no answer on {subject}") from error
        finally:
            del self._waiting[token]
        if status_of(answer[2])[0] == NO_RESPONDERS:
            raise BrokerUnavailable(f"nobody answers on {subject}")
        return answer

    def _heard(self, raws: list[Raw]) -> None:
        for raw in raws:
            future = self._waiting.get(raw[0].decode(errors="replace").rpartition(".")[2])
            if future is not None and not future.done():
                future.set_result(raw)


def _fail(future: asyncio.Future[Raw], subject: str, flushed: Flushed) -> None:
    """What the server did not take will not be answered."""
    if future.done():
        return
    if subject in flushed.denied:
        future.set_exception(NotPermitted(f"the server does not let us publish to {subject}"))
    elif flushed.fault:
        future.set_exception(BrokerUnavailable(f"{subject}: {flushed.fault}"))
