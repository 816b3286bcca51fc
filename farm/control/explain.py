"""Why a message goes where it goes: what the manifest makes of a subject. Pure, no farm needs to run.

explain(spec, "test", "hello.world")  ->  for each trigger: does it match, else where it first differs; its outputs
"""

from __future__ import annotations

from dataclasses import dataclass

from farm.spec import FarmSpec, PublishSpec, TriggerSpec
from farm.subject import WILDCARDS, Grammar, compile_filter


@dataclass(frozen=True)
class Place:
    """Where outputs go that name no place themselves, and what runs on them there: components, by name."""

    broker: str
    subject: str
    components: tuple[str, ...]


@dataclass(frozen=True)
class Explained:
    """One trigger, looked at with one subject. differs: why it does not match; empty: it does."""

    component: str
    trigger: TriggerSpec
    differs: str
    outputs: Place | None

    @property
    def matches(self) -> bool:
        """Whether the component runs on the subject."""
        return not self.differs


def explain(spec: FarmSpec, broker: str, subject: str) -> list[Explained]:
    """Every trigger of a broker, in the manifest's order."""
    grammar = spec.brokers[broker].grammar
    return [
        Explained(
            component.name,
            trigger,
            difference(trigger.topic, subject, grammar),
            _place(spec, trigger.publish) if trigger.publish is not None else None,
        )
        for component in spec.components.values()
        for trigger in component.triggers
        if trigger.broker == broker
    ]


def difference(pattern: str, subject: str, grammar: Grammar) -> str:
    """Why a filter does not match a subject: the first token that differs; empty when it matches."""
    if compile_filter(pattern, grammar)(subject):
        return ""
    wanted, given = pattern.split("."), subject.split(".")
    spans = grammar in ("reference", "redis")  # a wildcard may stand for dots as well
    for number, token in enumerate(wanted, 1):
        wild = any(c in token for c in WILDCARDS[grammar])
        if wild and spans:
            return f"nothing fits from token {number} on, {token!r}"
        if number > len(given):
            return f"it ends before token {number}, {token!r}"
        if not wild and token != given[number - 1]:
            return f"token {number} is {given[number - 1]!r}, not {token!r}"
    if len(given) > len(wanted) and not _has_rest(wanted[-1], grammar):
        return f"it goes on after token {len(wanted)}, with {given[len(wanted)]!r}"
    return "no wildcard reaches into a reserved namespace"


def _has_rest(token: str, grammar: Grammar) -> bool:
    """Whether a filter's last token stands for all that follows."""
    return (grammar == "nats" and token == ">") or (grammar == "mqtt" and token in ("#", ">"))


def _place(spec: FarmSpec, publish: PublishSpec) -> Place:
    return Place(publish.broker, publish.subject, components_on(spec, publish.broker, publish.subject))


def components_on(spec: FarmSpec, broker: str, subject: str) -> tuple[str, ...]:
    """The components that run on a subject of a broker, by name."""
    grammar = spec.brokers[broker].grammar
    return tuple(
        component.name
        for component in spec.components.values()
        if any(t.broker == broker and compile_filter(t.topic, grammar)(subject) for t in component.triggers)
    )
