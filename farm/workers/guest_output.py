"""What a guest prints: bounded, made harmless, and handed on when its call has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from farm.errors import printable

Stream = Literal["stdout", "stderr"]
OnOutput = Callable[[str, str, Stream, str], None]
"""(component, message id, stream, text): what one call printed on one stream, escaped but for line ends."""

LIMIT_BYTES: Final = 64 << 10
LINE_LIMIT: Final = 4096  # characters
LINES_LIMIT: Final = 256


class GuestOutput:
    """The two streams of one component, for one message at a time."""

    def __init__(self, component: str, on_output: OnOutput) -> None:
        self._component, self._on_output = component, on_output
        self._message_id = ""
        self._streams: dict[Stream, bytearray] = {}
        self._kept = self._dropped = 0

    def begin(self, message_id: str) -> None:
        """What comes next belongs to this message."""
        self._message_id = message_id

    def write(self, stream: Stream, data: bytes) -> None:
        """Take what the guest wrote; what is over the bound is only counted."""
        taken = data[: LIMIT_BYTES - self._kept]
        self._kept += len(taken)
        self._dropped += len(data) - len(taken)
        self._streams.setdefault(stream, bytearray()).extend(taken)

    def end(self) -> None:
        """Hand on what the message's call printed, and forget it."""
        if not self._streams:
            return
        streams, dropped = self._streams, self._dropped
        self._streams, self._kept, self._dropped = {}, 0, 0
        for stream, data in streams.items():
            lines = data.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n")
            shown = [_shown(line) for line in lines[:LINES_LIMIT]]
            if len(lines) > LINES_LIMIT:
                shown.append(f"({len(lines) - LINES_LIMIT} more lines)")
            if dropped:
                shown.append(f"({dropped} more bytes on stdout and stderr)")
                dropped = 0
            self._on_output(self._component, self._message_id, stream, "\n".join(shown))


def _shown(line: str) -> str:
    """A line as the log has it: harmless, and marked where it was cut."""
    if len(line) <= LINE_LIMIT:
        return printable(line)
    return f"{printable(line[:LINE_LIMIT])} ({len(line) - LINE_LIMIT} more characters)"
