"""What one trigger reads: its stream, what of it is in hand, and what the server does not know yet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from farm.broker import GRANT_BYTES, OnDeliveries, Subscription
from farm.message import PAYLOAD_LIMIT_BYTES

READ_LIMIT: Final = 256  # entries in one reply
READ_LIMIT_BYTES: Final = 8 << 20  # and bytes, as far as the entries before tell


@dataclass(frozen=True)
class GroupOptions:
    """Of all streams of a broker.

    kind: what their keys have in their names: "stream" or "queue"; the set of them has its plural. body: the field of a
    payload. claim_after_s: how long an entry of another consumer must have been left alone.
    """

    kind: str
    body: bytes
    claim_after_s: float


class Reading:
    """What one trigger reads.

    held: entries handed over. closing: entries that are settled (True) or released (False), which the server has not
    confirmed yet; unsent: those of them that it was not told of in this life. kept_s: since when no lease of those in
    hand was left alone; none: some may have run out. granted: less than nothing after a heavy reply. fault: what was
    said of it last; hindrance: why it cannot be read in this life. mean_bytes: of a payload of the last reply; before
    the first, as heavy as any may be.
    """

    def __init__(self, subscription: Subscription, key: str, member: int, on_deliveries: OnDeliveries) -> None:
        """
        Args:
          member: how many triggers of this farm read the same stream already: each is a consumer of its own.
        """
        self.trigger: Final = subscription.trigger
        self.topic: Final = subscription.topic
        self.name: Final = subscription.durable
        self.key: Final = key
        self.consumer = ""
        self._member: Final = member
        self.on_deliveries: Final = on_deliveries
        self.granted = 0
        self.wanted: Final = asyncio.Event()
        self.held: Final[set[bytes]] = set()
        self.closing: Final[dict[bytes, bool]] = {}
        self.unsent: list[bytes] = []
        self.known = False
        self.kept_s: float | None = None
        self.fault = ""
        self.hindrance = ""
        self.mean_bytes = PAYLOAD_LIMIT_BYTES

    def name_consumer(self, name: str) -> None:
        """What this farm's consumers are called."""
        self.consumer = f"{name}-{self._member}" if self._member else name

    def next_count(self) -> int:
        """How many entries may be asked for: nobody can ask Redis for bytes."""
        if self.granted <= 0:
            return 0
        by_grants = self.granted // -(-self.mean_bytes // GRANT_BYTES)
        return max(1, min(by_grants, READ_LIMIT, READ_LIMIT_BYTES // self.mean_bytes + 1))

    def is_ours(self, entry: bytes) -> bool:
        """Whether we have it in hand."""
        return entry in self.held or entry in self.closing
