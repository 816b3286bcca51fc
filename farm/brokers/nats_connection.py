"""A connection to NATS that outlives every server: for `nats` and `jetstream` alike.

    _live   connect (any of the servers) > CONNECT, SUB of all there is, PING > PONG: up > lost: again, with jitter
    publish notes; once per turn of the loop all of it is written, with one PING if somebody asked for `flush`
    PONG    confirms everything before it: a PING that stays without one is how a silent server is found
Everything is a callback: no future and no coroutine per message. What stands in the way is one line (`fault`).
Source: NATS documentation, "Client Protocol".
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

from farm import log
from farm.backoff import Backoff
from farm.broker import BrokerState
from farm.brokers import lives
from farm.brokers.faults import CLOSED, NO_ANSWER, words_of
from farm.brokers.nats_link import Link, LinkFault, Server, connect, info_of, others_of, server_of
from farm.brokers.nats_pings import Flushed, OnFlushed, Pings
from farm.brokers.nats_protocol import (
    PING,
    PONG,
    Malformed,
    OnRaw,
    Raw,
    encode_publish,
    encode_subscribe,
    encode_unsubscribe,
)
from farm.brokers.nats_subscriptions import Subscriptions
from farm.brokers.nats_target import Target, connect_line
from farm.errors import FarmError
from farm.message import PAYLOAD_LIMIT_BYTES

START_S: Final = 4.8  # start() waits for no longer
CONNECT_S: Final = 4.0  # to try all servers once
CONFIRM_S: Final = 4.0  # what `flush` asked for is then given up
CLOSE_S: Final = 2.0
AGAIN_S: Final = 10.0  # until a subscription that was refused is asked for again
MISSED: Final = 2  # pings without an answer, after which the server is taken for dead
LASTED_S: Final = 1.0  # a connection that ended sooner was none: the next wait is longer
HEADERS_BYTES: Final = 16 << 10  # kept free of a server's max_payload, for headers count against it
WRITE_LIMIT_BYTES: Final = 64 << 20  # what may wait for a server that reads slowly
FAULTS_SHOWN: Final = 3

_DENIED: Final = re.compile(
    r'Permissions Violation for (Publish|Subscription) (?:to|with Reply of) "([^"]*)"', re.IGNORECASE
)
_STRANGERS: Final = ("authorization violation", "user authentication expired", "user authentication revoked")
_WHO: Final = ". Check user and password, token, nkey or credentials"
_TOO_MANY: Final = "maximum subscriptions exceeded"
_HARMLESS: Final = ("permissions violation", "invalid subject")  # it stays

OnState = Callable[[BrokerState, str], None]
OnDenied = Callable[[str, str], None]
OnAllowed = Callable[[str], None]


class NatsConnection:
    """One connection, remade for ever.

    What is called back is called on the loop, never from within `publish`, `flush`, `subscribe` or `unsubscribe`:
      on_state(state, fault)      "up" once all subscriptions are with the server, "down" and why; nothing once closed
      on_denied(what, subject)    "publish" (the subject, or the one for the answer) or "subscription": the server says
                                  no; the connection stays
      on_allowed(subject)         a subscription that was denied on this connection is with the server after all: it is
                                  asked for again every AGAIN_S
    """

    def __init__(self, target: Target, on_state: OnState, on_denied: OnDenied, on_allowed: OnAllowed) -> None:
        self.info: Mapping[str, Any] = {}
        self._target: Final = target
        self._on_state: Final = on_state
        self._on_denied: Final = on_denied
        self._on_allowed: Final = on_allowed
        self._rng: Final = Random()
        self._subscriptions: Final = Subscriptions()
        self._routes: Final = self._subscriptions.routes
        self._asked_s = 0.0  # when it was asked again for what was refused
        self._link: Link | None = None
        self._server = Server("", 0, "", tls=False)  # the last one that was tried
        self._discovered: list[Server] = []
        self._up = self._closing = False
        self._fault = "not connected yet"
        self._life: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()  # the connection has ended
        self._ready = asyncio.Event()  # its first PING is answered, or it has ended
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._write_wanted = False
        self._pings: Final = Pings()
        self._pinged_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def up(self) -> bool:
        """Whether what is published now reaches a server."""
        return self._up

    @property
    def fault(self) -> str:
        """Why it is not up: one line."""
        return "" if self._up else self._fault

    @property
    def full(self) -> bool:
        """Whether so much waits to be written that nothing should be added."""
        unsent_bytes = self._link.unsent_bytes if self._link is not None else 0
        return self._out_bytes + unsent_bytes > WRITE_LIMIT_BYTES

    @property
    def max_payload_bytes(self) -> int:
        """What the server takes of headers and payload together; more, and it cuts the connection."""
        found = self.info.get("max_payload")
        return found if isinstance(found, int) and found > 0 else PAYLOAD_LIMIT_BYTES

    @property
    def payload_limit_bytes(self) -> int:
        """What a payload may have, so that its headers find room as well."""
        limit_bytes = self.max_payload_bytes
        return min(PAYLOAD_LIMIT_BYTES, max(limit_bytes - HEADERS_BYTES, limit_bytes // 2))

    async def start(self) -> None:
        """Try all servers once, for START_S at most; go on trying until `close`. Raises nothing."""
        tried = asyncio.Event()
        self._life = lives.begin(self._live(tried), "a connection to NATS")
        try:
            async with asyncio.timeout(START_S):
                await tried.wait()
        except TimeoutError:
            self._say_down(f"{self._target.at}: {NO_ANSWER} yet")

    async def close(self) -> None:
        """Have the server confirm what was written, for CLOSE_S at most; then nothing is left."""
        if self._up:
            done = asyncio.Event()
            self.flush(lambda _: done.set())
            try:
                async with asyncio.timeout(CLOSE_S):
                    await done.wait()
            except TimeoutError:
                log.get().warning("a NATS server did not confirm our last messages", server=self._target.at)
        self._closing = True
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])
        link = self._link
        self._drop("closed")
        if link is not None:
            await link.ended.wait()

    def subscribe(self, subject: str, on_raw: OnRaw, queue: str = "") -> int:
        """Subscribe now and after every reconnect; the number that `unsubscribe` takes.

        Args:
          on_raw: called with all that one chunk had for this subscription.
        """
        sid = self._subscriptions.add(subject, on_raw, queue)
        self._write(encode_subscribe(sid, subject, queue))
        return sid

    def unsubscribe(self, sid: int) -> None:
        """End a subscription; nothing more comes of it. May be called twice."""
        if self._subscriptions.end(sid):
            self._subscriptions.forget(sid)
            self._write(encode_unsubscribe(sid))

    def drain(self, sid: int) -> None:
        """End a subscription, of which still comes what the server has sent before it hears of the end."""
        if self._subscriptions.end(sid):
            self._write(encode_unsubscribe(sid))
            self.flush(lambda _: self._subscriptions.forget(sid))

    def publish(self, subject: str, payload: bytes, reply: str = "", headers: bytes = b"") -> None:
        """Write a message, at the end of this turn of the loop. While not `up` it goes nowhere; `flush` tells.

        Subject and size are good (headers and payload within `max_payload_bytes`).

        Args:
          headers: a block as `encode_headers` makes it, or nothing.
        """
        self.publish_all(encode_publish(subject, payload, reply, headers), len(payload) + len(headers))

    def publish_all(self, parts: Sequence[bytes], size_bytes: int) -> None:
        """As `publish`, for messages that are encoded already. size_bytes: of their headers and payloads."""
        if self._link is not None:
            self._out += parts
            self._out_bytes += size_bytes
            if not self._write_wanted:
                self._want_write()

    def flush(self, done: OnFlushed) -> None:
        """Hear within CONFIRM_S and a second what became of all that was published before: by one PING for all that
        ask in this turn.
        """
        self._pings.ask(done)
        if not self._write_wanted:
            self._want_write()

    def new_inbox(self) -> str:
        """A subject that is ours alone, for answers."""
        return f"{self._target.inbox_prefix}.{secrets.token_hex(11)}"

    async def _live(self, tried: asyncio.Event) -> None:
        backoff = Backoff()
        while True:
            fault = await self._try_servers()
            if fault:
                self._say_down(fault)
            tried.set()
            if not fault:
                began_s = time.monotonic()
                await self._lost.wait()
                if time.monotonic() - began_s >= LASTED_S:
                    backoff.reset()
            await asyncio.sleep(backoff.next_s())

    async def _try_servers(self) -> str:
        """Be up with any of them; else why each is not."""
        try:
            servers = list(map(server_of, self._target.servers()))
        except (LinkFault, FarmError) as error:
            return f"{self._target.at}: {words_of(error)}"
        named = {(each.host, each.port) for each in servers}
        servers += [each for each in self._discovered if (each.host, each.port) not in named]
        faults: dict[Server, str] = {}
        for server in self._rng.sample(servers, len(servers)):  # what is said of them has always one order
            try:
                async with asyncio.timeout(max(1.0, CONNECT_S / len(servers))):
                    await self._try_server(server)
            except TimeoutError:
                silent = self._link is None  # it has not even said INFO
                self._drop(f"{NO_ANSWER}{': perhaps it is no NATS server, or wants tls_first' if silent else ''}")
                faults[server] = f"{server.at}: {self._fault}"
            except (OSError, ValueError, LinkFault, FarmError) as error:  # ValueError: a host name that is none
                self._drop(words_of(error))
                faults[server] = f"{server.at}: {self._fault}"
            else:
                return ""
        said = [faults[each] for each in servers]
        more = [f"and {len(said) - FAULTS_SHOWN} more"] if len(said) > FAULTS_SHOWN else []
        return "; ".join(said[:FAULTS_SHOWN] + more)

    async def _try_server(self, server: Server) -> None:
        """Connect, say who we are, subscribe to everything, and wait until the server has done it.

        Raises: OSError, ValueError, LinkFault, FarmError.
        """
        target = self._target
        self._lost, self._ready = asyncio.Event(), asyncio.Event()
        link = await connect(server, target.tls, first=target.tls_first)
        self._server = server
        self._link = link
        if not link.info.get("headers"):
            raise LinkFault("the server has no headers: it is older than NATS 2.2")
        self.info = {}
        self._heard_info(link.info)
        link.serve(self._heard_messages, self._heard_line, self._drop)
        link.write(b"".join([connect_line(target, link.info, secure=link.secure), *self._subscriptions.lines()]))
        self.flush(lambda flushed: self._answered(link, flushed.fault))
        await self._ready.wait()
        if self._link is not link:
            raise LinkFault(self._fault)
        self._tick()

    def _answered(self, link: Link, fault: str) -> None:
        """The server knows who we are, and has all subscriptions."""
        if not fault and self._link is link:
            self._up = True
            self._on_state("up", "")
        self._ready.set()

    def _say_down(self, fault: str) -> None:
        if not self._up and not self._closing:
            self._fault = fault
            self._on_state("down", fault)

    def _drop(self, fault: str) -> None:
        """Have no connection any more. Who waits for a confirmation hears that there is none."""
        link, was_up = self._link, self._up
        self._link, self._up, self._fault = None, False, fault
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if link is not None:
            link.abort()
        self._out.clear()
        self._out_bytes = 0
        self._pings.lose(fault)
        self._subscriptions.lose()
        self._lost.set()
        self._ready.set()
        if was_up:
            self._say_down(f"{self._server.at}: {fault}")

    def _heard_messages(self, sid: bytes, raws: list[Raw]) -> None:
        on_raw = self._routes.get(sid)
        if on_raw is not None:  # else it was on its way when the subscription ended
            on_raw(raws)

    def _heard_line(self, line: bytes) -> None:
        if line.startswith(b"PONG"):
            self._pings.answered()
        elif line.startswith(b"PING"):
            self._write(PONG)
        elif line.startswith(b"INFO"):
            try:
                self._heard_info(info_of(line))
            except ValueError as error:
                raise Malformed("its INFO is no JSON object") from error
        elif line.startswith(b"-ERR"):
            self._heard_error(line[4:].decode(errors="replace").strip().strip("'"))
        elif not line.startswith(b"+OK"):
            raise Malformed("what it says is not of this protocol")

    def _heard_info(self, info: Mapping[str, Any]) -> None:
        self.info = {**self.info, **info}
        if "connect_urls" in info:
            self._discovered = others_of(info["connect_urls"], self._server)

    def _heard_error(self, text: str) -> None:
        said, denied, ours = text.lower(), _DENIED.search(text), self._subscriptions
        if denied is not None and denied[1].lower() == "publish":
            self._pings.deny(denied[2])
            self._on_denied("publish", denied[2])
        elif denied is not None or said.startswith(_TOO_MANY):
            for subject in ours.denied(denied[2]) if denied is not None else ours.too_many():
                self._on_denied("subscription", subject)
        elif said.startswith(_HARMLESS):
            log.get().warning("a NATS server refused a command", server=self._server.at, why=text)
        else:
            self._drop(f"it refuses: {said}{_WHO}" if said.startswith(_STRANGERS) else f"{CLOSED}: {said}")

    def _ask_again(self, now_s: float) -> None:
        """Subscribe once more to what was refused."""
        self._asked_s = now_s
        if lines := self._subscriptions.again():
            self._write(b"".join(lines))
            self.flush(self._asked_again)

    def _asked_again(self, flushed: Flushed) -> None:
        for subject in self._subscriptions.answered(known=not flushed.fault):
            self._on_allowed(subject)

    def _write(self, data: bytes) -> None:
        if self._link is not None:
            self._out.append(data)
            if not self._write_wanted:
                self._want_write()

    def _want_write(self) -> None:
        self._write_wanted = True
        asyncio.get_running_loop().call_soon(self._write_all)

    def _write_all(self) -> None:
        """All that this turn has to say, in one go."""
        self._write_wanted = False
        if self._link is None:
            self._pings.lose(self._fault)
            return
        if self._pings.asked:
            self._note_ping()
        if self._out:
            self._link.write(b"".join(self._out))
            self._out.clear()
            self._out_bytes = 0

    def _note_ping(self) -> None:
        """Have one in what is written next."""
        self._pinged_s = time.monotonic()
        self._pings.sent(self._pinged_s)
        self._out.append(PING)

    def _tick(self) -> None:
        """Ask whether the server is there; give up on what it does not answer."""
        now_s, interval_s = time.monotonic(), self._target.ping_interval_s
        tick_s = min(1.0, interval_s / 4)
        if self._pings.unanswered_s(now_s) > MISSED * interval_s - tick_s:
            self._drop(f"no answer to {MISSED} pings in {MISSED * interval_s:g} s")
            return
        self._pings.give_up(now_s - CONFIRM_S)
        if now_s - self._asked_s >= AGAIN_S:
            self._ask_again(now_s)
        if now_s - self._pinged_s >= interval_s:
            self.flush(_nobody)
        self._timer = asyncio.get_running_loop().call_later(tick_s, self._tick)


def _nobody(_: object) -> None:
    """Nobody waits for this PONG: its absence is what is looked for."""
