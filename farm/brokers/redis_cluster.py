"""Which servers a cluster has, and which slots each: asked of one that answers, of all that were heard of.

At first that of the URL alone is known; once it has answered any other will do.
Source: Redis documentation, "CLUSTER SLOTS".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, cast

from farm.brokers.redis_life import SLOTS, told
from farm.brokers.redis_link import Address, Link, LinkFault, ServerFault, together

KNOWN_LIMIT: Final = 256

OpenOne = Callable[[Address], Awaitable[Link]]  # Raises: LinkFault
Ranges = list[tuple[int, int]]  # first slot of each, and the number of its owner


class Cluster:
    """Its nodes, as far as they are known."""

    def __init__(self, first: Address) -> None:
        self._first: Final = first
        self._nodes = [first]  # the next to be asked in front

    async def find(self, open_one: OpenOne) -> tuple[Ranges, list[Address]]:
        """First slot and owner of each range, ascending, and the owners.

        Raises: LinkFault: no node answers, or some slots have no owner; FarmError.
        """
        faults: list[tuple[Address, str]] = []
        for _ in range(len(self._nodes)):
            address = self._nodes.pop(0)
            self._nodes.append(address)  # it may be wrong: another is asked the next time
            try:
                return self._read(await self._ask(open_one, address), address)
            except LinkFault as fault:
                faults.append((address, str(fault)))
            except ServerFault as fault:
                alone = "cluster support disabled" in fault.text
                faults.append(
                    (address, "it is no node of a cluster: leave out cluster = true" if alone else told(fault))
                )
        raise LinkFault(faults[0][1] if self._nodes == [self._first] else together(faults))

    async def _ask(self, open_one: OpenOne, address: Address) -> object:
        link = await open_one(address)
        try:
            return await link.ask("CLUSTER", "SLOTS")
        finally:
            await link.close()

    def _read(self, said: object, asked: Address) -> tuple[Ranges, list[Address]]:
        owners: list[Address] = []
        ranges: Ranges = []
        heard = [self._first]
        free = 0
        for first, last, *nodes in sorted(cast("list[list[object]]", said), key=lambda part: cast("int", part[0])):
            known = [_address(node, asked) for node in nodes]
            heard += [each for each in known if each not in heard]
            if known[0] not in owners:
                owners.append(known[0])
            if first != free:
                break
            ranges.append((free, owners.index(known[0])))
            free = cast("int", last) + 1
        if free != SLOTS:
            raise LinkFault("the cluster is not whole: some slots are served by nobody")
        current = [each for each in heard if each != asked] + [asked]
        away = [each for each in self._nodes if each not in current]  # a cluster does not name those that have failed
        self._nodes = (current + away)[:KNOWN_LIMIT]
        return ranges, owners


def _address(node: object, asked: Address) -> Address:
    """Where a node is; one that does not know its own host is where we have asked."""
    host, port, *_ = cast("tuple[bytes | None, int]", node)
    return Address(host.decode() if host else asked.host, port)
