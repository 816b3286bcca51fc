"""The screen of `farm status`: what a person looks for first stands first; only what is wrong has a strong colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from farm.control.cli.overview import Half, Overview
from farm.errors import printable
from farm.wire.admin import ProcessStatus

STYLES: Final = {
    "ready": "green",
    "up": "green",
    "starting": "yellow",
    "connecting": "yellow",
    "draining": "yellow",
    "restarting": "red",
    "degraded": "bold red",
    "down": "bold red",
}
ERROR_CHARACTERS: Final = 300
Rates = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Moment:
    """An overview and when it was taken, in monotonic seconds."""

    overview: Overview
    at_s: float


def rates(before: Moment | None, now: Moment) -> Rates:
    """Messages a second between two looks: (kind, name) -> received by a broker, handled by a component."""
    if before is None or before.overview.pid != now.overview.pid:
        return {}
    seconds = max(now.at_s - before.at_s, 1e-3)
    found: dict[tuple[str, str], float] = {}
    for kind, key, earlier, later in (
        ("broker", "received", before.overview.brokers, now.overview.brokers),
        ("component", "handled", before.overview.components, now.overview.components),
    ):
        for name in (earlier or {}).keys() & (later or {}).keys():
            assert earlier is not None
            assert later is not None
            # A new life of ingest counts from zero again.
            found[kind, name] = max(0, later[name].get(key, 0) - earlier[name].get(key, 0)) / seconds
    return found


def draw(overview: Overview, speeds: Rates) -> RenderableType:
    """The whole screen; `speeds` is empty when nobody watches."""
    if not overview.processes:
        return Group(_head(overview), Text("it builds and compiles its components", style="yellow"))
    parts: list[RenderableType] = [_head(overview), Text(), _processes(overview.processes), Text()]
    if overview.brokers is None or overview.components is None:
        return Group(*parts, Text("ingest gave no answer: brokers and components are unknown", style="red"))
    parts += [_brokers(overview.brokers, speeds), *_faults(overview.brokers)]
    if overview.components:
        parts += [Text(), _components(overview.components, speeds), *_troubles(overview.components)]
    return Group(*parts)


def console() -> Console:
    """Where to draw: without a terminal wide enough that no number is cut."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=max(found.width, 120))


def _head(overview: Overview) -> Text:
    style = STYLES.get(overview.state, "")
    up = f"up {duration(overview.uptime_s)}  " if overview.processes else ""  # what still builds is not up
    return Text.assemble(
        (printable(overview.app), "bold"),
        "  ",
        (overview.state, f"bold {style}"),
        (f"  {up}pid {overview.pid}", "dim"),
    )


def _table(title: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    """A table whose first column gives way when the screen is narrow, and whose numbers never do."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(title, style="bold", overflow="ellipsis")
    for head in texts:
        table.add_column(head, no_wrap=True, overflow="ellipsis")
    for head in numbers:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _processes(processes: Sequence[ProcessStatus]) -> Table:
    """One line for each, and one for all workers of the same state that follow each other."""
    table = _table(
        "PROCESSES", ("state", "restarts", "pid", *(("",) if any(one.note for one in processes) else ())), ()
    )
    for (role, state, note), group in groupby(processes, lambda one: (one.role, one.state, one.note)):
        members = list(group)
        first, last = members[0], members[-1]
        name = role if role != "worker" else f"worker {_span(first.index, last.index)}"
        restarts = sum(one.restarts for one in members)
        table.add_row(
            name,
            _state_word(state),
            Text(f"{restarts:,}", style="yellow" if restarts else "dim"),
            Text(_pids([one.pid for one in members]), style="dim"),
            *((Text(printable(note), style="dim"),) if note else ()),
        )
    return table


@dataclass(frozen=True)
class Column:
    """A counter. always: shown even when it is 0 everywhere; style: of a number that is not 0."""

    key: str
    head: str
    always: bool = True
    style: str = ""


OF_BROKERS: Final = (
    Column("received", "received"),
    Column("published", "published"),
    Column("waiting", "waiting", always=False),
    Column("unmatched", "unmatched", always=False),
    Column("refused", "refused", always=False, style="yellow"),
    Column("gaps", "gaps", always=False, style="yellow"),
    Column("dropped", "dropped", always=False, style="red"),
)
OF_COMPONENTS: Final = (
    Column("received", "received"),
    Column("handled", "handled", style="green"),
    Column("failed", "failed", style="red"),
    Column("retried", "retried", always=False, style="yellow"),
    Column("dead_lettered", "dead", always=False, style="red"),
    Column("in_flight", "running"),
    Column("waiting", "waiting"),
)


def _brokers(brokers: Half, speeds: Rates) -> Table:
    columns, speed = _shown(OF_BROKERS, brokers), ("in/s",) if speeds else ()
    table = _table("BROKERS", ("type", "state", "gateway"), (*speed, *(column.head for column in columns)))
    for name, broker in brokers.items():
        table.add_row(
            printable(name),
            Text(printable(str(broker.get("type", ""))), style="dim"),
            _state_word(str(broker.get("state", ""))),
            Text(str(broker.get("gateway") or "-"), style="" if broker.get("gateway") else "dim"),
            *(_speed(speeds.get(("broker", name))) for _ in speed),
            *(_count(broker.get(column.key), column.style) for column in columns),
        )
    return table


def _components(components: Half, speeds: Rates) -> Table:
    columns, speed = _shown(OF_COMPONENTS, components), ("out/s",) if speeds else ()
    table = _table("COMPONENTS", (), (*speed, *(column.head for column in columns)))
    for name, component in components.items():
        table.add_row(
            printable(name),
            *(_speed(speeds.get(("component", name))) for _ in speed),
            *(_count(component.get(column.key), column.style) for column in columns),
        )
    return table


def _shown(columns: Sequence[Column], rows: Half) -> list[Column]:
    return [column for column in columns if column.always or any(row.get(column.key) for row in rows.values())]


def _state_word(state: str) -> Text:
    return Text(printable(state), style=STYLES.get(state, ""))


def _faults(brokers: Half) -> list[RenderableType]:
    """Why each broker that is not up is not."""
    found: list[RenderableType] = []
    for name, broker in brokers.items():
        if fault := broker.get("fault"):
            found += [Text(), _trouble(name, f"{broker.get('state', '')}: {fault}", "")]
    return found


def _troubles(components: Half) -> list[RenderableType]:
    """What is wrong with any component, each in its own paragraph."""
    found: list[RenderableType] = []
    for name, component in components.items():
        aside, paused, error = component.get("set_aside"), component.get("paused"), component.get("last_error")
        if aside is not None:
            found += [Text(), _trouble(name, f"set aside: it keeps killing workers; tried again in {aside:g} s", "")]
        if paused:
            found += [Text(), _trouble(name, f"paused: {paused}", "")]
        if error:
            found += [Text(), _last_error(name, error)]
    return found


def _last_error(name: str, error: Mapping[str, Any]) -> Text:
    text = str(error.get("text", ""))
    shown = text if len(text) <= ERROR_CHARACTERS else f"{text[:ERROR_CHARACTERS]}..."
    about = f"message {error.get('message_id', '')}{_when(error.get('at'))}"
    return _trouble(name, f"last error, {error.get('kind', '')}: {shown}", about)


def _trouble(name: str, what: str, about: str) -> Text:
    text = Text.assemble((printable(name), "bold"), "  ", (printable(what), "red"))
    return text.append(f"\n  {printable(about)}", style="dim") if about else text


def _when(at: object) -> str:
    if not isinstance(at, str):
        return ""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return ""
    ago_s = (datetime.now(UTC) - moment).total_seconds() if moment.tzinfo else 0.0
    return f", {duration(max(0.0, ago_s))} ago"


def duration(seconds: float) -> str:
    """For a person: "4s", "3m 12s", "2h 5m", "3d 4h"."""
    whole = int(seconds)
    for unit, size, below, small in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // small}{below}"
    return f"{whole}s"


def _count(value: object, style: str = "") -> Text:
    number = value if isinstance(value, int) else 0
    return Text(short(number), style=style if number else "dim")


def short(number: int) -> str:
    """At most 7 characters, so that seven counters fit on 80: 999,999 then 1.23M; `--json` has them exactly."""
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if number >= size:
            whole = number / size
            return f"{whole:.2f}{letter}" if whole < 100 else f"{whole:.0f}{letter}"
    return f"{number:,}"


def _speed(value: float | None) -> Text:
    if not value:
        return Text("0", style="dim")
    return Text(f"{value:,.0f}" if value >= 10 else f"{value:.1f}", style="cyan")


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _pids(pids: Iterable[int | None]) -> str:
    known = [pid for pid in pids if pid is not None]
    if not known:
        return "-"
    return str(known[0]) if len(known) == 1 else f"{known[0]} .. {known[-1]}"
