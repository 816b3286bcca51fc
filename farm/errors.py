"""Every error farm raises, with the two answers a caller needs: may I try again, and whose fault was it.

    FarmError                        retry  fault   exit  code
    +- InputError                    no     input    2    usage
    |  +- InvalidSubject             no     input    2    invalid-subject
    |  +- PayloadTooLarge            no     input    2    payload-too-large
    |  +- UnknownBroker              no     input    2    unknown-broker
    |  +- BadValue                   no     input    2    bad-value          a duration without a unit
    |  +- BadComponent               no     guest   65    bad-component      text, core module, bad handler
    |  +- SourceMissing              no     input   66    source-missing     no manifest, no .wasm, no handler
    |  +- NotPermitted               no     input   77    not-permitted
    |  +- ManifestError              no     input   78    manifest           all problems of a manifest at once
    +- BrokerError                   yes    broker  69    broker
    |  +- BrokerUnavailable          yes    broker  69    broker-unavailable
    |  +- BrokerFull                 yes    broker  75    full
    +- NotRunning                    yes    input   69    not-running
    |  +- StillStarting              yes    input   75    still-starting
    +- PortTaken                     yes    input   69    port-taken
    +- AlreadyRunning                yes    input   75    already-running
    +- NoRoom                        yes    input   74    no-room            a disk or a quota that is full
    +- Unanswered                    yes    us      75    unanswered         a process of the farm is silent
    +- WireError                     no     us      70    wire               a frame that does not parse
    +- Internal                      no     us      70    internal

What a guest did wrong in a call is no exception but a value: `farm.invocation.Failed`.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

Fault = Literal["input", "guest", "broker", "us"]


def printable(text: str) -> str:
    """`text` with control characters escaped: what may reach a terminal or a log line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, said in the one format: `what (where): why. what to do`."""

    what: str
    where: str = ""
    why: str = ""
    todo: str = ""

    def __str__(self) -> str:
        line = self.what
        if self.where:
            line += f" ({self.where})"
        if self.why:
            line += f": {self.why}"
        if self.todo:
            line += f". {self.todo}"
        return printable(line)


class FarmError(Exception):
    """Base of all. `problems` holds one entry for each line that a person is shown."""

    retry: ClassVar[bool] = False
    fault: ClassVar[Fault] = "us"
    exit_code: ClassVar[int] = 70
    code: ClassVar[str] = "internal"

    def __init__(self, *problems: Problem | str) -> None:
        self.problems: Sequence[Problem] = tuple(p if isinstance(p, Problem) else Problem(p) for p in problems)
        super().__init__("; ".join(str(p) for p in self.problems))


class Internal(FarmError):
    """A fault of farm itself: something that its own code should have made impossible."""


class InputError(FarmError):
    """What was asked for cannot be done, however often it is asked."""

    fault, exit_code, code = "input", 2, "usage"


class InvalidSubject(InputError):
    """A subject or pattern that no broker may see."""

    code = "invalid-subject"


class PayloadTooLarge(InputError):
    """A payload above the limit in force."""

    code = "payload-too-large"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            Problem("payload too large", why=f"{size_bytes} bytes exceed the limit of {limit_bytes} bytes")
        )


class UnknownBroker(InputError):
    """A broker name that the running farm's manifest does not have."""

    code = "unknown-broker"


class BadValue(InputError, ValueError):
    """A duration without its unit, a number out of its range. Also a ValueError: what a validator may raise."""

    code = "bad-value"


class BadComponent(InputError):
    """A .wasm or a handler that cannot be run."""

    fault, exit_code, code = "guest", 65, "bad-component"


class SourceMissing(InputError):
    """A file that was named and is not there."""

    exit_code, code = 66, "source-missing"


class NotPermitted(InputError):
    """The operating system or another owner says no."""

    exit_code, code = 77, "not-permitted"


class ManifestError(InputError):
    """farm.toml does not say what farm can do; holds every problem, in the order of the file."""

    exit_code, code = 78, "manifest"


class BrokerError(FarmError):
    """The broker, not the message, is the reason."""

    retry, fault, exit_code, code = True, "broker", 69, "broker"


class BrokerUnavailable(BrokerError):
    """The broker did not answer; whether it took the message is unknown."""

    code = "broker-unavailable"


class BrokerFull(BrokerError):
    """The broker's queue is at its bound: nothing was taken."""

    exit_code, code = 75, "full"


class NotRunning(FarmError):
    """No farm runs for this manifest."""

    retry, fault, exit_code, code = True, "input", 69, "not-running"


class StillStarting(NotRunning):
    """A farm for this manifest builds and compiles its components, and listens to nobody yet."""

    exit_code, code = 75, "still-starting"


class PortTaken(FarmError):
    """An address a listener wants is in use."""

    retry, fault, exit_code, code = True, "input", 69, "port-taken"


class AlreadyRunning(FarmError):
    """A farm for this manifest holds the lock."""

    retry, fault, exit_code, code = True, "input", 75, "already-running"


class NoRoom(FarmError):
    """A disk or a quota is used up."""

    retry, fault, exit_code, code = True, "input", 74, "no-room"


class Unanswered(FarmError):
    """A process of the farm gave no answer within its time."""

    retry, exit_code, code = True, 75, "unanswered"


class WireError(FarmError):
    """A peer sent what the link does not carry: the peer is at fault, and is cut off."""

    code = "wire"


_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_REFUSED: Final = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
)


def refusal_of(error: OSError, where: str = "") -> FarmError | None:
    """What the operating system refuses a user, and why, if it is something of theirs that is to blame: a disk that is
    full, a file or a folder that is not ours to use. None: another kind of error.

    Args:
      where: the path, for an error that does not name one.
    """
    if error.errno not in (*_FULL, *_REFUSED):
        return None
    path = str(error.filename) if error.filename is not None else where
    return denied("no room" if error.errno in _FULL else "cannot use a file or a folder", path, error)


def denied(what: str, where: str, error: OSError, todo: str = "") -> FarmError:
    """What stands for an error of the system where farm needs a file or a folder: that of a full disk if it is full,
    else that it is not permitted.

    Args:
      todo: what to do about the second.
    """
    if error.errno in _FULL:
        return NoRoom(Problem(what, where, error.strerror or "", "Free some disk space"))
    return NotPermitted(Problem(what, where, error.strerror or str(error), todo))
