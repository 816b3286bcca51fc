"""`[brokers.NAME]` with `type = "redis"` and `type = "redis-streams"`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from farm.spec import Abilities, Fault, Key, Secret, ServerSpec, TlsSpec
from farm.subject import Grammar
from farm.units import Duration, Url, address_of

SCHEMES = ("redis", "rediss", "unix")


@dataclass(frozen=True, kw_only=True)
class RedisServerSpec(ServerSpec):
    """Where a Redis is, and who farm is to it."""

    libraries: ClassVar = ("redis.asyncio",)

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

    @property
    def at(self) -> str:
        """The URL without userinfo."""
        return address_of(self.url)

    def faults(self) -> Iterator[Fault]:
        """What is wrong between the keys."""
        if bool(self.sentinels) != (self.sentinel_master is not None):
            yield Fault("sentinels", "sentinels and sentinel_master need each other")
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

    @property
    def abilities(self) -> Abilities:
        """Everything; entries are found by their exact topic."""
        return Abilities(queue_wildcards=False, settles=True, confirms=True)

    @property
    def grammar(self) -> Grammar:
        """A stream has one name."""
        return "exact"
