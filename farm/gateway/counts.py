"""What happened at the gateway that nobody was told of: shown beside its process in `farm status`, and in the log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """Since the process began."""

    sockets: int = 0  # WebSockets open now
    slow: int = 0  # closed because they did not keep up
    unshown: int = 0  # messages that the format text has no place for: not UTF-8
    missed: int = 0  # messages that a listener of ingest had no credit for
    gaps: int = 0

    def __str__(self) -> str:
        said = (
            (self.sockets, "WebSocket", ""),
            (self.slow, "", "closed as slow"),
            (self.unshown, "message", " not shown: not UTF-8"),
            (self.missed, "message", " missed"),
            (self.gaps, "gap", ""),
        )
        return ", ".join(
            f"{count} {what}{'s' if what and count != 1 else ''}{more}" for count, what, more in said if count
        )
