"""Marks, refusals, variables and publishing, in plain Python."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

import farm.sdk
from farm.sdk import Message, Reject, Retry, message_component, on_start, publish, variable
from farm.sdk.testing import Outside, delivered


def test_the_public_names_are_these() -> None:
    assert farm.sdk.__all__ == [
        "Message",
        "Reject",
        "Retry",
        "message_component",
        "on_start",
        "publish",
        "variable",
    ]


def test_a_decorated_function_is_still_the_function() -> None:
    def handle(message: Message) -> Message:
        return message

    async def patient(message: Message) -> Message:
        return message

    def begin() -> None:
        """Nothing."""

    assert message_component(handle) is handle
    assert message_component(patient) is patient
    assert on_start(begin) is begin
    assert asyncio.run(patient(Message("Ada"))) == Message("Ada")


@pytest.mark.parametrize("thing", [5, print, type("Handler", (), {})])
def test_only_functions_can_be_marked(thing: Any) -> None:
    with pytest.raises(TypeError, match="@message_component marks a function"):
        message_component(thing)


def test_a_retry_says_why_and_when() -> None:
    assert (Retry("later").reason, Retry("later").after_ms) == ("later", None)
    assert Retry("later", after=2.5).after_ms == 2500
    assert Retry("later", after=0).after_ms == 0
    assert str(Retry("later")) == "later"
    assert Reject("bad input").reason == "bad input"


@pytest.mark.parametrize("after", [-1, 4_294_968, float("nan"), float("inf")])
def test_a_retry_at_no_possible_time_is_refused(after: float) -> None:
    with pytest.raises(ValueError, match="after must be 0 to 4294967 seconds"):
        Retry("later", after=after)


@pytest.mark.parametrize("reason", [None, 5, b"later"])
def test_a_reason_is_text(reason: Any) -> None:
    with pytest.raises(TypeError, match="reason must be str"):
        Retry(reason)
    with pytest.raises(TypeError, match="reason must be str"):
        Reject(reason)


def test_a_variable_is_read_from_the_environment_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert variable("log-level") is None
    assert variable("log-level", "info") == "info"
    monkeypatch.setenv("FARM_VARIABLE_LOG_LEVEL", "debug")
    assert variable("log-level", "info") == "debug"
    assert variable("LOG_LEVEL") == "debug"


def test_what_is_published_is_seen_by_the_test() -> None:
    with Outside() as outside:
        publish(Message("a", "b"))
        with Outside() as inner:
            publish(Message("inside"))
        publish(Message("c"))
    assert outside.published == [Message("a", "b"), Message("c")]
    assert inner.published == [Message("inside")]


def test_what_a_coroutine_publishes_is_seen_too() -> None:
    async def handle() -> None:
        await asyncio.gather(later("a"), later("b"))

    async def later(text: str) -> None:
        await asyncio.sleep(0)
        publish(Message(text))

    with Outside() as outside:
        asyncio.run(handle())
    assert {message.text for message in outside.published} == {"a", "b"}


def test_publishing_with_nobody_outside_says_how_to_test_it() -> None:
    with pytest.raises(RuntimeError, match=r"with farm\.sdk\.testing\.Outside\(\) as outside"):
        publish(Message("a"))


def test_only_messages_can_be_published() -> None:
    text: Any = "a"
    with Outside(), pytest.raises(TypeError, match=r"publish\(\) takes a Message, not str"):
        publish(text)


def test_a_message_can_be_made_to_look_delivered() -> None:
    message = delivered(Message("a", "s", headers={"x": "1"}, reply_to="r"), message_id="7", attempt=3)
    assert (message.id, message.attempt) == ("7", 3)
    assert message == Message("a", "s", headers={"x": "1"}, reply_to="r")


def test_importing_the_sdk_brings_no_more_than_it_needs() -> None:
    text = "import sys, farm.sdk; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert {"asyncio", "logging", "msgspec", "farm.errors", "farm.sdk._component"}.isdisjoint(done.stdout.split())
