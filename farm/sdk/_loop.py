"""The event loop of an `async def` handler: asyncio without sockets, signals or threads.

sleep, gather, timeout, TaskGroup, Queue and Event work. Only time can wake a sleeping handler, so one that waits for
anything else would wait for ever: that is an error here.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import base_events
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


class Runner:
    """Runs one coroutine at a time to its end; nothing of it stays behind."""

    def __init__(self) -> None:
        self._loop = _Loop()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of `coroutine`. What it started and did not await is cancelled.

        Raises:
          RuntimeError: it waits for what can never happen.
        """
        try:
            return self._loop.run_until_complete(coroutine)
        finally:
            self._end_the_rest()

    def _end_the_rest(self) -> None:
        left = asyncio.all_tasks(self._loop)
        if left:
            for one in left:
                one.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


class _Sleep:
    """In the place of a selector: there is nothing to select, only time passes."""

    def select(self, timeout_s: float | None) -> list[object]:
        if timeout_s is None:
            raise RuntimeError("the handler waits for what can never happen: nothing but time can wake it")
        if timeout_s > 0:
            time.sleep(timeout_s)
        return []


class _Loop(base_events.BaseEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._selector = _Sleep()

    def run_in_executor(self, executor: object, func: object, *args: object) -> NoReturn:
        """Say that there are no threads; asyncio.to_thread ends here."""
        raise RuntimeError("a component has no threads: to_thread and run_in_executor do not work in one")

    async def create_connection(self, *args: Any, **options: Any) -> NoReturn:
        """Say that there is no network; asyncio.open_connection ends here, before it looks for a thread."""
        raise _no_network()

    async def create_server(self, *args: Any, **options: Any) -> NoReturn:
        """As `create_connection`; asyncio.start_server ends here."""
        raise _no_network()

    async def create_datagram_endpoint(self, *args: Any, **options: Any) -> NoReturn:
        """As `create_connection`."""
        raise _no_network()

    async def getaddrinfo(self, *args: Any, **options: Any) -> NoReturn:
        """As `create_connection`."""
        raise _no_network()

    async def getnameinfo(self, *args: Any, **options: Any) -> NoReturn:
        """As `create_connection`."""
        raise _no_network()

    def _process_events(self, event_list: list[object]) -> None:
        """Nothing ever comes from outside."""

    def _write_to_self(self) -> None:
        """There is no other thread that could have to wake this one."""


def _no_network() -> RuntimeError:
    return RuntimeError("a component has no network: sockets and name resolution do not work in one")
