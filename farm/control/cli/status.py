"""`farm status`: what runs and what happened, once or live."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from farm.control.cli.options import App, rundir_of
from farm.control.cli.overview import Overview, look
from farm.errors import NotRunning, Unanswered, printable
from farm.rundir import Rundir

REFRESH_S: Final = 1.0
NOT_READY: Final = 1

Json = Annotated[bool, typer.Option("--json", help="One JSON object, for programs; with --watch one a line.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Look again each second, with rates, until Ctrl-C.")]


def status(as_json: Json = False, watch: Watch = False, app: App = None) -> int:
    """Show what runs and what happened.

    Exit code 0 when the farm is ready, 1 in any other state, 69 when none runs, 75 when it gives no answer.

    \b
    Examples:
      farm status
      farm status --watch
      farm status --json | jq .components.hello.handled
    """
    rundir = rundir_of(app)
    if watch:
        try:
            _watch_json(rundir) if as_json else _watch(rundir)
        except KeyboardInterrupt:  # the way out of a screen is no failure
            return 0
    overview = look(rundir)
    if as_json:
        print(to_json(overview))
    else:
        from farm.control.cli import screen

        screen.console().print(screen.draw(overview, {}))
        if any(component.get("dead_lettered") for component in (overview.components or {}).values()):
            print(f"\n{where_letters_are(overview, rundir.dead_letters)}")
    return exit_code(overview)


def to_json(overview: Overview) -> str:
    """One line."""
    return msgspec.json.encode(overview).decode()


def exit_code(overview: Overview) -> int:
    """0 when all is well."""
    return 0 if overview.state == "ready" else NOT_READY


def where_letters_are(overview: Overview, file: Path) -> str:
    """Where the dead letters of a farm that has some are: its file has those of brokers that store nothing."""
    stores = [
        f"{'farm:dlq' if broker['type'] == 'redis-streams' else 'farm.dlq.<subject>'} of {printable(name)}"
        for name, broker in (overview.brokers or {}).items()
        if broker["keeps_letters"]
    ]
    places = [str(file), *stores] if file.exists() or not stores else stores
    return f"dead letters are kept in {' or '.join(places)}"


def _watch_json(rundir: Rundir) -> None:
    """Until the farm has gone."""
    while True:
        print(to_json(look(rundir)), flush=True)
        time.sleep(REFRESH_S)


def _watch(rundir: Rundir) -> None:
    """A farm that goes away may come back: it is waited for."""
    from rich.live import Live
    from rich.text import Text

    from farm.control.cli import screen

    look(rundir)  # with no farm at all there is nothing to watch
    before: screen.Moment | None = None
    console = screen.console()
    while not console.is_terminal:
        console.print(screen.draw(look(rundir), {}), Text())
        time.sleep(REFRESH_S)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                now = screen.Moment(look(rundir), time.monotonic())
                live.update(screen.draw(now.overview, screen.rates(before, now)), refresh=True)
                before = now
            except (NotRunning, Unanswered) as error:
                before = None
                live.update(Text(str(error), style="yellow"), refresh=True)
            time.sleep(REFRESH_S)
