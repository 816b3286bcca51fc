"""What the manifest says, frozen: read once, inherited by every process of the family.

Units are part of the name; durations and sizes arrive here as numbers (`farm.manifest` reads "5s" and "128MiB").
A field with a `Key` is a key of farm.toml: its name there is the field's without the unit, and what the Key says is
what `farm config schema`, docs/manifest.md and an editor say. A field without one is filled in by farm.
A spec holds no secret, only where one is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

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

    name: Annotated[str, Name(), Key("What the farm is called in `farm status`, logs and metrics.", '"example"')]


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
class MemorySpec(Table):
    """`[brokers.NAME]` with `type = "memory"`: lives in the ingest process."""

    name: str
    type: Annotated[Literal["memory"], Key("What kind of broker this is.", '"memory"')] = "memory"
    gateway: Annotated[
        GatewaySpec | None,
        Key("Publish and subscribe over HTTP and WebSockets.", "{ port = 3005 }", absent="no listener"),
    ] = None
    wildcards: Annotated[
        Grammar,
        Key(
            'What `*` means in a topic: "reference": any run of characters, dots included; "nats": one token, and `>` '
            "one or more at the end.",
            '"nats"',
        ),
    ] = "reference"


BrokerSpec = MemorySpec


@dataclass(frozen=True)
class PublishSpec(Table):
    """`publish = {..}` of a trigger: where an output goes that names no place itself."""

    broker: Annotated[str, Key("Name of the broker.", '"secondary"', absent="the trigger's broker")]
    subject: Annotated[str, Key("The subject.", '"good.bye"')]


@dataclass(frozen=True)
class TriggerSpec(Table):
    """One entry of `triggers`: the component runs on what `broker` carries on subjects that match `topic`."""

    broker: Annotated[str, Key("Name of the broker to listen to.", '"test"')]
    topic: Annotated[str, Key("Which subjects, in the broker's wildcards.", '"hello.*"')]
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
