"""A worker's loop: receive a batch, call, answer; and its ticker, the one other thread.

    main thread   wait - receive - [ start n - call - keep the answer ] .. - send the answers
    ticker        every 10 ms while calls run: move the engine's epoch; send answers that a long call holds up
One lock owns the socket and the unsent answers. The main thread holds it except while a guest runs, so the ticker gets
it just then. The ticker never writes the pulse, or a main thread that hangs would look alive.
"""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from farm import log
from farm.errors import WireError
from farm.invocation import Failed, Finished, Invoke, Output
from farm.wire import work
from farm.wire.lifeline import ChildEnd, Drain, Peer
from farm.wire.pulse import Pulse
from farm.wire.sockets import Dealer

TICK_S: Final = 0.01
IDLE_PROMISE_S: Final = 5.0
CALL_GRACE_NS: Final = 1_000_000_000
IDLE_WAIT_S: Final = 1.0
CATCH_UP_COUNT: Final = 10  # ticks at once, at most
TICKER_REST_S: Final = 1.0  # without a call for this long the ticker sleeps until the next one

# Half of the quick calls that ingest leaves in a hand before it sends more: so there is work while these are answered.
FLUSH_COUNT: Final = 32  # answers in one word
FLUSH_BYTES: Final = 256 << 10  # of their payloads
FLUSH_NS: Final = 1_000_000  # that an answer waits for others
SLOW_NS: Final = 1_000_000  # a call that takes longer is not waited for by answers before it
LOOK_UP_COUNT: Final = 64  # quick calls between two looks at the socket
LISTEN_NS: Final = 5_000_000  # between two looks at the lifeline while there is work
WEIGHT: Final = 0.125  # of the newest call in a component's moving average


class Components(Protocol):
    """What the loop calls: `farm.workers.component.Components`, or a test's."""

    def call(self, invoke: Invoke) -> tuple[list[Output], Failed | None]:
        """Run one component on one message; raises nothing for what a guest does."""
        ...

    def prepare_next(self) -> bool:
        """Make one instance that a next call will want; False when there is nothing to make."""
        ...


class Link:
    """The worker's end of the work link, for one life of ingest after the other.

    The socket stays: a second one of the same routing id would be ignored for as long as the first one lingers. What it
    still had queued for another life is told by the boot nonce, here and there.
    """

    def __init__(self, socket: Dealer) -> None:
        self._socket = socket
        self._boot = 0
        self._heard = False  # anything of this life
        self._unsent: list[Finished] = []
        self._unsent_bytes = 0
        self._oldest_ns = 0
        self._returned: list[tuple[int, int]] = []

    @property
    def fd(self) -> int:
        """What to wait on."""
        return self._socket.fd

    def meet(self, boot: int) -> bool:
        """Join a life of ingest; False when it is the one we know. Answers meant for the one before are dropped."""
        if boot == self._boot:
            return False
        self._unsent, self._unsent_bytes, self._returned, self._boot, self._heard = [], 0, [], boot, False
        self.rejoin()
        return True

    def rejoin(self) -> None:
        """Say Join (again) as long as nothing was heard: the first may have left on the connection that just died."""
        if self._boot and not self._heard:
            self._socket.send(work.join(self._boot))

    def readable(self) -> bool:
        """Whether a batch waits; re-arms the descriptor."""
        return self._socket.readable()

    def receive(self) -> list[Invoke]:
        """The calls that have arrived, in order.

        Raises: WireError: ingest sent what does not parse.
        """
        arrived: list[Invoke] = []
        for message in self._socket.receive():
            word = work.from_ingest(message)
            if word.boot == self._boot:
                self._heard = True
                arrived.extend(word.invokes)
        return arrived

    def keep(self, finished: Finished, now_ns: int) -> None:
        """Hold an answer until the next `flush`."""
        if not self._unsent:
            self._oldest_ns = now_ns
        self._unsent.append(finished)
        for output in finished.outputs:
            self._unsent_bytes += len(output.payload)

    def give_back(self, invoke: Invoke) -> None:
        """Hold the word that a call was not made until the next `flush`."""
        self._returned.append((invoke.delivery, invoke.seq))

    def due(self, now_ns: int) -> bool:
        """Whether what is held should leave now: enough of it, or old enough."""
        return (
            len(self._unsent) >= FLUSH_COUNT
            or self._unsent_bytes >= FLUSH_BYTES
            or (bool(self._unsent) and now_ns - self._oldest_ns >= FLUSH_NS)
        )

    def flush(self) -> None:
        """Send what is held; what a full queue refuses is held on."""
        if not self._unsent and not self._returned:
            return
        if self._socket.send(work.results(self._boot, self._unsent, self._returned)) == "sent":
            self._unsent, self._unsent_bytes, self._returned = [], 0, []


class Ticker:
    """The thread that moves the epoch while guests run, and sleeps when none has run for a while."""

    def __init__(self, tick: Callable[[], None], hold: threading.Lock, flush: Callable[[], None]) -> None:
        self._tick = tick
        self._hold = hold
        self._flush = flush
        self._wake = threading.Event()
        self._asleep = False
        self._ended = False
        self.calls = 0  # odd while a call runs; the loop counts
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> None:
        """Start ticking. After the fork only."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended = True
        self._wake.set()
        self._thread.join()

    def entered(self) -> None:
        """A call begins. The ticker says that it sleeps before it looks for a call: one of the two sees the other."""
        self.calls += 1
        if self._asleep:
            self._wake.set()

    def left(self) -> None:
        """The call has ended."""
        self.calls += 1

    def _run(self) -> None:
        seen, quiet_s = -1, 0.0
        ticked_s = time.monotonic()
        while not self._ended:
            time.sleep(TICK_S)
            ticked_s = self._catch_up(ticked_s)
            running = self.calls & 1
            if running or self.calls != seen:
                seen, quiet_s = self.calls, 0.0
            else:
                quiet_s += TICK_S
            if running and self._hold.acquire(blocking=False):
                try:
                    self._flush()
                finally:
                    self._hold.release()
            if quiet_s >= TICKER_REST_S:
                self._sleep()
                quiet_s = 0.0
                ticked_s = time.monotonic()

    def _catch_up(self, ticked_s: float) -> float:
        """Tick once for every TICK_S that has passed: sleeps take longer than asked, and deadlines must not.

        After a long pause (this process was stopped) not all of it: the guest did not run either.
        """
        now_s = time.monotonic()
        count = int((now_s - ticked_s) / TICK_S)
        for _ in range(min(count, CATCH_UP_COUNT)):
            self._tick()
        return ticked_s + count * TICK_S

    def _sleep(self) -> None:
        self._wake.clear()
        self._asleep = True
        if not self.calls & 1 and not self._ended:
            self._wake.wait()
        self._asleep = False


class Loop:
    """Runs calls until drained. Owns the order: started is written before a call, the answer is kept after it."""

    def __init__(
        self,
        link: Link,
        components: Components,
        deadlines_s: Mapping[str, float],
        lifeline: ChildEnd,
        pulse: Pulse,
    ) -> None:
        self._link = link
        self._components = components
        self._ahead_ns = {name: int(limit_s * 1e9) + CALL_GRACE_NS for name, limit_s in deadlines_s.items()}
        self._start_s = max([IDLE_PROMISE_S, *deadlines_s.values()]) + CALL_GRACE_NS / 1e9  # of making any instance
        self._lifeline = lifeline
        self._pulse = pulse
        self._queue: deque[Invoke] = deque()
        self._average_ns: dict[str, float] = {}
        self._quick = 0
        self._heard_ns = 0  # when the lifeline was looked at last
        self._drained = False
        self.hold = threading.Lock()

    def run(self, ticker: Ticker) -> int:
        """Serve until Drain or until the supervisor is gone.

        Returns: 0 after a drain, 70 when the supervisor has died or ingest cannot be understood.
        """
        ready = select.poll()
        ready.register(self._lifeline.fileno(), select.POLLIN)
        ready.register(self._link.fd, select.POLLIN)
        with self.hold:
            while not self._drained:
                if self._lifeline.closed:
                    return 70
                try:
                    self._queue.extend(self._link.receive())
                except WireError as error:
                    log.get().error("ingest cannot be understood", error=str(error))
                    return 70
                if self._queue:
                    self._serve(ticker)
                    if time.monotonic_ns() - self._heard_ns >= LISTEN_NS:
                        self._hear()
                    continue
                self._link.flush()
                if self._make_ready(ticker) or self._wait(ready):
                    self._hear()
        return 0

    def _serve(self, ticker: Ticker) -> None:
        """Run what is in the queue, until it is empty or the socket wants a look."""
        link, queue = self._link, self._queue
        self._quick = 0
        while queue:
            invoke = queue.popleft()
            began_ns = self._start(invoke)
            if not began_ns:
                continue
            average = self._average_ns.get(invoke.component)
            if average is None or average > SLOW_NS:
                link.flush()
            now_ns = self._call(invoke, ticker, began_ns)
            if link.due(now_ns):
                link.flush()
            self._quick += 1
            if now_ns - began_ns > SLOW_NS or self._quick >= LOOK_UP_COUNT:
                return
        if not link.readable():
            link.flush()

    def _start(self, invoke: Invoke) -> int:
        """Write what starts, then read what is revoked: ingest does the opposite, so one of the two sees the other.

        Returns: since when it runs, in monotonic ns; 0: it must not.
        """
        pulse, now_ns = self._pulse, time.monotonic_ns()
        pulse.start(invoke.seq, now_ns, self._ahead_ns.get(invoke.component, CALL_GRACE_NS))
        if invoke.seq > pulse.revoked():
            return now_ns
        pulse.idle()
        self._link.give_back(invoke)
        return 0

    def _call(self, invoke: Invoke, ticker: Ticker, began_ns: int) -> int:
        """One call that has been started; when it ended, in monotonic ns."""
        ticker.entered()
        self.hold.release()
        try:
            outputs, failed = self._components.call(invoke)
        finally:
            self.hold.acquire()
            ticker.left()
        now_ns = time.monotonic_ns()
        self._pulse.idle()
        took_ns = now_ns - began_ns
        self._learn(invoke.component, took_ns)
        self._link.keep(Finished(invoke.delivery, invoke.attempt, took_ns // 1000, outputs, failed), now_ns)
        return now_ns

    def _learn(self, component: str, took_ns: int) -> None:
        average = self._average_ns.get(component)
        self._average_ns[component] = took_ns if average is None else average + WEIGHT * (took_ns - average)

    def _make_ready(self, ticker: Ticker) -> bool:
        """Idle work, a piece at a time: make an instance before a message wants it. False: none is wanted now."""
        if self._link.readable():
            return True
        self._pulse.promise(self._start_s)
        ticker.entered()
        try:
            return self._components.prepare_next()
        finally:
            ticker.left()

    def _wait(self, ready: select.poll) -> bool:
        """Sleep until a batch, a word or the next beat; whether the lifeline wants a look."""
        self._pulse.promise(IDLE_PROMISE_S)
        if self._link.readable():
            return True
        woken = ready.poll(IDLE_WAIT_S * 1000)
        if not woken:
            self._link.rejoin()
        return woken != [(self._link.fd, select.POLLIN)]

    def _hear(self) -> None:
        self._heard_ns = time.monotonic_ns()
        for word in self._lifeline.receive():
            if isinstance(word, Drain):
                self._link.flush()
                self._drained = True
            elif isinstance(word, Peer) and word.role == "ingest" and self._link.meet(word.boot):
                self._queue.clear()
                self._pulse.forget()
