from __future__ import annotations

from pathlib import Path

import pytest

from farm.control.explain import Place, difference, explain
from farm.spec import AppSpec, ComponentSpec, FarmSpec, MemorySpec, PublishSpec, QueueSpec, TriggerSpec
from farm.subject import Grammar


def component(name: str, *triggers: TriggerSpec) -> ComponentSpec:
    return ComponentSpec(name, Path(f"/{name}.wasm"), triggers)


SPEC = FarmSpec(
    Path("/farm.toml"),
    AppSpec("app"),
    {"test": MemorySpec("test"), "secondary": MemorySpec("secondary")},
    {
        one.name: one
        for one in (
            component("hello", TriggerSpec("test", "hello.*", PublishSpec("secondary", "good.bye"))),
            component("bye", TriggerSpec("secondary", "good.*")),
            component("shared", TriggerSpec("test", queue=QueueSpec("hello.world", "workers"))),
        )
    },
)


def test_every_trigger_of_the_broker_is_explained_and_says_where_its_outputs_go() -> None:
    hello, shared = explain(SPEC, "test", "hello.Ada")
    assert (hello.component, hello.matches) == ("hello", True)
    assert hello.outputs == Place("secondary", "good.bye", ("bye",))
    assert (shared.component, shared.matches, shared.outputs) == ("shared", False, None)
    assert shared.differs == "token 2 is 'Ada', not 'world'"


@pytest.mark.parametrize(
    ("grammar", "pattern", "subject", "differs"),
    [
        ("nats", "a.*.c", "a.b.c", ""),
        ("nats", "a.*.c", "a.b.d", "token 3 is 'd', not 'c'"),
        ("nats", "a.*.c", "a.b", "it ends before token 3, 'c'"),
        ("nats", "a.*", "a.b.c", "it goes on after token 2, with 'c'"),
        ("nats", "a.>", "a", "it ends before token 2, '>'"),
        ("nats", ">", "farm.dlq.a", "no wildcard reaches into a reserved namespace"),
        ("mqtt", "a.#", "b", "token 1 is 'b', not 'a'"),
        ("reference", "a.*", "b.c", "token 1 is 'b', not 'a'"),
        ("reference", "a.*.z", "a.b.c", "nothing fits from token 2 on, '*'"),
        ("reference", "*", "farm.x", "nothing fits from token 1 on, '*'"),
        ("redis", "a.[bc]", "a.d", "nothing fits from token 2 on, '[bc]'"),
        ("exact", "a.b", "a.b.c", "it goes on after token 2, with 'c'"),
    ],
)
def test_the_first_token_that_differs_is_named(grammar: Grammar, pattern: str, subject: str, differs: str) -> None:
    assert difference(pattern, subject, grammar) == differs
