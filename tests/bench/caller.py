"""Clients of a farm's relay that never wait: several of them, in one thread, beside a clock of one's own."""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Sequence

from farm.client.session import News, Session
from farm.rundir import Rundir
from farm.wire import relay
from farm.wire.sockets import Sockets


class Caller:
    """One client: what its session wants said leaves with `flush`, and what was said to it is told by `hear`."""

    def __init__(self, sockets: Sockets, rundir: Rundir) -> None:
        self.session = Session()
        self._dealer = sockets.dealer(rundir.relay)
        self._unsent: deque[relay.FromClient] = deque()
        self.fd = self._dealer.fd

    def flush(self) -> bool:
        """Send what may go; whether anything was sent."""
        self._unsent.extend(self.session.outgoing())
        sent = False
        while self._unsent and self._dealer.send(relay.pack(self._unsent[0])) == "sent":
            self._unsent.popleft()
            sent = True
        return sent

    def hear(self) -> list[News]:
        """News that have arrived."""
        return [news for frames in self._dealer.receive() for news in self.session.hear(relay.from_ingest(frames))]

    def readable(self) -> bool:
        """Whether something has arrived; ask before waiting, for the descriptor tells of changes alone."""
        return self._dealer.readable()

    def close(self) -> None:
        """Hang up."""
        self._dealer.close()


def wait(callers: Sequence[Caller], limit_s: float) -> None:
    """Until one of them may have something, or the time is over."""
    if limit_s > 0 and not any(caller.readable() for caller in callers):
        select.select([caller.fd for caller in callers], [], [], limit_s)
