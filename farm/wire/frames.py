"""How structs become frames: packed MessagePack arrays, large bodies beside them.

    [ packed struct ]  [ body ]  [ body ] ..
What costs on a ZeroMQ link is the number of frames (1.2-1.5 us each), not the encoding (0.2-0.3 us a message): small
bodies ride inside the struct. A body over LARGE_BYTES is cheaper in a frame of its own; the struct then carries an
empty body and names the place.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

import msgspec

from farm.errors import WireError
from farm.invocation import Finished, Invoke, Output

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LARGE_BYTES: Final = 32 << 10

ENCODER: Final = msgspec.msgpack.Encoder()


class Decoder(Protocol[T_co]):
    """One of msgspec's."""

    def decode(self, buf: bytes, /) -> T_co:
        """What `buf` holds."""
        ...


def decode(decoder: Decoder[T], frame: bytes, what: str = "a frame") -> T:
    """One frame as what `decoder` expects.

    Args:
      what: it is called in the error.
    Raises: WireError: it is something else.
    """
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # the last: nested too deep to be read
        raise WireError(f"{what} that does not parse: {error}") from error


def lift_payloads(invokes: list[Invoke]) -> tuple[list[Invoke], list[int], list[bytes]]:
    """Take large payloads out of a batch: the batch to pack, the positions taken from, the bodies in that order."""
    places = [i for i, invoke in enumerate(invokes) if len(invoke.payload) > LARGE_BYTES]
    if not places:
        return invokes, [], []
    bodies = [invokes[i].payload for i in places]
    packed = list(invokes)
    for i in places:
        packed[i] = msgspec.structs.replace(invokes[i], payload=b"")
    return packed, places, bodies


def drop_payloads(invokes: list[Invoke], places: list[int], bodies: list[bytes]) -> list[Invoke]:
    """Put large payloads back where `lift_payloads` took them from.

    Raises: WireError: places and bodies do not fit the batch.
    """
    if len(places) != len(bodies) or any(not 0 <= i < len(invokes) for i in places):
        raise WireError("the bodies beside a batch do not fit it")
    for i, body in zip(places, bodies, strict=True):
        invokes[i] = msgspec.structs.replace(invokes[i], payload=body)
    return invokes


def lift_outputs(finished: list[Finished]) -> tuple[list[Finished], list[tuple[int, int]], list[bytes]]:
    """As `lift_payloads`, for what calls answered: places are (which call, which output)."""
    places = [
        (i, j) for i, one in enumerate(finished) for j, out in enumerate(one.outputs) if len(out.payload) > LARGE_BYTES
    ]
    if not places:
        return finished, [], []
    bodies = [finished[i].outputs[j].payload for i, j in places]
    packed = list(finished)
    for i, j in places:
        outputs = list(packed[i].outputs)
        outputs[j] = msgspec.structs.replace(outputs[j], payload=b"")
        packed[i] = msgspec.structs.replace(packed[i], outputs=outputs)
    return packed, places, bodies


def drop_outputs(finished: list[Finished], places: list[tuple[int, int]], bodies: list[bytes]) -> list[Finished]:
    """Put large outputs back where `lift_outputs` took them from.

    Raises: WireError: places and bodies do not fit the batch.
    """
    fits = all(0 <= i < len(finished) and 0 <= j < len(finished[i].outputs) for i, j in places)
    if len(places) != len(bodies) or not fits:
        raise WireError("the bodies beside a batch do not fit it")
    for (i, j), body in zip(places, bodies, strict=True):
        outputs: list[Output] = finished[i].outputs
        outputs[j] = msgspec.structs.replace(outputs[j], payload=body)
    return finished
