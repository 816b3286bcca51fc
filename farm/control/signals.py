"""Signals that ask the farm to end.

    before there is a family   `told_to_end`: raised, so that what was begun is cleaned up
    afterwards                 `Signals`: a handler only notes; the loop reads which came, in their order
An inherited "ignore" stays for INT and HUP: `nohup farm up` lives through a closed terminal, and `farm up &` in a
script through the Ctrl-C that is meant for the script.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ToldToEnd(KeyboardInterrupt):
    """One of them came."""


@contextmanager
def told_to_end() -> Generator[None]:
    """While it lasts, one of them raises ToldToEnd. A default would leave half of what was being made; and in a
    container, where we are the first process, there is none: nothing would happen.
    """
    before = _heed(_raised)
    try:
        yield
    finally:
        _put_back(before)


class Signals:
    """Those that came since the last look. `fd` becomes readable with the first."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before: Final = _heed(_noted)

    def take(self) -> list[signal.Signals]:
        """Which ending signals came, the first one first."""
        try:
            numbers = os.read(self.fd, 4096)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in numbers if number in ENDING]

    def close(self) -> None:
        """Put everything back."""
        _put_back(self._before)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.fd)
        os.close(self._write)


def _heed(how: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
    """Have them handled; how they were before."""
    # A parent may have left them blocked, and then none would ever come.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN or number == signal.SIGTERM:
            signal.signal(number, how)
    return before


def _put_back(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler or signal.SIG_DFL)


def _raised(number: int, _frame: FrameType | None) -> None:
    raise ToldToEnd(signal.Signals(number).name)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The interpreter has written the number to the pipe before it calls this."""
