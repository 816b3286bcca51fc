"""Whoever reads what a command prints may leave before it ends: `farm status --watch | head -1`."""

from __future__ import annotations

import select


def reader_has_gone() -> bool:
    """Whether nobody reads our standard output any more."""
    poll = select.poll()
    poll.register(1, 0)
    return any(happened & select.POLLERR for _, happened in poll.poll(0))
