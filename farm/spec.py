"""What the manifest says, frozen: read once, inherited by every process of the family.

Units are part of the name; durations and sizes arrive here as numbers (`farm.manifest` reads "5s" and "128MiB").
A spec holds no secret, only where one is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from farm.subject import Grammar

BodyFormat = Literal["text", "binary", "json", "messagepack"]
Instances = Literal["reuse", "fresh"]
PayloadForm = Literal["text", "binary"]


@dataclass(frozen=True)
class AppSpec:
    """`[app]`."""

    name: str


@dataclass(frozen=True)
class GatewaySpec:
    """`gateway = {..}` of a broker: its HTTP and WebSocket listener. port 0: one that is free."""

    port: int
    bind: str = "127.0.0.1"
    websockets: BodyFormat | None = None


@dataclass(frozen=True)
class MemorySpec:
    """`[brokers.NAME]` with `type = "memory"`: lives in the ingest process."""

    name: str
    type: Literal["memory"] = "memory"
    gateway: GatewaySpec | None = None
    wildcards: Grammar = "reference"


BrokerSpec = MemorySpec


@dataclass(frozen=True)
class PublishSpec:
    """`publish = {..}` of a trigger: where an output goes that names no place itself."""

    broker: str
    subject: str


@dataclass(frozen=True)
class TriggerSpec:
    """One entry of `triggers`: the component runs on what `broker` carries on subjects that match `topic`."""

    broker: str
    topic: str
    publish: PublishSpec | None = None
    attempts: int = 5
    backoff_s: tuple[float, ...] = (0.2, 1.0, 5.0, 25.0)


@dataclass(frozen=True)
class ComponentSpec:
    """`[components.NAME]`.

    source is absolute. wasm is the component's file, also absolute: the source itself, or what a build made of it (None
    until it is built); digest is the sha256 of its bytes, in hex, empty until it was read.
    """

    name: str
    source: Path
    triggers: tuple[TriggerSpec, ...]
    build: str | None = None
    watch: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    memory_bytes: int = 128 << 20
    deadline_s: float = 5.0
    concurrency: int | None = None
    instances: Instances = "reuse"
    payload: PayloadForm = "text"
    wasm: Path | None = None
    digest: str = ""


@dataclass(frozen=True)
class FarmSpec:
    """The whole manifest. `path` is the real path of the file; the first broker is the one meant when none is named."""

    path: Path
    app: AppSpec
    brokers: dict[str, BrokerSpec]
    components: dict[str, ComponentSpec]
