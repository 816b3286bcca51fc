"""What a child of a test does with the signals that end it."""

from __future__ import annotations

import signal


def heed_signals() -> None:
    """In a child: begin as in a terminal. Whoever runs the tests in the background of a script has them ignore these,
    and what they start would too.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
