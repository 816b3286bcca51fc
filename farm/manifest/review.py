"""What a manifest may say, and most likely was not meant to: the warnings of `farm check`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from farm.errors import Problem
from farm.manifest.read import Manifest
from farm.spec import FarmSpec, TriggerSpec
from farm.subject import WILDCARDS, compile_filter

HOPS: Final = 16  # after so many outputs of outputs ingest ends a message
ANY_WILDCARD: Final = "*?>#+"  # of one broker or another


def review(manifest: Manifest) -> list[Problem]:
    """The warnings about a manifest, each in the format of an error. The farm runs all the same."""
    return [*_circles(manifest), *_twice(manifest), *_idle(manifest), *_lost(manifest), *_literal(manifest)]


@dataclass(frozen=True)
class _Trigger:
    key: str
    spec: TriggerSpec


def _triggers(spec: FarmSpec) -> list[_Trigger]:
    return [
        _Trigger(f"components.{name}.triggers[{index}]", trigger)
        for name, component in spec.components.items()
        for index, trigger in enumerate(component.triggers)
    ]


def _circles(manifest: Manifest) -> Iterator[Problem]:
    triggers = _triggers(manifest.spec)
    feeds = {each.key: [other.key for other in triggers if _feeds(manifest.spec, each, other)] for each in triggers}
    told: set[str] = set()
    for each in triggers:
        circle = _way_back(each.key, feeds)
        if not circle or told.intersection(circle):
            continue
        told.update(circle)
        publish = each.spec.publish
        way = "" if len(circle) == 1 else f" by way of {', '.join(circle[1:])}"
        yield Problem(
            f"{each.key} feeds itself",
            where=manifest.sources[f"{each.key}.topic" if each.spec.queue is None else f"{each.key}.queue.topic"],
            why=f'what it publishes to "{publish.subject if publish else ""}" comes back to it{way}; '
            f"farm ends such a message after {HOPS} hops",
            todo="Publish to a subject that its topic does not match",
        )


def _feeds(spec: FarmSpec, giver: _Trigger, taker: _Trigger) -> bool:
    publish = giver.spec.publish
    if publish is None or publish.broker != taker.spec.broker:
        return False
    return compile_filter(taker.spec.topic, spec.brokers[publish.broker].grammar)(publish.subject)


def _way_back(start: str, feeds: dict[str, list[str]]) -> list[str]:
    """The shortest circle that begins at `start`, without its end; empty when there is none."""
    ways = [[start]]
    seen: set[str] = set()
    for way in ways:
        for following in feeds[way[-1]]:
            if following == start:
                return way
            if following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return []


def _twice(manifest: Manifest) -> Iterator[Problem]:
    for name, component in manifest.spec.components.items():
        seen: dict[tuple[str, str, str], int] = {}
        for index, trigger in enumerate(component.triggers):
            first = seen.setdefault((trigger.broker, trigger.topic, trigger.group), index)
            if first != index and not trigger.group:
                key = f"components.{name}.triggers[{index}]"
                yield Problem(
                    f"{key} is triggers[{first}] once more",
                    where=manifest.sources[f"{key}.topic"],
                    why=f"{name} runs twice on each message",
                    todo="Remove one",
                )


def _idle(manifest: Manifest) -> Iterator[Problem]:
    spec = manifest.spec
    used = {each.spec.broker for each in _triggers(spec)}
    used |= {each.spec.publish.broker for each in _triggers(spec) if each.spec.publish is not None}
    for name, broker in spec.brokers.items():
        if name not in used and broker.gateway is None:
            why = "it has no gateway, and no trigger listens or publishes there"
            yield Problem(f"broker {name} is not used", manifest.sources[f"brokers.{name}.type"], why)
    for name, component in spec.components.items():
        if not component.triggers:
            where = manifest.sources[f"components.{name}.triggers"]
            yield Problem(f"component {name} never runs", where, "it has no triggers")


def _lost(manifest: Manifest) -> Iterator[Problem]:
    triggers = _triggers(manifest.spec)
    for each in triggers:
        publish = each.spec.publish
        if publish is None:
            continue
        topics = [other.spec.topic for other in triggers if other.spec.broker == publish.broker]
        if not manifest.spec.brokers[publish.broker].takes(publish.subject, topics):
            yield Problem(
                f"{each.key} publishes to no stream",
                where=manifest.sources[f"{each.key}.publish.subject"],
                why=f'nothing of {publish.broker} takes in "{publish.subject}": each message will be a dead letter',
                todo=f"Add it to `subjects` of {publish.broker}, beside what triggers listen to",
            )


def _literal(manifest: Manifest) -> Iterator[Problem]:
    """Topics with another broker's wildcards in them."""
    for each in _triggers(manifest.spec):
        broker = manifest.spec.brokers[each.spec.broker]
        known = WILDCARDS[broker.grammar]
        foreign = [c for c in ANY_WILDCARD if c in each.spec.topic and c not in known]
        if not foreign or "\\" in each.spec.topic:
            continue
        key = f"{each.key}.topic" if each.spec.queue is None else f"{each.key}.queue.topic"
        todo = f"Write {' or '.join(c for c in known if c in ANY_WILDCARD)}"
        if broker.type == "memory" and foreign == [">"]:
            todo += ', or give the broker wildcards = "nats"'
        yield Problem(
            f"{key} has a wildcard of another broker",
            where=manifest.sources[key],
            why=f'{" and ".join(foreign)} in "{each.spec.topic}" stands for itself on {broker.name}',
            todo=todo,
        )
