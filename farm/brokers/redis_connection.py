"""A connection to Redis that outlives every server: for `redis` and `redis-streams` alike.

_live   find the server (Sentinel, cluster) > connect, AUTH, SELECT, scripts > the user subscribes > up
        > over: again, with jitter, for ever
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, cast

from farm.backoff import Backoff
from farm.broker import BrokerState, Home
from farm.brokers import lives
from farm.brokers.faults import NO_ANSWER
from farm.brokers.options.redis import Place, RedisServerSpec, place_of, sentinel_of
from farm.brokers.redis_cluster import Cluster, Ranges
from farm.brokers.redis_life import REPLICA, Features, Life, User, told
from farm.brokers.redis_link import CONNECT_S, Address, Link, LinkFault, ServerFault, open_link
from farm.brokers.redis_scripts import SCRIPTS
from farm.brokers.redis_sentinels import Sentinels
from farm.brokers.tls import context_of
from farm.errors import FarmError
from farm.spec import Secret, TlsSpec

START_S: Final = 4.8  # start() waits for no longer
LASTED_S: Final = 1.0  # a life that was over sooner was none: the next wait is longer
CHECK_S: Final = 1.0
SEE_S: Final = 10.0  # how often to see that the server is still a master: what is published on a replica nobody hears
CLOSE_S: Final = 2.0


class Connection:
    """One connection, remade for ever. `became` hears of its state, with the reason in one line."""

    def __init__(
        self, spec: RedisServerSpec, home: Home, user: User, became: Callable[[BrokerState, str], None]
    ) -> None:
        self.life: Life | None = None
        self.fault = "not connected yet"
        self._spec: Final = spec
        self._home: Final = home
        self._user: Final = user
        self._became: Final = became
        self._place: Final = place_of(spec.url)
        self._first: Final = Address(self._place.host, self._place.port, self._place.path)
        self._cluster: Final = Cluster(self._first) if spec.cluster else None
        self._sentinels: Final = self._sentinels_of(spec) if spec.sentinels else None
        self._running: asyncio.Task[None] | None = None
        self._hindrances: Final[dict[str, str]] = {}  # what keeps triggers from their messages in this life

    async def start(self) -> None:
        """Try once; returns when that has led to something, or 4.8 s have passed."""
        tried = asyncio.Event()
        self._running = lives.begin(self._live(tried), "the connection of a Redis broker")
        with contextlib.suppress(TimeoutError):  # then it goes on behind
            async with asyncio.timeout(START_S):
                await tried.wait()

    async def finish(self, idle: Callable[[], bool]) -> None:
        """End it once nothing is under way any more, or the server is away, or CLOSE_S have passed."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + CLOSE_S
        while not idle() and loop.time() < end_s:
            if self.life is None:
                break
            await asyncio.sleep(0.005)
        await self.close()

    async def close(self) -> None:
        """End it."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        self._became("down", "")

    async def _live(self, tried: asyncio.Event) -> None:
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while True:
            life = Life(self._open)
            self._hindrances.clear()
            try:
                self._user.prepare()
                await self._connect(life)
                began_s = loop.time()
                why = await self._serve(life, tried)
                if loop.time() - began_s >= LASTED_S:
                    backoff.reset()
            except LinkFault as error:
                why = str(error)
            except ServerFault as error:
                why = life.told(error)
            except (FarmError, OSError) as error:  # a secret or a certificate that is not there
                why = " ".join(str(error).split())
            finally:
                self.life = None
                await life.close()
            self.fault = f"{self._spec.at}: {why}"
            self._became("down", self.fault)
            tried.set()
            await asyncio.sleep(backoff.next_s())

    async def _serve(self, life: Life, tried: asyncio.Event) -> str:
        """Live on this; why it is over."""
        try:
            begun = asyncio.ensure_future(self._user.begin(life))
            await asyncio.wait([begun, life.over], timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
            if life.over.done() or not begun.done():
                begun.cancel()
                await asyncio.gather(begun, return_exceptions=True)  # whatever it was, the life is over
                return life.over.result() if life.over.done() else NO_ANSWER
            begun.result()
            self.life, self.fault = life, ""
            self._say()
            tried.set()
            return await self._watch(life)
        finally:
            self.life = None
            self._user.lost()

    def hinder(self, what: str, why: str) -> None:
        """Something keeps a trigger from its messages, and is not the connection; nothing: no more.

        Args:
          what: which kind of thing: each has its own to say.
        """
        self._hindrances[what] = why
        if self.life is not None:
            self._say()

    def _say(self) -> None:
        """What state this is in while there is a server."""
        if why := "; ".join(filter(None, self._hindrances.values())):
            self._became("down", f"{self._spec.at}: {why}")
        else:
            self._became("up", "")

    async def _watch(self, life: Life) -> str:
        due_s = time.monotonic() + SEE_S
        while True:
            await asyncio.wait([life.over], timeout=CHECK_S)
            if life.over.done():
                return life.over.result()
            now_s = time.monotonic()
            life.check(now_s)
            if now_s >= due_s and self._cluster is None:
                due_s = now_s + SEE_S
                life.spawn(_see_server(life.commands(""), by_sentinels=False))

    async def _connect(self, life: Life) -> None:
        """Find the servers, and have a connection for commands to each. Raises: LinkFault, ServerFault, FarmError."""
        ranges: Ranges = []
        addresses = [self._first]
        if self._cluster is not None:
            ranges, addresses = await self._cluster.find(lambda address: self._open_one(address, _ignore))
        elif self._sentinels is not None:
            addresses = [await self._sentinels.find()]
        links = [await life.open_to(address) for address in addresses]
        life.adopt(links, ranges)
        if self._cluster is None:
            await _see_server(links[0], by_sentinels=self._sentinels is not None)
        for link in links:
            for text in SCRIPTS:
                await link.ask("SCRIPT", "LOAD", text)
        life.features = await _features(links[0])
        if self._sentinels is not None:
            self._sentinels.follow(life)

    async def _open(self, address: Address, ended: Callable[[str], None]) -> Link:
        """Connect and introduce ourselves. Where `url` does not say which server that is, faults do."""
        if address == self._first:
            return await self._open_one(address, ended)
        try:
            return await self._open_one(address, lambda why: ended(f"{address}: {why}"))
        except LinkFault as fault:
            raise LinkFault(f"{address}: {fault}") from fault
        except ServerFault as fault:
            raise LinkFault(f"{address}: {told(fault)}") from fault

    async def _open_one(self, address: Address, ended: Callable[[str], None]) -> Link:
        tls = self._tls()
        link = await open_link(address, tls, ended)
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._introduce(link)
                if self._place.db:
                    await link.ask("SELECT", self._place.db)
        except BaseException as error:
            await link.close()
            if isinstance(error, TimeoutError):
                raise LinkFault(f"{NO_ANSWER}: perhaps it is no Redis server") from error
            if isinstance(error, LinkFault) and not link.answered and tls is None and not address.path:
                raise LinkFault(f"{error} without an answer: perhaps it wants TLS (rediss://)") from error
            raise
        return link

    def _sentinels_of(self, spec: RedisServerSpec) -> Sentinels:
        addresses = (Address(*sentinel_of(text)) for text in spec.sentinels)
        secret = spec.sentinel_password

        async def introduce(link: Link) -> None:
            if secret is None:
                await self._introduce(link)
            else:
                await self._authenticate(link, spec.sentinel_username or "", secret)

        def open_one(address: Address, ended: Callable[[str], None]) -> Awaitable[Link]:
            return open_link(address, self._tls(), ended)

        master = spec.sentinel_master or ""
        return Sentinels(addresses, master, open_one, introduce, unasked=secret is not None)

    async def _introduce(self, link: Link) -> None:
        spec = self._spec
        if spec.password is not None:
            await self._authenticate(link, spec.username or self._place.user, spec.password)
        with contextlib.suppress(ServerFault):  # a name is for people: an older server, or an ACL, may not want it
            await link.ask("CLIENT", "SETNAME", "farm-" + "".join(c if c.isalnum() else "-" for c in self._home.app))

    async def _authenticate(self, link: Link, user: str, secret: Secret) -> None:
        await link.ask("AUTH", *filter(None, [user, self._home.secret(secret)]))

    def _tls(self) -> ssl.SSLContext | None:
        return _tls_context(self._place, self._spec.tls or TlsSpec()) if self._place.tls else None


def _tls_context(place: Place, tls: TlsSpec) -> ssl.SSLContext:
    """Of the keys of `tls`, and of the options of the URL where there are none. Raises: LinkFault: a bad file."""
    options = place.options
    files = (options.get(name) for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"))
    ca, certificate, key = (Path(path) if path else None for path in files)
    context = context_of(TlsSpec(tls.ca or ca, tls.certificate or certificate, tls.key or key), LinkFault)
    no_name = options.get("ssl_check_hostname", "").lower() in ("false", "0", "no")
    nobody = options.get("ssl_cert_reqs", "").lower() == "none"
    context.check_hostname = not (no_name or nobody)
    if nobody:
        context.verify_mode = ssl.CERT_NONE
    return context


async def _see_server(link: Link, *, by_sentinels: bool) -> None:
    """See that it is one to write to. Raises: LinkFault: it is not, and why."""
    match await _said(link, "ROLE"):
        case [b"slave", *_]:
            raise LinkFault("the sentinels name a server that is no master yet" if by_sentinels else REPLICA)
        case [b"sentinel", *_]:
            raise LinkFault("it is a sentinel: name it in sentinels")
        case _:
            pass
    if await _said(link, "CLUSTER", "SLOTS"):
        raise LinkFault("it is a node of a cluster: write cluster = true")


async def _said(link: Link, *command: str) -> list[object]:
    """What it answers; nothing: it may not be asked, or does not know."""
    try:
        said = await link.ask(*command)
    except ServerFault:
        return []
    return cast("list[object]", said) if isinstance(said, list) else []


async def _features(link: Link) -> Features:
    """Raises: LinkFault: too old."""
    try:
        known = cast("list[object]", await link.ask("COMMAND", "INFO", "XAUTOCLAIM", "XCFGSET", "XNACK"))
    except ServerFault:
        return Features()  # not permitted to ask: what every server can will do
    if not known[0]:
        raise LinkFault("it is older than Redis 6.2, which farm needs")
    return Features(idmp=bool(known[1]), xnack=bool(known[2]))


def _ignore(_: object) -> None:
    """Whoever asks hears it too."""
