"""`farm publish` and `farm subscribe`: messages into a running farm, and out of it."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Annotated, Final

import typer
from msgspec import structs

from farm import subject as subjects
from farm.client.blocking import Farm, Missed, Subscription
from farm.client.bulk import Receipt, Tally
from farm.client.failures import error_of
from farm.control.cli.options import App, rundir_of
from farm.control.cli.pipe import reader_has_gone
from farm.control.cli.source import Lines, opened, whole
from farm.errors import (
    BrokerFull,
    BrokerUnavailable,
    FarmError,
    InputError,
    PayloadTooLarge,
    Problem,
    Unanswered,
    printable,
)
from farm.log import silence
from farm.message import PASSED_NAMES, PASSED_PREFIXES, PAYLOAD_LIMIT_BYTES, header_fault, passed
from farm.units import format_duration, parse_duration
from farm.wire.relay import HeardMessage, Publish

FULL: Final = 75
LOOK_S: Final = 0.5

Progress = Callable[[Tally], None]

Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="Where to, as hello.world.")]
Payload = Annotated[str | None, typer.Argument(metavar="PAYLOAD", help='The message; "" for an empty one.')]
BrokerName = Annotated[
    str | None, typer.Option("--broker", metavar="NAME", help="Default: the first of the running farm's manifest.")
]
Header = Annotated[
    list[str] | None,
    typer.Option("--header", "-H", metavar="NAME:VALUE", help="A header of the message; may be given again."),
]
WithHeaders = Annotated[bool, typer.Option("--headers", help="Print each message's headers before its payload.")]
File = Annotated[
    str | None,
    typer.Option("--file", "-f", metavar="FILE|-", help="Publish each line as a message; - reads standard input."),
]
Whole = Annotated[bool, typer.Option("--whole", help="With --file: all of it is one message.")]
Timeout = Annotated[
    str,
    typer.Option("--timeout", metavar="TIME", help="Give up when nothing was accepted for so long, as 500ms or 2m."),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for a full farm: count what it refuses.")]
Pattern = Annotated[str, typer.Argument(metavar="PATTERN", help="Which subjects, as 'hello.*'.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a message, for programs.")]
Count = Annotated[int | None, typer.Option("--count", "-n", metavar="N", min=1, help="End after so many messages.")]


def publish(
    subject: Subject,
    payload: Payload = None,
    broker: BrokerName = None,
    header: Header = None,
    file: File = None,
    as_one: Whole = False,
    timeout: Timeout = "30s",
    no_wait: NoWait = False,
    app: App = None,
) -> int:
    """Publish a message, or a file of them.

    A full farm is waited for, and a broker that is away. Exit code 75 when it stayed full, when --no-wait was told
    "full", or while a farm still builds; 69 when none runs, or the broker stayed away; 66 when there is no such file;
    77 when the broker's server does not permit it; 2 for what can never be published.

    \b
    Examples:
      farm publish hello.world Ada
      farm publish hello.world --file names.txt
      tail -f log | farm publish log.line --file -
      farm publish photos.new --file photo.jpg --whole
      farm publish orders.new '{"id": 7}' -H 'content-type: application/json'
    """
    patience_s = parse_duration(timeout)
    subjects.validate(subject)
    if (payload is None) == (file is None):
        raise InputError(Problem("nothing to publish" if file is None else "two things to publish", todo=_HOW))
    headers = tuple(_header(each) for each in header or ())
    if why := header_fault(headers):
        raise InputError(Problem("headers that may not travel", why=why))
    if as_one and file is None:
        raise InputError(Problem("--whole without --file", todo=_HOW))
    with opened(file) if file is not None else nullcontext(-1) as fd, Farm.connect(rundir_of(app)) as farm:
        run = _Run(farm, Publish(subject, b"", broker, headers), patience_s, not no_wait)
        if file is None or as_one:
            return run.one(whole(fd) if file is not None else _argument(payload or ""))
        return run.many(Lines(fd), fd)


_HOW: Final = 'Give the message as an argument ("" for an empty one), or a file with --file'


class _Run:
    """One `farm publish`."""

    def __init__(self, farm: Farm, like: Publish, patience_s: float, wait: bool) -> None:
        """
        Args:
          like: what is published, but for its payload.
        """
        self._farm = farm
        self._like = like
        self._subject = like.subject
        self._patience_s = patience_s
        self._wait = wait

    def one(self, payload: bytes) -> int:
        """Publish one message, and say what became of it."""
        tally = self._publish(iter([structs.replace(self._like, payload=payload)]), None)
        if tally.last is None:
            raise self._failure(tally)
        print(said(tally.last, self._subject))
        return 0

    def many(self, lines: Lines, fd: int) -> int:
        """Publish each line, and say how many were accepted."""
        items = (None if line is None else structs.replace(self._like, payload=line) for line in lines)
        reached = Tally()

        def note(tally: Tally) -> None:
            nonlocal reached
            reached = tally
            if progress is not None:
                progress(tally)

        try:
            with _bar(lines, fd) as progress:
                tally = self._publish(items, note)
        except KeyboardInterrupt:
            print(", ".join(self._summary(reached)))
            raise
        print(", ".join(self._summary(tally)))
        if lines.fault is not None:
            raise lines.fault
        if tally.left or tally.refused:
            raise self._failure(tally)
        return 0

    def _publish(self, items: Iterator[Publish | None], progress: Progress | None) -> Tally:
        return self._farm.publish_many(items, self._patience_s, self._wait, progress)

    def _summary(self, tally: Tally) -> list[str]:
        found = [f"{tally.accepted} accepted"]
        if tally.refused:
            found.append(f"{tally.refused} refused")
        if tally.unmatched:
            nearest = tally.last.nearest if tally.last is not None else None
            hint = f"; nearest: {nearest}" if nearest else ""
            found.append(f"no trigger or listener matches {self._subject} for {tally.unmatched} of them{hint}")
        return found

    def _failure(self, tally: Tally) -> FarmError:
        refusal = tally.refusal
        text = refusal.text if refusal is not None else "the farm gave no answer"
        if not tally.left:
            code = refusal.code if refusal is not None else "internal"
            return error_of(code, text)
        kind = next((each for each in _NOT_NOW if refusal is not None and refusal.code == each.code), Unanswered)
        waited = format_duration(self._patience_s)
        what = f"gave up after {waited}{' without progress' if tally.accepted else ''}"
        return kind(Problem(what, why=text, todo="Try again, or wait longer with --timeout"))


_NOT_NOW: Final = (BrokerFull, BrokerUnavailable)


def said(receipt: Receipt, subject: str) -> str:
    """What a person is told of a publish."""
    broker = receipt.broker if receipt.sequence is None else f"{receipt.broker} as {receipt.sequence}"
    if receipt.triggers or receipt.listeners:
        matched = f"{_count(receipt.triggers, 'trigger')} and {_count(receipt.listeners, 'listener')} match"
        return printable(f"{receipt.id} accepted by {broker}: {matched} {subject}")
    hint = f"; nearest: {receipt.nearest}" if receipt.nearest else ""
    if receipt.sequence is not None or receipt.receivers:  # others may have it
        return printable(
            f"{receipt.id} accepted by {broker}: no trigger or listener of this farm matches {subject}{hint}"
        )
    return printable(f"{receipt.id} accepted, but no trigger or listener matches {subject}{hint}")


def subscribe(
    pattern: Pattern,
    broker: BrokerName = None,
    headers: WithHeaders = False,
    as_json: Json = False,
    count: Count = None,
    app: App = None,
) -> int:
    """Print the messages of a subject as they come: subject, a space, payload; Ctrl-C ends it.

    Says "subscribed" on stderr once it hears, and why its broker is down if it is. Control characters are printed as
    escapes. Exit code 0 when it was ended, 69 when no farm runs, 75 while one still builds.

    \b
    Examples:
      farm subscribe 'good.*' --broker secondary
      farm subscribe '*' --json --count 10 | jq .payload
    """
    try:
        with Farm.connect(rundir_of(app)) as farm, farm.subscribe(pattern, broker) as heard:
            print(f"subscribed{_but(farm, heard.broker)}", file=sys.stderr, flush=True)
            form = partial(json_line, broker=heard.broker) if as_json else partial(line, headers=headers)
            _print_all(heard, form, count)
    except KeyboardInterrupt:
        pass  # the way out of something that has no end is no failure
    except BrokenPipeError:
        silence(1)  # `| head` has seen enough; else the interpreter would complain as it ends
    return 0


def _but(farm: Farm, broker: str) -> str:
    """What keeps messages away although the farm listens: why its broker is down."""
    try:
        found = farm.status()["brokers"].get(broker, {})
    except Unanswered:  # a busy ingest: what it hears comes all the same
        return ""
    fault = found.get("fault")
    return printable(f", but broker {broker!r} is {found.get('state')}: {fault}") if fault else ""


def _print_all(heard: Subscription, form: Callable[[HeardMessage], str], count: int | None) -> None:
    printed = 0
    while count is None or printed < count:
        word = heard.next(0)
        if word is None:
            sys.stdout.flush()
            if reader_has_gone():
                return
            word = heard.next(LOOK_S)
        if isinstance(word, Missed):
            sys.stdout.flush()
            print(_gap_line(word), file=sys.stderr, flush=True)
        elif word is not None:
            printed += 1
            print(form(word))
    sys.stdout.flush()


def line(message: HeardMessage, headers: bool = False) -> str:
    """A message for a person, on one line; nothing in it reaches the terminal raw."""
    shown = "".join(f"[{name}: {value}] " for name, value in message.headers) if headers else ""
    return printable(f"{message.subject} {shown}{message.payload.decode(errors='backslashreplace')}")


def json_line(message: HeardMessage, broker: str) -> str:
    """A message for a program: `payload`, or `payload_base64` for what is not UTF-8."""
    shown: dict[str, object] = {"id": message.id, "broker": broker, "subject": message.subject}
    try:
        shown["payload"] = message.payload.decode()
    except UnicodeDecodeError:
        shown["payload_base64"] = base64.b64encode(message.payload).decode()
    shown["headers"] = _joined(message.headers)
    shown["reply_to"] = message.reply_to
    return json.dumps(shown)


def _joined(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    header = (name.strip().lower(), value.strip())
    if not colon:
        raise InputError(Problem(f"bad header {text!r}", why="no colon in it", todo="Write it like 'x-order: 7'"))
    if not passed((header,)):
        why = f"only {', '.join(sorted(PASSED_NAMES))} and what begins with {' or '.join(PASSED_PREFIXES)} is carried"
        raise InputError(Problem(f"header {printable(header[0])!r} may not travel", why=why))
    return header


def _gap_line(missed: Missed) -> str:
    if missed.count:
        return f"gap: {_count(missed.count, 'message')} came too fast and are missing here"
    return "gap: the farm restarted; messages may be missing here"


def _argument(payload: str) -> bytes:
    data = os.fsencode(payload)  # what the shell gave, to the byte
    if len(data) > PAYLOAD_LIMIT_BYTES:
        raise PayloadTooLarge(len(data), PAYLOAD_LIMIT_BYTES)
    return data


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@contextmanager
def _bar(lines: Lines, fd: int) -> Generator[Progress | None]:
    """A progress bar, on a terminal alone; rich is not loaded for anything else."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich import progress
    from rich.console import Console

    size = os.fstat(fd).st_size or None
    columns = (
        progress.TextColumn("publishing"),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[accepted]} accepted"),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("publishing", total=size, accepted=0)
        yield lambda tally: bar.update(shown, completed=lines.read_bytes, accepted=tally.accepted)
