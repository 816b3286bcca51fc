"""What the manifest says, frozen: read once, inherited by every process of the family.

Units are part of the name; durations and sizes arrive here as numbers (`farm.manifest` reads "5s" and "128MiB").
A field with a `Key` is a key of farm.toml: its name there is the field's without the unit, and what the Key says is
what `farm config schema`, docs/manifest.md and an editor say. A field without one is filled in by farm.
A spec holds no secret, only where one is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from farm.errors import BadValue, Problem
from farm.subject import Grammar
from farm.units import Duration, Name, Size, Whole

BodyFormat = Literal["text", "binary", "json", "messagepack"]
Instances = Literal["reuse", "fresh"]
PayloadForm = Literal["text", "binary"]


@dataclass(frozen=True)
class Key:
    """A key of farm.toml, for people: what it means, an example in TOML, and what holds where there is no default."""

    doc: str
    example: str
    absent: str = ""


def key_of(field_name: str) -> str:
    """The key in farm.toml that fills a field: "memory_bytes" -> "memory"."""
    return field_name.removesuffix("_bytes").removesuffix("_s")


class Table:
    """A table of the manifest: how pydantic is to read it."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "alias_generator": key_of}


@dataclass(frozen=True)
class AppSpec(Table):
    """`[app]`."""

    name: Annotated[str, Name(), Key("What the farm is called in `farm status` and `ps`.", '"example"')]


@dataclass(frozen=True)
class GatewaySpec(Table):
    """`gateway = {..}` of a broker: its HTTP and WebSocket listener. port 0: one that is free."""

    port: Annotated[
        int, Whole(0, 65535), Key("TCP port of the listener; 0 takes a free one, shown by `farm status`.", "3005")
    ]
    bind: Annotated[str, Key("IP address the listener is bound to: a loopback address.", '"127.0.0.1"')] = "127.0.0.1"
    websockets: Annotated[
        BodyFormat | None,
        Key(
            'How a message looks on a WebSocket of `/subscribe/<pattern>`: "text" and "binary" are its payload alone, '
            '"json" and "messagepack" have its subject too.',
            '"text"',
            absent="no WebSockets",
        ),
    ] = None


@dataclass(frozen=True)
class Abilities:
    """What brokers of a type can keep; a setting that asks for more is refused when the manifest is read.

    headers: messages carry headers, and with them hops and trace context. replies: and a subject for the answer.
    queues: `queue = {topic, group}`; queue_wildcards: its topic may have wildcards. settles: a message is the
    server's until its outputs are confirmed, and comes again when farm dies. confirms: what is published is stored.
    """

    headers: bool = True
    replies: bool = True
    queues: bool = True
    queue_wildcards: bool = True
    settles: bool = False
    confirms: bool = False


@dataclass(frozen=True)
class Fault:
    """What is wrong with one table although each of its values is good. key: the one that is to blame, dotted."""

    key: str
    why: str
    todo: str = ""


@dataclass(frozen=True)
class Secret(Table):
    """Where a secret is: in a file or in an environment variable. Never the secret itself."""

    file: Annotated[
        Path | None,
        Key(
            "A file that holds it and nothing else (but for the end of its line), readable by nobody but farm's user.",
            '"/run/secrets/password"',
            absent="it is in a variable",
        ),
    ] = None
    env: Annotated[str | None, Key("A variable that holds it.", '"BROKER_PASSWORD"', absent="it is in a file")] = None

    def __post_init__(self) -> None:
        """Raises: BadValue: it is in two places, or in none."""
        if (self.file is None) == (not self.env):
            raise BadValue(Problem("a secret is in one place", todo='Write { file = ".." } or { env = ".." }'))


@dataclass(frozen=True)
class TlsSpec(Table):
    """`tls = {..}` of a broker: what farm believes and who it is. `{}`: TLS with the authorities of the system."""

    ca: Annotated[
        Path | None,
        Key("PEM file of the authorities to believe.", '"ca.pem"', absent="those of the system"),
    ] = None
    certificate: Annotated[
        Path | None, Key("PEM file of farm's own certificate.", '"farm.pem"', absent="farm shows none")
    ] = None
    key: Annotated[
        Path | None, Key("PEM file of the key of `certificate`.", '"farm.key"', absent="it is in the same file")
    ] = None


@dataclass(frozen=True)
class BrokerSpec(Table):
    """`[brokers.NAME]`: what every type of broker has. A type is a subclass, `kw_only` where it has required keys.

    libraries: modules that its code imports, imported before the first fork where a manifest has the type; none of
    them may start a thread or a loop.
    """

    libraries: ClassVar[tuple[str, ...]] = ()

    name: str
    type: Annotated[str, Key("What kind of broker this is.", '"memory"')]
    gateway: Annotated[
        GatewaySpec | None,
        Key("Publish and subscribe over HTTP and WebSockets.", "{ port = 3005 }", absent="no listener"),
    ] = None

    @property
    def abilities(self) -> Abilities:
        """What it can keep, with these settings."""
        return Abilities()

    @property
    def grammar(self) -> Grammar:
        """What wildcards mean in its topics."""
        return "nats"

    @property
    def at(self) -> str:
        """Where its server is, for people: no userinfo."""
        return ""

    @property
    def embedded(self) -> bool:
        """Whether farm runs the server itself, as one of its processes."""
        return False

    def takes(self, subject: str, topics: Sequence[str]) -> bool:
        """Whether it takes a message to `subject`, where triggers listen to `topics`. False only if that is certain."""
        return True

    def faults(self) -> Iterator[Fault]:
        """What is wrong between its settings."""
        yield from ()


@dataclass(frozen=True)
class ServerSpec(BrokerSpec):
    """A broker that is a server of its own, which may be away."""

    required: Annotated[
        bool,
        Key("Whether farm ends (exit code 69) when the server is not there at start; else it tries again.", "true"),
    ] = False


@dataclass(frozen=True)
class MemorySpec(BrokerSpec):
    """`[brokers.NAME]` with `type = "memory"`: lives in the ingest process."""

    type: Annotated[Literal["memory"], Key("What kind of broker this is.", '"memory"')] = "memory"
    wildcards: Annotated[
        Literal["reference", "nats"],
        Key(
            'What `*` means in a topic: "reference": any run of characters, dots included; "nats": one token, and `>` '
            "one or more at the end.",
            '"nats"',
        ),
    ] = "reference"

    @property
    def grammar(self) -> Grammar:
        """That of `wildcards`."""
        return self.wildcards


@dataclass(frozen=True)
class PublishSpec(Table):
    """`publish = {..}` of a trigger: where an output goes that names no place itself."""

    broker: Annotated[str, Key("Name of the broker.", '"secondary"', absent="the trigger's broker")]
    subject: Annotated[str, Key("The subject.", '"good.bye"')]


@dataclass(frozen=True)
class QueueSpec(Table):
    """`queue = {..}` of a trigger: of all that have the same topic and group, in any farm, one gets each message."""

    topic: Annotated[str, Key("Which subjects, in the broker's wildcards.", '"orders.*"')]
    group: Annotated[str, Name(), Key("Name of the group.", '"billing"')]


@dataclass(frozen=True)
class TriggerSpec(Table):
    """One entry of `triggers`: the component runs on what `broker` carries on subjects that match.

    The manifest has either `topic` or `queue`; here topic is that of a queue too.
    """

    broker: Annotated[str, Key("Name of the broker to listen to.", '"test"')]
    topic: Annotated[
        str,
        Key("Which subjects, in the broker's wildcards; every message comes.", '"hello.*"', absent="there is `queue`"),
    ] = ""
    publish: Annotated[
        PublishSpec | None,
        Key(
            "Where an output goes that names no place itself.",
            '{ broker = "secondary", subject = "good.bye" }',
            absent="each output must name its own",
        ),
    ] = None
    attempts: Annotated[
        int, Whole(1, 100), Key("How often a message is tried before it becomes a dead letter.", "3")
    ] = 5
    backoff_s: Annotated[
        tuple[Annotated[float, Duration("1ms", "1h")], ...],
        Key("How long to wait before each retry, give or take a fifth; the last one is used again.", '["200ms", "1s"]'),
    ] = (0.2, 1.0, 5.0, 25.0)
    queue: Annotated[
        QueueSpec | None,
        Key(
            "In place of `topic`: share messages with all triggers of this topic and group, in this farm and in "
            "others at the same server; each message comes once.",
            '{ topic = "orders.*", group = "billing" }',
            absent="there is `topic`",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Take the topic of the queue."""
        if self.queue is not None and not self.topic:
            object.__setattr__(self, "topic", self.queue.topic)

    @property
    def group(self) -> str:
        """The queue's; empty: every message of the topic comes."""
        return self.queue.group if self.queue is not None else ""


@dataclass(frozen=True)
class ComponentSpec(Table):
    """`[components.NAME]`.

    source is absolute. wasm is the component's file, also absolute: the source itself, or what a build made of it (None
    until it is built); digest is the sha256 of its bytes, in hex, empty until it was read.
    """

    name: str
    source: Annotated[
        Path,
        Key("The Python handler that farm builds, or a .wasm; relative to the manifest.", '"hello.py"'),
    ]
    triggers: Annotated[
        tuple[TriggerSpec, ...],
        Key("What the component runs on.", '[{ broker = "test", topic = "hello.*" }]'),
    ]
    build: Annotated[
        str | None,
        Key(
            "Shell command that makes the .wasm of `source`, run in the manifest's folder.",
            '"cargo build --release --target wasm32-wasip2"',
            absent="farm builds a .py itself, and takes a .wasm as it is",
        ),
    ] = None
    watch: Annotated[
        tuple[str, ...],
        Key("Globs of further files whose change means: build again; relative to the manifest.", '["src/**/*.rs"]'),
    ] = ()
    variables: Annotated[
        dict[str, str], Key("What the component reads with `variable()`.", '{ greeting = "Hello" }')
    ] = field(default_factory=dict)
    environment: Annotated[dict[str, str], Key("Environment variables of the component.", '{ LANG = "C.UTF-8" }')] = (
        field(default_factory=dict)
    )
    memory_bytes: Annotated[int, Size("1MiB", "4GiB"), Key("The most memory one instance may have.", '"256MiB"')] = (
        128 << 20
    )
    deadline_s: Annotated[
        float, Duration("10ms", "1h"), Key("The longest one call may take; then it is stopped and retried.", '"30s"')
    ] = 5.0
    concurrency: Annotated[
        int | None,
        Whole(1, 65536),
        Key("The most calls at once in the whole farm.", "4", absent="no limit of its own"),
    ] = None
    instances: Annotated[
        Instances,
        Key(
            '"reuse": an instance serves many messages, and state stays between them; "fresh": one for each message.',
            '"fresh"',
        ),
    ] = "reuse"
    payload: Annotated[
        PayloadForm,
        Key(
            'How the component is handed a payload: "text" is fastest for Python and C, "binary" (a list of bytes) for '
            "JavaScript. The bytes are the same.",
            '"binary"',
        ),
    ] = "text"
    wasm: Path | None = None
    digest: str = ""


@dataclass(frozen=True)
class FarmSpec:
    """The whole manifest. `path` is the real path of the file; the first broker is the one meant when none is named."""

    path: Path
    app: AppSpec
    brokers: dict[str, BrokerSpec]
    components: dict[str, ComponentSpec]
