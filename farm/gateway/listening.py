"""Where the gateways listen: all addresses are bound, or every one that cannot be is named.

`farm up` looks before it builds anything; the gateway binds for good. Knows nothing of HTTP.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Mapping
from typing import Final

from farm.errors import FarmError, ManifestError, NotPermitted, PortTaken, Problem
from farm.spec import FarmSpec

BACKLOG: Final = 1024
SEND_BUFFER_BYTES: Final = 128 << 10  # of a connection, in the kernel: else it takes 4 MB for one that never reads


def look(spec: FarmSpec) -> None:
    """Find out now whether all gateways of a manifest can listen. Raises as `bind_all`."""
    for at in bind_all(spec, {}).values():
        at.close()


def bind_all(spec: FarmSpec, before: Mapping[str, str]) -> dict[str, socket.socket]:
    """A listening socket for each gateway of a manifest, by the broker's name.

    Args:
      before: the addresses of the life before, in which a port 0 has become one that is kept.
    Raises: PortTaken, NotPermitted, ManifestError: what is wrong with any of them, all of it at once.
    """
    bound: dict[str, socket.socket] = {}
    problems: list[Problem] = []
    kind: type[FarmError] = PortTaken
    for name, broker in spec.brokers.items():
        gateway = broker.gateway
        if gateway is None:
            continue
        where = f"brokers.{name}.gateway"
        if not ipaddress.ip_address(gateway.bind).is_loopback:
            # The manifest has refused this already; here it is what stands between the network and an open door.
            kind = ManifestError
            problems.append(Problem(f"bind {gateway.bind}", where=where, why="not a loopback address"))
            continue
        port = gateway.port or int(before.get(name, ":0").rpartition(":")[2])
        try:
            bound[name] = _bind(gateway.bind, port)
        except OSError as error:
            kind = NotPermitted if error.errno == errno.EACCES else kind
            problems.append(_problem_of(error, where, f"{host_of(gateway.bind)}:{port}"))
    if problems:
        for at in bound.values():
            at.close()
        raise kind(*problems)
    return bound


def host_of(address: str) -> str:
    """An address as it stands before a port."""
    return f"[{address}]" if ":" in address else address


def _bind(address: str, port: int) -> socket.socket:
    at = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        at.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        at.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # inherited by what it accepts
        at.bind((address, port))
        at.listen(BACKLOG)
        at.setblocking(False)
    except BaseException:
        at.close()
        raise
    return at


def _problem_of(error: OSError, where: str, address: str) -> Problem:
    port = address.rpartition(":")[2]
    if error.errno == errno.EADDRINUSE:
        return Problem(
            f"port {port} is taken",
            where=where,
            why=f"another program listens on {address}",
            todo="Stop it, or set another port (0 takes one that is free)",
        )
    if error.errno == errno.EACCES:
        return Problem(
            f"port {port} is not ours to take", where=where, why=error.strerror or "", todo="Set one over 1023"
        )
    return Problem(f"cannot listen on {address}", where=where, why=error.strerror or "")
