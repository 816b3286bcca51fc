from __future__ import annotations

from typing import Any

import pytest

from farm.broker import Broker
from farm.ingest.outputs import NOWHERE, Placed, loops, place
from farm.invocation import Failed, Output
from farm.message import Message
from farm.spec import PublishSpec
from tests.ingest.pieces import ScriptedBroker, record_of, trigger_of

BROKERS: dict[str, Broker] = {name: ScriptedBroker(name) for name in ("in", "out", "other")}
PUBLISH = PublishSpec("out", "default")


def placed(*outputs: Output, publish: PublishSpec | None = PUBLISH, **message: Any) -> Placed | Failed:
    return place(record_of(outputs, trigger=trigger_of(publish=publish), **message), BROKERS)


def where(*outputs: Output, publish: PublishSpec | None = PUBLISH, **message: Any) -> list[tuple[str, str]]:
    said = placed(*outputs, publish=publish, **message)
    assert not isinstance(said, Failed), said
    return [(broker.name, one.subject) for broker, one in said]


def why(*outputs: Output, publish: PublishSpec | None = PUBLISH, **message: Any) -> str:
    said = placed(*outputs, publish=publish, **message)
    assert isinstance(said, Failed), said
    assert said.kind == "output"
    return said.text


@pytest.mark.parametrize(
    ("output", "reply_to", "publish", "expected"),
    [
        (Output(b""), None, PUBLISH, ("out", "default")),
        (Output(b"", subject="own"), None, PUBLISH, ("out", "own")),
        (Output(b"", broker="other"), None, PUBLISH, ("other", "default")),
        (Output(b"", subject="own", broker="other"), "re.ply", PUBLISH, ("other", "own")),
        (Output(b""), "re.ply", PUBLISH, ("in", "re.ply")),
        (Output(b"", subject="re.ply"), "re.ply", PUBLISH, ("in", "re.ply")),
        (Output(b"", subject="own"), "re.ply", PUBLISH, ("out", "own")),
        (Output(b"", subject="own"), None, None, ("in", "own")),
        (Output(b"", broker="other"), "re.ply", None, ("other", "re.ply")),
    ],
)
def test_an_output_goes_where_the_rules_say(
    output: Output, reply_to: str | None, publish: PublishSpec | None, expected: tuple[str, str]
) -> None:
    assert where(output, publish=publish, reply_to=reply_to) == [expected]


def test_an_output_with_no_place_at_all_fails_the_call() -> None:
    assert why(Output(b""), publish=None) == NOWHERE == "nowhere to publish: give the trigger `publish = {..}`"


def test_a_broker_that_is_not_there_fails_the_call_and_is_named_with_those_that_are() -> None:
    text = why(Output(b"", broker="othr"))
    assert text == "no broker 'othr', there is 'in', 'other', 'out'; did you mean 'other'?"


@pytest.mark.parametrize("subject", ["a..b", "a.*", "farm.dlq.x", "$JS.API.STREAM.DELETE.x", "_INBOX.x", "x" * 257])
def test_a_subject_that_no_broker_may_see_fails_the_call(subject: str) -> None:
    assert "invalid subject" in why(Output(b"", subject=subject))
    assert "invalid subject" in why(Output(b"", reply_to=subject))


def test_one_bad_output_fails_all_of_them() -> None:
    assert why(Output(b"good"), Output(b"bad", subject="a..b"))


def test_outputs_know_where_they_come_from() -> None:
    said = placed(Output(b"1"), Output(b"2", reply_to="back"), id="parent", hops=3, cause="grandparent")
    assert not isinstance(said, Failed)
    assert [message for _, message in said] == [
        Message("parent:c:0", "default", b"1", (), None, "parent", 4),
        Message("parent:c:1", "default", b"2", (), "back", "parent", 4),
    ]


def test_only_headers_that_may_pass_do() -> None:
    headers = (("Content-Type", "text/plain"), ("Nats-Rollup", "all"), ("Farm-Id", "mine"), ("X-Own", "1"))
    said = placed(Output(b"", headers=headers))
    assert not isinstance(said, Failed)
    assert said[0][1].headers == (("content-type", "text/plain"), ("x-own", "1"))


@pytest.mark.parametrize(
    "headers", [tuple((f"x-{n}", "") for n in range(33)), (("x-a", "v" * 8192),), (("x-a", "é" * 4096),)]
)
def test_too_many_headers_fail_the_call(headers: tuple[tuple[str, str], ...]) -> None:
    assert "exceed the limit" in why(Output(b"", headers=headers))


@pytest.mark.parametrize("header", [("x-a", "1\r\nNats-Rollup: all"), ("x-a\r\n", ""), ("x-a b", "")])
def test_a_header_that_no_protocol_carries_fails_the_call(header: tuple[str, str]) -> None:
    text = why(Output(b"good"), Output(b"", headers=(header,)))
    assert "header 'x-a" in text
    assert text.isprintable()


@pytest.mark.parametrize(
    "outputs",
    [[Output(b"")] * 1025, [Output(bytes(1 << 20))] * 3, [Output(bytes((1 << 20) + 1))], [Output(bytes(3 << 20))]],
)
def test_too_much_output_fails_the_call(outputs: list[Output]) -> None:
    assert "the limit of" in why(*outputs)


def test_the_most_that_is_allowed_passes() -> None:
    assert len(where(*[Output(b"")] * 1024)) == 1024
    assert len(where(*[Output(bytes(1 << 20))] * 2)) == 2


def test_what_has_passed_sixteen_components_is_a_loop() -> None:
    assert where(Output(b""), hops=15)
    assert "a loop" in why(Output(b""), hops=16)
    assert loops(record_of(hops=16))
    assert not loops(record_of(hops=15))
