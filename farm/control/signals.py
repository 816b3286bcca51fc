"""Signals that ask the farm to end. A handler only notes; the loop reads which came, in their order.

An inherited "ignore" stays for INT and HUP: `nohup farm up` lives through a closed terminal, and `farm up &` in a
script through the Ctrl-C that is meant for the script.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Final

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Those that came since the last look. `fd` becomes readable with the first."""

    def __init__(self) -> None:
        # A parent may have left them blocked, and then none would ever come.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        self.fd, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._before = {number: signal.getsignal(number) for number in ENDING}
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN or number == signal.SIGTERM:
                signal.signal(number, _noted)

    def take(self) -> list[signal.Signals]:
        """Which ending signals came, the first one first."""
        try:
            numbers = os.read(self.fd, 4096)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in numbers if number in ENDING]

    def close(self) -> None:
        """Put everything back."""
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.fd)
        os.close(self._write)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The interpreter has written the number to the pipe before it calls this."""
