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
        said = [f"{self.sockets} WebSockets"] if self.sockets else []
        for count, what in (
            (self.slow, "closed as slow"),
            (self.unshown, "messages not shown: not UTF-8"),
            (self.missed, "messages missed"),
            (self.gaps, "gaps"),
        ):
            if count:
                said.append(f"{count} {what}")
        return ", ".join(said)
