"""What handlers do inside a component, and what the host sees of it. Whatever it is, the instance lives on."""

from __future__ import annotations

import json

import pytest

from tests.build.conftest import GUESTS
from tests.build.host import Failure, Given, Guest, Sent

ERRORS = [
    ("value_error", "ValueError", "bad total"),
    ("library_error", "JSONDecodeError", "Expecting value: line 1 column 1 (char 0)"),
    ("caused", "RuntimeError", "no price"),
    ("unspeakable", "Unspeakable", "(its __str__ raised SystemExit)"),
    ("half_error", "ValueError", "bad \\ud800"),
    ("half_body", "ValueError", "payload has half a surrogate pair at 4: UTF-8 cannot express it"),
    ("half_subject", "ValueError", "subject has half a surrogate pair at 0: UTF-8 cannot express it"),
    ("half_header", "ValueError", "header x-a has half a surrogate pair at 0: UTF-8 cannot express it"),
    ("half_reason", "ValueError", "reason has half a surrogate pair at 4: UTF-8 cannot express it"),
    ("wrong_body", "TypeError", "payload must be bytes or str, not dict (for JSON: Message.of_json)"),
    ("leave", "SystemExit", "3"),
    ("interrupt", "KeyboardInterrupt", ""),
    ("generator_exit", "GeneratorExit", ""),
    ("recurse", "RecursionError", "maximum recursion depth exceeded"),
    ("group", "KeyError", "'alone'"),
    ("refused", "ValueError", "no such subject"),
    ("publish_wrong", "TypeError", "publish() takes a Message, not str"),
]


@pytest.mark.parametrize(("subject", "kind", "text"), ERRORS)
def test_an_exception_is_told_by_kind_text_and_place_and_the_instance_lives_on(
    conduct: Guest, subject: str, kind: str, text: str
) -> None:
    failure = conduct.failure(subject)
    assert (failure.case, failure.kind, failure.text) == ("error", kind, text)
    assert (failure.place or "").startswith("conduct.py:")
    assert conduct.sent("echo_text", "still here") == [Sent("still here")]


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("text", "the handler returned str, not a Message, several of them, or None"),
        ("mixed", "the handler returned int among its messages"),
        ("coroutine", "the handler returned coroutine: make it `async def`"),
        ("endless", "the handler returned more than 1024 messages"),
    ],
)
def test_a_wrong_answer_is_a_clear_error_at_the_handler(conduct: Guest, subject: str, text: str) -> None:
    failure = conduct.failure(subject)
    assert failure.text == text
    assert (failure.place or "").startswith("conduct.py:")
    assert conduct.sent("echo_text", "still here") == [Sent("still here")]


@pytest.mark.parametrize(
    ("subject", "line"),
    [
        ("value_error", '    raise ValueError("bad total")'),
        ("library_error", "    return message.json()"),
        ("half_body", '    return Message(f"bad {HALF}")'),
    ],
)
def test_the_place_is_the_innermost_line_of_the_users_own_file(conduct: Guest, subject: str, line: str) -> None:
    lines = (GUESTS / "conduct.py").read_text().splitlines()
    assert conduct.failure(subject).place == f"conduct.py:{lines.index(line) + 1}"


def test_a_cause_is_told_in_the_trace(conduct: Guest) -> None:
    trace = conduct.failure("caused").trace.splitlines()
    assert trace[0] == "RuntimeError: no price"
    assert "because of KeyError: 'key'" in trace
    assert any(line.startswith("  conduct.py:") and line.endswith(" in caused") for line in trace)


def test_an_exception_that_cannot_be_told_is_still_an_error(conduct: Guest) -> None:
    assert conduct.failure("nameless") == Failure("error", "Exception", "an error that cannot be told")
    assert conduct.sent("echo_text", "still here") == [Sent("still here")]


def test_a_long_error_is_cut(conduct: Guest) -> None:
    assert conduct.failure("long_error").text == "x" * 4000


def test_retry_and_reject_are_no_errors(conduct: Guest) -> None:
    assert conduct.failure("retry") == Failure("retry", text="later", after_ms=2500)
    assert conduct.failure("retry_plain") == Failure("retry", text="soon")
    assert conduct.failure("reject") == Failure("reject", text="bad input")


@pytest.mark.parametrize("text", ["", "Ada", "é", "日本 \U0001f600", "\x00", "a" * 100_000])
def test_text_comes_back_as_it_went(conduct: Guest, text: str) -> None:
    assert conduct.sent("echo_text", text) == [Sent(text)]


@pytest.mark.parametrize("form", ["latin1", "binary", "hex"])
def test_bytes_come_back_as_they_went_in_any_form(conduct: Guest, form: str) -> None:
    data = bytes(range(256))
    payload = {"latin1": data.decode("latin-1"), "binary": data, "hex": data.hex()}[form]
    answer = conduct.call(Given("echo", payload, form))
    assert answer == [Sent(data.hex(), "hex", "echo", "other", reply_to="none")]


def test_bytes_that_are_ascii_leave_as_text(conduct: Guest) -> None:
    answer = conduct.call(Given("echo", b"Ada", "binary"))
    assert answer == [Sent("Ada", "text", "echo", "other", reply_to="none")]


def test_bytes_that_are_no_text_are_an_error_only_where_text_is_asked_for(conduct: Guest) -> None:
    answer = conduct.call(Given("echo_text", b"\xff", "binary"))
    assert isinstance(answer, Failure)
    assert answer.kind == "UnicodeDecodeError"


def test_every_fact_of_a_message_reaches_the_handler(conduct: Guest) -> None:
    given = Given("a.facts", '{"x": [1]}', headers=(("x-a", "1"), ("x-a", "2")), reply_to="back", attempt=3)
    answer = conduct.call(given)
    assert isinstance(answer, list)
    assert json.loads(answer[0].payload) == {
        "id": "id-1",
        "subject": "a.facts",
        "broker": "test",
        "headers": [["x-a", "1"], ["x-a", "2"]],
        "reply_to": "back",
        "attempt": 3,
        "json": {"x": [1]},
    }


def test_every_field_of_an_answer_reaches_the_host(conduct: Guest) -> None:
    answer = conduct.call(Given("echo", "é", headers=(("x-a", "1"),), reply_to="back"))
    assert answer == [Sent("c3a9", "hex", "echo", "other", (("x-a", "1"),), "back")]


def test_a_message_sent_on_as_it_is_does_not_come_back_to_where_it_came_from(conduct: Guest) -> None:
    answer = conduct.call(Given("a.same", "Ada", headers=(("x-a", "1"),), reply_to="back"))
    assert answer == [Sent("Ada", headers=(("x-a", "1"),))]


def test_a_handler_may_answer_nothing_several_or_yield(conduct: Guest) -> None:
    assert conduct.sent("nothing") == []
    assert conduct.sent("several") == [Sent("one", subject="a.b"), Sent("two")]
    assert conduct.sent("yielding") == [Sent("0"), Sent("1"), Sent("2")]


def test_what_is_published_in_a_call_goes_to_the_host_in_order(conduct: Guest) -> None:
    assert conduct.sent("publishing") == [Sent("answer")]
    assert conduct.published == [
        Sent("beside", subject="beside.it"),
        Sent("ff00", "hex", headers=(("x-a", "1"),)),
    ]


ENCODINGS = [
    *("ascii", "latin-1", "iso-8859-1", "utf-8", "utf-8-sig", "utf-7", "idna", "punycode", "rot13"),
    *(f"utf-{width}{order}" for width in (16, 32) for order in ("", "-le", "-be")),
    *(f"iso8859-{part}" for part in range(1, 17) if part != 12),
    *(f"cp{page}" for page in (437, 850, *range(1250, 1259))),
    *("koi8-r", "koi8-u", "unicode_escape", "raw_unicode_escape"),
]


def test_encodings_that_are_first_used_at_run_time_are_there(conduct: Guest) -> None:
    [sent] = conduct.sent("encodings", " ".join(ENCODINGS))
    assert json.loads(sent.payload) == dict.fromkeys(ENCODINGS, True)
    [sent] = conduct.sent("codings", b"\x00payload\xff")
    assert json.loads(sent.payload) == dict.fromkeys(("hex", "base64", "zlib"), True)


def test_printing_and_logging_come_out_whole_and_nothing_is_left_for_the_next_message(conduct: Guest) -> None:
    conduct.sent("printing")
    said = b"".join(conduct.output)
    conduct.output.clear()
    conduct.sent("nothing")
    assert conduct.output == []
    assert said.startswith("é ✓ \\ud800\n<6>conduct: seen\n<6>again\n<3>conduct: trouble\n".encode())
    assert said.endswith(b"half a line")


def test_a_line_is_one_write(conduct: Guest) -> None:
    conduct.sent("printing")
    assert "é ✓ \\ud800\n".encode() in conduct.output


def test_a_half_line_in_a_stream_of_the_handlers_own_comes_out_too(conduct: Guest) -> None:
    conduct.sent("rewrapping")
    assert conduct.output == [b"\xe9"]


def test_nothing_of_one_answer_is_in_the_next(conduct: Guest) -> None:
    rich = Sent("ff", "hex", subject="some.where", broker="other", headers=(("x-a", "1"),), reply_to="back")
    for _ in range(2):
        assert conduct.sent("rich") == [rich]
        assert conduct.sent("echo_text", "plain") == [Sent("plain")]


def test_a_handler_that_closes_its_output_can_still_answer(conduct: Guest) -> None:
    assert conduct.sent("closing") == [Sent("closed")]
    assert conduct.sent("echo_text", "still here") == [Sent("still here")]


def test_on_start_runs_once_in_an_instance_with_its_variables_and_globals_last(conduct: Guest) -> None:
    conduct.renew({"FARM_VARIABLE_LOG_LEVEL": "info"})
    assert conduct.sent("state", "a") == [Sent('["started info","a"]')]
    assert conduct.sent("state", "b") == [Sent('["started info","a","b"]')]


def test_a_start_that_fails_fails_the_message_and_is_tried_again(conduct: Guest) -> None:
    conduct.renew({"FARM_VARIABLE_BROKEN": "yes"})
    assert [conduct.failure("nothing").text for _ in range(2)] == ["cannot start", "cannot start"]


def test_variables_are_read_at_run_time(conduct: Guest) -> None:
    conduct.renew({"FARM_VARIABLE_GREETING": "Hello"})
    assert json.loads(conduct.sent("environment")[0].payload)[:3] == ["Hello", None, "default"]


def test_what_is_imported_late_is_there(conduct: Guest) -> None:
    assert conduct.sent("late") == [Sent("1.10 2026-01-02 b'\\x80'")]


def test_random_numbers_differ_between_instances_even_those_of_a_generator_made_at_import(conduct: Guest) -> None:
    first = conduct.sent("chances")[0].payload.split()
    conduct.renew()
    second = conduct.sent("chances")[0].payload.split()
    assert first[0] != second[0]
    assert first[1] != second[1]


NO_NETWORK = "a component has no network: sockets and name resolution do not work in one"


def test_an_async_handler_runs_its_coroutines_together(patient: Guest) -> None:
    assert patient.sent("gathered") == [Sent("yes"), Sent("1"), Sent("2"), Sent("3")]
    assert patient.published == [Sent("beside")]
    assert patient.sent("gathered") == [Sent("yes"), Sent("1"), Sent("2"), Sent("3")]


@pytest.mark.parametrize(
    ("subject", "kind", "text"),
    [
        ("failing", "ValueError", "bad total"),
        ("timing_out", "TimeoutError", ""),
        ("stuck", "RuntimeError", "the handler waits for what can never happen: nothing but time can wake it"),
        ("exiting", "SystemExit", "3"),
        ("threaded", "RuntimeError", "a component has no threads: to_thread and run_in_executor do not work in one"),
        ("connecting", "RuntimeError", NO_NETWORK),
        ("connecting_by_address", "RuntimeError", NO_NETWORK),
        ("serving", "RuntimeError", NO_NETWORK),
        ("resolving", "RuntimeError", NO_NETWORK),
    ],
)
def test_an_async_handlers_exception_is_told_like_any_other(patient: Guest, subject: str, kind: str, text: str) -> None:
    failure = patient.failure(subject)
    assert (failure.kind, failure.text) == (kind, text)
    assert (failure.place or "").startswith("patient.py:")
    assert patient.sent("gathered")[0] == Sent("yes")


def test_a_refusal_inside_of_a_group_is_one(patient: Guest) -> None:
    assert patient.failure("failing_group") == Failure("reject", text="bad input")


def test_what_an_async_handler_leaves_running_is_cancelled(patient: Guest) -> None:
    assert patient.sent("leaving") == [Sent("left")]
    assert patient.sent("left") == [Sent('["cancelled"]')]
