"""`farm explain`: what runs on a subject, what does not and why, and where outputs go."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from difflib import get_close_matches
from typing import Annotated

import typer

from farm import subject as subjects
from farm.control.cli.options import App, manifest_path
from farm.control.explain import Explained, Place, components_on
from farm.control.explain import explain as explained
from farm.errors import Problem, UnknownBroker, printable
from farm.manifest.read import read
from farm.spec import FarmSpec


def explain(
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="As it is published, like hello.world.")],
    broker: Annotated[
        str | None, typer.Option("--broker", metavar="NAME", help="Default: the first of the manifest.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, for programs.")] = False,
    app: App = None,
) -> None:
    """Show what runs on a subject, what does not and why, and where outputs go.

    Reads the manifest; no farm needs to run. Exit code 0, also where nothing runs on it; 2 for a broker that is none.

    \b
    Examples:
      farm explain hello.world
      farm explain orders.new --broker secondary
    """
    subjects.validate(subject)
    spec = read(manifest_path(app), os.environ).spec
    name = broker or next(iter(spec.brokers))
    if name not in spec.brokers:
        raise _unknown(name, spec)
    found = explained(spec, name, subject)
    if as_json:
        print(_as_json(subject, name, found))
        return
    for line in _lines(spec, name, found, subject):
        print(printable(line))


def _unknown(name: str, spec: FarmSpec) -> UnknownBroker:
    near = get_close_matches(name, list(spec.brokers), n=1)
    todo = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(spec.brokers)}"
    return UnknownBroker(Problem(f"no broker {name!r}", where=str(spec.path), todo=todo))


def _lines(spec: FarmSpec, broker: str, found: list[Explained], subject: str) -> list[str]:
    kind = spec.brokers[broker]
    lines = [f'{subject} on {broker} (type "{kind.type}", wildcards "{kind.grammar}")']
    width = max((len(one.component) for one in found), default=0)
    topics = max((len(_topic(one)) for one in found), default=0)
    for one in sorted(found, key=lambda one: not one.matches):
        verdict = f"runs; {_shown(one.outputs)}" if one.matches else f"does not run: {one.differs}"
        lines.append(f"  {one.component:{width}}  {_topic(one):{topics}}  {verdict}")
    if not found:
        lines.append("  no trigger on this broker")
    elif not any(one.matches for one in found):
        near = subjects.nearest(subject, [one.trigger.topic for one in found])
        lines.append(f"  nothing runs on it{f'; nearest: {near}' if near else ''}")
    elsewhere = {other: components_on(spec, other, subject) for other in spec.brokers if other != broker}
    return lines + [f"  on {other} it would run {', '.join(names)}" for other, names in elsewhere.items() if names]


def _topic(one: Explained) -> str:
    group = one.trigger.group
    return f"{one.trigger.topic} (queue {group})" if group else one.trigger.topic


def _shown(place: Place | None) -> str:
    if place is None:
        return "each output says where it goes, or answers the message's reply subject"
    runs = f" ({', '.join(place.components)} runs on it)" if place.components else ""
    return f"outputs go to {place.subject} on {place.broker}{runs}, unless they say otherwise"


def _as_json(subject: str, broker: str, found: list[Explained]) -> str:
    triggers = [
        {
            "component": one.component,
            "topic": one.trigger.topic,
            "group": one.trigger.group or None,
            "matches": one.matches,
            "differs": one.differs or None,
            "outputs": None if one.outputs is None else asdict(one.outputs),
        }
        for one in found
    ]
    return json.dumps({"subject": subject, "broker": broker, "triggers": triggers})
