from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from farm.broker import Broker
from farm.ingest.outputs import NOWHERE, Placed, loops, place
from farm.ingest.process import triggers_of
from farm.ingest.table import Trigger
from farm.invocation import Failed, Output
from farm.message import Message
from farm.spec import AppSpec, ComponentSpec, FarmSpec, PublishSpec, TriggerSpec
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


def test_what_is_too_large_names_the_broker_it_is_too_large_for() -> None:
    text = why(Output(bytes((1 << 20) + 1), broker="other"))
    assert text == "broker 'other': payload too large: 1048577 bytes exceed the limit of 1048576 bytes"


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


def test_an_inbox_is_open_to_the_answer_to_its_own_message_and_to_nothing_else() -> None:
    assert where(Output(b""), reply_to="_INBOX.x.1") == [("in", "_INBOX.x.1")]
    assert where(Output(b"", subject="_INBOX.x.1"), reply_to="_INBOX.x.1") == [("in", "_INBOX.x.1")]
    assert where(Output(b"", reply_to="_INBOX.x.1", subject="on", broker="in"), reply_to="_INBOX.x.1") == [("in", "on")]
    assert "reserved" in why(Output(b"", subject="_INBOX.x.2"), reply_to="_INBOX.x.1")
    assert "reserved" in why(Output(b"", broker="out"), reply_to="_INBOX.x.1")
    assert "reserved" in why(Output(b"", reply_to="_INBOX.x.1", subject="on"), reply_to="_INBOX.x.1")
    assert "reserved" in why(Output(b""), reply_to="$JS.API.STREAM.DELETE.x")
    assert "reserved" in why(Output(b"", subject="_INBOX.x.1"))


def test_an_output_of_a_source_with_an_id_has_one_that_tells_it_from_other_answers() -> None:
    def dedups(*outputs: Output, source_id: str = "S:7", attempts: int = 1, durable: str = "d") -> list[str]:
        trigger = Trigger(0, "c", TriggerSpec("in", "t", PUBLISH), durable)
        record = record_of(outputs, trigger=trigger, attempts=attempts)
        record.delivery.source_id = source_id
        said = place(record, BROKERS)
        assert not isinstance(said, Failed)
        return [message.dedup for _, message in said]

    first, second = dedups(Output(b"1"), Output(b"1"))
    assert first.startswith("S:7:d:0:")
    assert second.startswith("S:7:d:1:")
    assert dedups(Output(b"1"), Output(b"1"), attempts=2) == [first, second]
    assert dedups(Output(b"2")) != [first]
    assert dedups(Output(b"1", subject="else")) != [first]
    assert dedups(Output(b"1"), source_id="S:8") != [first]
    assert dedups(Output(b"1"), durable="e") != [first]
    assert dedups(Output(b"1"), source_id="") == [""]


def test_outputs_of_a_component_have_ids_of_the_trigger_that_they_answer() -> None:
    spec = ComponentSpec("c", Path("/c.wasm"), (TriggerSpec("in", "t.*", PUBLISH), TriggerSpec("in", "t.x", PUBLISH)))
    farm = FarmSpec(Path("/farm.toml"), AppSpec("app"), {}, {"c": spec})
    triggers = triggers_of(farm, "id1")
    said = [place(record_of([Output(b"1")], trigger=trigger), BROKERS) for trigger in triggers]
    assert [one[0][1].id for one in said if not isinstance(one, Failed)] == ["id:c:0", "id:c.1:0"]
    assert len({trigger.durable for trigger in [*triggers, *triggers_of(farm, "id2")]}) == 4


def test_an_output_has_no_such_id_where_no_server_is_told_it(monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of((Output(b"1"), Output(b"2", broker="other")), trigger=trigger_of(publish=PUBLISH))
    record.delivery.source_id = "S:7"
    monkeypatch.setattr(BROKERS["other"], "dedups", False)
    said = place(record, BROKERS)
    assert not isinstance(said, Failed)
    assert [bool(message.dedup) for _, message in said] == [True, False]
