"""The work link: ingest <-> workers.

    worker > ingest   Join(boot)            I am here, and I know which life of ingest I speak to
    ingest > worker   Invokes(boot, ..)     run these, in this order
    worker > ingest   Results(boot, ..)     these ended; these were revoked and not run
A ROUTER at ingest, a DEALER at each worker, known by the routing id the supervisor gave it. Several invocations travel
together when the queue is deep, one alone when it is not. What a worker has started is no message: it stands in its
slot of the pulse (a message would cost a quarter to a half of the throughput). `boot` is drawn by each life of ingest:
results meant for an earlier one are recognised and dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from farm.invocation import Finished, Invoke
from farm.wire import frames


class Join(msgspec.Struct, frozen=True, array_like=True, tag="join", gc=False):
    """A worker's first word to each life of ingest."""

    boot: int


class Results(msgspec.Struct, frozen=True, array_like=True, tag="results", gc=False):
    """Calls that ended, in the order they ended. `large`: outputs whose payload rides beside the struct.

    returned: (delivery, seq) of what was not run, because ingest had revoked it.
    """

    boot: int
    finished: list[Finished]
    large: list[tuple[int, int]] = []
    returned: list[tuple[int, int]] = []


class Invokes(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Calls to make, in this order. `large`: invocations whose payload rides beside the struct."""

    boot: int
    invokes: list[Invoke]
    large: list[int] = []


_FROM_WORKER: Final = msgspec.msgpack.Decoder(Join | Results)
_FROM_INGEST: Final = msgspec.msgpack.Decoder(Invokes)


def join(boot: int) -> list[bytes]:
    """The frames of a Join."""
    return [frames.ENCODER.encode(Join(boot))]


def invokes(boot: int, batch: list[Invoke]) -> list[bytes]:
    """The frames of a batch of calls to make."""
    packed, places, bodies = frames.lift_payloads(batch)
    return [frames.ENCODER.encode(Invokes(boot, packed, places)), *bodies]


def results(boot: int, batch: list[Finished], returned: Sequence[tuple[int, int]] = ()) -> list[bytes]:
    """The frames of a batch of calls that ended, and of calls that were not made."""
    packed, places, bodies = frames.lift_outputs(batch)
    return [frames.ENCODER.encode(Results(boot, packed, places, list(returned))), *bodies]


def from_worker(message: list[bytes]) -> Join | Results:
    """What a worker said.

    Raises: WireError: no such word.
    """
    word = frames.decode(_FROM_WORKER, message[0] if message else b"")
    if isinstance(word, Results) and (word.large or len(message) > 1):
        frames.drop_outputs(word.finished, word.large, message[1:])
    return word


def from_ingest(message: list[bytes]) -> Invokes:
    """What ingest said.

    Raises: WireError: no such word.
    """
    word = frames.decode(_FROM_INGEST, message[0] if message else b"")
    if word.large or len(message) > 1:
        frames.drop_payloads(word.invokes, word.large, message[1:])
    return word
