"""What a manifest asks of its brokers that they cannot keep: found once the shapes of all of them are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from farm.manifest.document import Finding
from farm.manifest.keys import dotted
from farm.manifest.lines import KeyPath
from farm.spec import BrokerSpec, ComponentSpec, TriggerSpec
from farm.subject import compile_filter, has_wildcards

LOOP: Final = "its messages carry no headers, so nobody can count how often one has come round"


def check(brokers: dict[str, BrokerSpec], components: dict[str, ComponentSpec]) -> Iterator[Finding]:
    """Every trigger that its broker cannot serve."""
    for name, component in components.items():
        for index, trigger in enumerate(component.triggers):
            if (broker := brokers.get(trigger.broker)) is not None:
                yield from _check_trigger(("components", name, "triggers", index), trigger, broker)


def _check_trigger(path: KeyPath, trigger: TriggerSpec, broker: BrokerSpec) -> Iterator[Finding]:
    abilities, kind = broker.abilities, f"a broker of type {broker.type}"
    if trigger.queue is not None:
        if not abilities.queues:
            yield Finding((*path, "queue"), f"bad {dotted((*path, 'queue'))}", f"{kind} has no queues", "Write topic")
        elif not abilities.queue_wildcards and has_wildcards(trigger.topic, broker.grammar):
            here, todo = (*path, "queue", "topic"), "Write a queue for each subject"
            yield Finding(here, f"bad {dotted(here)}", f"{kind} has no wildcards in queues", todo)
    publish = trigger.publish
    if publish is None or publish.broker != trigger.broker or abilities.headers:
        return
    if compile_filter(trigger.topic, broker.grammar)(publish.subject):
        why = f"what it publishes comes back to it, and on {kind} {LOOP}"
        todo = "Publish to a subject that its topic does not match"
        yield Finding((*path, "publish", "subject"), f"{dotted(path)} feeds itself", why, todo)
