"""Which NATS servers, and what they are told of us at each connect."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farm.broker import Home
from farm.brokers.nats_identity import Identity, identity_of
from farm.brokers.nats_protocol import CRLF
from farm.brokers.options.nats import NatsServerSpec
from farm.spec import TlsSpec


@dataclass(frozen=True)
class Target:
    """Where to, and who we are.

    servers: asked at each connect: `host`, `host:port`, `nats://..` or `tls://..`; at: the same for people. identity:
    fields of CONNECT for the server's nonce, asked at each connect. Both may raise FarmError: tried again later.
    tls: None where only the server (or tls://) may ask for it. no_responders: whether the server is to say, where an
    answer was to go, that nobody listens.
    """

    servers: Callable[[], Sequence[str]]
    at: str
    name: str
    identity: Identity
    tls: TlsSpec | None = None
    tls_first: bool = False
    ping_interval_s: float = 10.0
    inbox_prefix: str = "_INBOX"
    no_responders: bool = True


def target_of(spec: NatsServerSpec, home: Home, *, no_responders: bool = True) -> Target:
    """The target that a manifest names."""
    return Target(
        servers=lambda: spec.servers,
        at=spec.at,
        name=spec.client_name or f"farm {home.app}",
        identity=identity_of(spec, home.secret),
        tls=spec.tls,
        tls_first=spec.tls_first,
        ping_interval_s=spec.ping_interval_s,
        inbox_prefix=spec.inbox_prefix,
        no_responders=no_responders,
    )


def connect_line(target: Target, info: Mapping[str, Any], secure: bool) -> bytes:
    """CONNECT. Raises FarmError: a secret is not there."""
    fields: dict[str, Any] = {
        "verbose": False,
        "pedantic": False,
        "tls_required": secure,
        "lang": "farm",
        "version": "1",
        "protocol": 1,
        "name": target.name,
        "headers": True,
        "no_responders": target.no_responders,
        **target.identity(str(info.get("nonce", ""))),
    }
    return b"CONNECT " + json.dumps(fields).encode() + CRLF
