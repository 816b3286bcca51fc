"""`[brokers.NAME]` with `type = "nats"` and `type = "jetstream"`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from farm.errors import InvalidSubject
from farm.spec import Abilities, Fault, Key, Secret, ServerSpec, TlsSpec
from farm.subject import compile_filter, validate_filter
from farm.units import Duration, Name, Url, Whole, address_of

SERVER = Url(("nats", "tls"), bare=True)


@dataclass(frozen=True, kw_only=True)
class NatsServerSpec(ServerSpec):
    """Where NATS is, and who farm is to it."""

    libraries: ClassVar = ("asyncio", "ssl")

    servers: Annotated[
        tuple[Annotated[str, SERVER], ...],
        Key("The servers, any of which will do; no passwords.", '["nats://localhost:4222"]'),
    ] = ()
    client_name: Annotated[
        str | None, Key("What the server calls this connection.", '"shop"', absent="farm and the app's name")
    ] = None
    user: Annotated[str | None, Key("User name.", '"farm"', absent="there is none")] = None
    password: Annotated[
        Secret | None, Key("Where the password of `user` is.", '{ env = "NATS_PASSWORD" }', absent="there is none")
    ] = None
    token: Annotated[Secret | None, Key("Where the token is.", '{ env = "NATS_TOKEN" }', absent="there is none")] = None
    nkey: Annotated[
        Secret | None, Key("Where the seed of the NKey is.", '{ file = "farm.nk" }', absent="there is none")
    ] = None
    jwt: Annotated[
        Secret | None,
        Key("Where the JWT of the user is, whose seed is `nkey`.", '{ file = "farm.jwt" }', absent="there is none"),
    ] = None
    credentials: Annotated[
        Secret | None,
        Key(
            "Where the credentials (JWT and seed, as `nsc` writes them) are.", '{ file = "farm.creds" }', absent="none"
        ),
    ] = None
    tls: Annotated[
        TlsSpec | None, Key("Use TLS, with these certificates.", '{ ca = "ca.pem" }', absent="as the server asks")
    ] = None
    tls_first: Annotated[
        bool, Key("Whether TLS begins before the server's first word, as its `handshake_first` asks.", "true")
    ] = False
    inbox_prefix: Annotated[
        str,
        Key(
            "What the subjects that farm waits for answers on begin with, where its user may use no other.",
            '"_INBOX_farm"',
        ),
    ] = "_INBOX"
    ping_interval_s: Annotated[
        float, Duration("1s", "10m"), Key("How often the server is asked whether it is there.", '"20s"')
    ] = 10.0

    @property
    def at(self) -> str:
        """The servers without userinfo."""
        return ", ".join(address_of(server) for server in self.servers)

    def faults(self) -> Iterator[Fault]:
        """What is wrong between the keys."""
        if not self.servers:
            yield Fault("servers", "there are none", 'Write servers = ["nats://localhost:4222"]')
        if any("@" in server for server in self.servers):
            yield Fault("servers", "a user in it", "Leave it out, and write user and password, or token")
        try:
            validate_filter(self.inbox_prefix, "exact")
        except InvalidSubject as error:
            yield Fault("inbox_prefix", f"no subject can begin so: {error.problems[0].why}")
        if self.tls_first and self.tls is None:
            yield Fault("tls_first", "there is no TLS", "Write tls = {}")
        yield from self._auth_faults()

    def _auth_faults(self) -> Iterator[Fault]:
        ways = [key for key in ("user", "token", "nkey", "credentials") if getattr(self, key) is not None]
        if len(ways) > 1:
            yield Fault(ways[1], f"farm can be only one: {' or '.join(ways)}")
        if (self.user is None) != (self.password is None):
            yield Fault("user" if self.password is None else "password", "user and password need each other")
        if self.jwt is not None and self.nkey is None:
            yield Fault("jwt", "a JWT needs the seed of its user", 'Write nkey = { file = ".." }')


@dataclass(frozen=True, kw_only=True)
class NatsSpec(NatsServerSpec):
    """`[brokers.NAME]` with `type = "nats"`: subjects and queue groups; what nobody hears is gone."""

    type: Annotated[Literal["nats"], Key("What kind of broker this is.", '"nats"')]


@dataclass(frozen=True, kw_only=True)
class JetStreamSpec(NatsServerSpec):
    """`[brokers.NAME]` with `type = "jetstream"`: a stream of a NATS server, nothing lost."""

    type: Annotated[Literal["jetstream"], Key("What kind of broker this is.", '"jetstream"')]
    server: Annotated[
        Literal["embedded"] | None,
        Key(
            '"embedded": farm starts a server of its own, which keeps what it has in the state directory.',
            '"embedded"',
            absent="those of `servers`",
        ),
    ] = None
    stream: Annotated[
        str | None,
        Name(),
        Key("The stream. One that is there is used as it is; else it is made.", '"ORDERS"', absent="the app's name"),
    ] = None
    subjects: Annotated[
        tuple[str, ...],
        Key("What a stream that farm makes takes in.", '["orders.>"]', absent="what the triggers listen to"),
    ] = ()
    retention: Annotated[
        Literal["interest", "limits"],
        Key(
            'What a stream that farm makes keeps: "interest": a message until every trigger that it is for has handled '
            'it; "limits": every message, for good.',
            '"limits"',
        ),
    ] = "interest"
    replicas: Annotated[int, Whole(1, 5), Key("How many servers keep a stream that farm makes.", "3")] = 1
    deliver: Annotated[
        Literal["all", "new"],
        Key(
            'What a trigger that the server does not know yet begins with: "all": what is in the stream already; '
            '"new": what comes from then on.',
            '"new"',
        ),
    ] = "all"
    ack_wait_s: Annotated[
        float,
        Duration("1s", "1h"),
        Key(
            "How long the server waits before it gives a message to another; farm asks for more while it works.", '"1m"'
        ),
    ] = 30.0

    @property
    def abilities(self) -> Abilities:
        """Everything."""
        return Abilities(settles=True, confirms=True)

    @property
    def at(self) -> str:
        """The servers, or that it is ours."""
        return "embedded" if self.embedded else super().at

    @property
    def embedded(self) -> bool:
        """Whether the server is ours."""
        return self.server is not None

    def takes(self, subject: str, topics: Sequence[str]) -> bool:
        """On our own server there are no streams but ours."""
        return not self.embedded or any(compile_filter(each, "nats")(subject) for each in self.subjects or topics)

    def faults(self) -> Iterator[Fault]:
        """What is wrong between the keys."""
        for subject in self.subjects:
            try:
                validate_filter(subject, self.grammar)
            except InvalidSubject as error:
                yield Fault("subjects", f"{subject!r} is no filter of NATS: {error.problems[0].why}")
        if not self.embedded:
            for fault in super().faults():
                yield fault if self.servers else replace(fault, todo=f'{fault.todo}, or server = "embedded"')
            return
        if self.replicas > 1:
            yield Fault("replicas", "the embedded server is one", "Remove it")
        for key in ("servers", "user", "password", "token", "nkey", "jwt", "credentials", "tls"):
            if getattr(self, key):
                yield Fault(key, "the embedded server needs none", "Remove it")
