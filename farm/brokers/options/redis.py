"""`[brokers.NAME]` with `type = "redis"` and `type = "redis-streams"`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from farm.errors import BadValue, Problem
from farm.spec import Abilities, Fault, Key, Secret, ServerSpec, TlsSpec
from farm.subject import Grammar
from farm.units import Duration, Url, address_of

SCHEMES: Final = ("redis", "rediss", "unix")
PORT: Final = 6379
SENTINEL_PORT: Final = 26379
TLS_OPTIONS: Final = ("ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
DB_LIMIT: Final = 1 << 16
BODY_LIMIT: Final = 64  # characters of a field's name
TAKEN_FIELDS: Final = ("reply-to", "traceparent", "tracestate", "content-type")
TAKEN_PREFIXES: Final = ("farm-", "nats-", "x-", "ce-")


@dataclass(frozen=True)
class Place:
    """What a URL of redis-py says. path: of a Unix socket; options: those of TLS, as redis-py calls them."""

    host: str
    port: int
    path: str
    db: int
    user: str
    tls: bool
    options: Mapping[str, str]


def place_of(url: str) -> Place:
    """Read `redis://user@host:6379/0`, `rediss://host?ssl_cert_reqs=none` or `unix:///run/redis.sock?db=1`.

    Raises: BadValue: it says what farm does not take.
    """
    parts = urlsplit(url)
    local = parts.scheme == "unix"
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    user = options.pop("username", unquote(parts.username or ""))
    number = options.pop("db", "" if local else unquote(parts.path).strip("/"))
    if number and not (number.isascii() and number.isdigit() and int(number[:9]) < DB_LIMIT):
        raise BadValue(Problem(f"its database {number[:9]!r} is no number", todo="Write it like redis://host/0"))
    for name in options:
        if name not in TLS_OPTIONS or parts.scheme != "rediss":
            todo = f"It may be db, username and, with rediss://, {', '.join(TLS_OPTIONS)}"
            raise BadValue(Problem(f"farm does not take its option {name!r}", todo=todo))
    path = unquote(parts.path) if local else ""
    return Place(
        parts.hostname or "localhost",
        parts.port or PORT,
        path,
        int(number or 0),
        user,
        parts.scheme == "rediss",
        options,
    )


def sentinel_of(text: str) -> tuple[str, int]:
    """Host and port of `host` or `host:port`. Raises: BadValue."""
    wrong = BadValue(Problem("a sentinel is a host and a port", todo='Write it like "host:26379"'))
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong from error
    if not host or parts.path or parts.query or parts.username:
        raise wrong
    return host, port or SENTINEL_PORT


@dataclass(frozen=True, kw_only=True)
class RedisServerSpec(ServerSpec):
    """Where a Redis is, and who farm is to it."""

    libraries: ClassVar = ("asyncio", "ssl", "hiredis")

    url: Annotated[
        str,
        Url(SCHEMES),
        Key(
            "The server, as redis-py has it: redis://, rediss:// (TLS) or unix://; no password.", '"redis://localhost"'
        ),
    ]
    username: Annotated[str | None, Key("User of the server's ACL.", '"farm"', absent="the default user")] = None
    password: Annotated[
        Secret | None, Key("Where the password is.", '{ env = "REDIS_PASSWORD" }', absent="there is none")
    ] = None
    tls: Annotated[
        TlsSpec | None, Key("Certificates, for rediss://.", '{ ca = "ca.pem" }', absent="those of the system")
    ] = None
    cluster: Annotated[bool, Key("Whether `url` is a node of a Redis Cluster.", "true")] = False
    sentinels: Annotated[
        tuple[str, ...], Key("Sentinels to ask for the server; its host in `url` is then not used.", '["a:26379"]')
    ] = ()
    sentinel_master: Annotated[
        str | None, Key("What the sentinels call the server.", '"mymaster"', absent="there are no sentinels")
    ] = None
    sentinel_username: Annotated[
        str | None,
        Key(
            "User of the sentinels' ACL.",
            '"farm"',
            absent="the default user, or that of `username` without `sentinel_password`",
        ),
    ] = None
    sentinel_password: Annotated[
        Secret | None,
        Key("Where the password of the sentinels is.", '{ env = "SENTINEL_PASSWORD" }', absent="that of `password`"),
    ] = None

    @property
    def at(self) -> str:
        """The URL without userinfo."""
        return address_of(self.url)

    def faults(self) -> Iterator[Fault]:
        """What is wrong between the keys."""
        try:
            place = place_of(self.url)
        except BadValue as error:
            yield Fault("url", error.problems[0].what, error.problems[0].todo)
            return
        if place.user and self.username is not None:
            yield Fault("username", "there is a user in the URL too", "Leave one of them out")
        if (place.user or self.username) and self.password is None:
            yield Fault("password", "a user has a password", 'Write password = { file = ".." } or { env = ".." }')
        if place.db and self.cluster:
            yield Fault("url", "a cluster has database 0 alone")
        yield from self._sentinel_faults()

    def _sentinel_faults(self) -> Iterator[Fault]:
        for sentinel in self.sentinels:
            try:
                sentinel_of(sentinel)
            except BadValue as error:
                yield Fault("sentinels", error.problems[0].what, error.problems[0].todo)
        if bool(self.sentinels) != (self.sentinel_master is not None):
            yield Fault("sentinels", "sentinels and sentinel_master need each other")
        if self.sentinel_password is not None and not self.sentinels:
            yield Fault("sentinel_password", "there are no sentinels")
        if self.sentinel_username is not None and self.sentinel_password is None:
            todo = 'Write sentinel_password = { file = ".." } or { env = ".." }'
            yield Fault("sentinel_username", "a user has a password", todo)
        if self.cluster and self.sentinels:
            yield Fault("cluster", "a cluster has no sentinels")
        if self.tls is not None and not self.url.startswith("rediss://"):
            yield Fault("tls", "the URL asks for no TLS", 'Write url = "rediss://.."')


@dataclass(frozen=True, kw_only=True)
class RedisSpec(RedisServerSpec):
    """`[brokers.NAME]` with `type = "redis"`: pub/sub, and a stream for each queue."""

    type: Annotated[Literal["redis"], Key("What kind of broker this is.", '"redis"')]

    @property
    def abilities(self) -> Abilities:
        """Messages have no headers; a queue has a stream of its own, found by its exact topic."""
        return Abilities(headers=False, replies=False, queue_wildcards=False)

    @property
    def grammar(self) -> Grammar:
        """The globs of PSUBSCRIBE."""
        return "redis"


@dataclass(frozen=True, kw_only=True)
class RedisStreamsSpec(RedisServerSpec):
    """`[brokers.NAME]` with `type = "redis-streams"`: a stream for each topic and group, nothing lost."""

    type: Annotated[Literal["redis-streams"], Key("What kind of broker this is.", '"redis-streams"')]
    body_field: Annotated[str, Key("Field of an entry that holds the payload.", '"data"')] = "body"
    claim_after_s: Annotated[
        float,
        Duration("5s", "1h"),
        Key("How long an entry of another consumer must be idle before this farm takes it over.", '"2m"'),
    ] = 60.0

    def faults(self) -> Iterator[Fault]:
        """What is wrong between the keys."""
        yield from super().faults()
        name = self.body_field
        if not name or len(name) > BODY_LIMIT or not name.isprintable():
            yield Fault("body_field", f"it is no name of a field: 1 to {BODY_LIMIT} characters, none of control")
        elif name in TAKEN_FIELDS or name.startswith(TAKEN_PREFIXES):
            yield Fault("body_field", "a header has this name")

    @property
    def abilities(self) -> Abilities:
        """Everything; entries are found by their exact topic."""
        return Abilities(queue_wildcards=False, settles=True, confirms=True)

    @property
    def grammar(self) -> Grammar:
        """A stream has one name."""
        return "exact"
