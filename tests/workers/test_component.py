from __future__ import annotations

from pathlib import Path

import pytest

from farm.invocation import Failed, Output
from tests.workers.farmhand import guest


def test_an_echo_answers_with_the_payload_and_the_headers_that_may_pass(tmp_path: Path) -> None:
    with guest("echo", tmp_path) as echo:
        headers = (("x-a", "1"), ("Nats-Rollup", "all"))
        assert echo.answers(b"hello", headers=headers) == [Output(b"hello", headers=(("x-a", "1"),))]


@pytest.mark.parametrize("payload", [b"", b"hi", "grüß dich, 你好".encode(), bytes(range(256)), b"\xff" * 100_000])
@pytest.mark.parametrize("form", ["text", "binary"])
def test_every_payload_comes_back_as_it_went(payload: bytes, form: str, tmp_path: Path) -> None:
    with guest("echo", tmp_path, payload=form) as echo:
        for _ in range(3):
            assert echo.answers(payload) == [Output(payload)]


def test_a_guests_own_error_is_told_in_its_words(tmp_path: Path) -> None:
    with guest("fail", tmp_path) as fail:
        failed = Failed("guest_error", "ValueError: bad total (hello.py:28)", "Traceback: hello.py:28")
        assert fail.fails(b"error") == failed


def test_a_guest_asks_for_another_attempt_and_its_control_characters_are_escaped(tmp_path: Path) -> None:
    with guest("fail", tmp_path) as fail:
        assert fail.fails(b"retry") == Failed("retry", "later, please\\x1b[2J", after_ms=2000)


def test_a_guest_rejects_a_message(tmp_path: Path) -> None:
    with guest("fail", tmp_path) as fail:
        assert fail.fails(b"reject") == Failed("rejected", "never again")


def test_a_guests_own_error_leaves_its_instance_alive(tmp_path: Path) -> None:
    with guest("count", tmp_path) as count:
        assert [count.answers()[0].payload for _ in range(3)] == [b"1", b"2", b"3"]


def test_a_fresh_instance_knows_nothing_of_the_message_before(tmp_path: Path) -> None:
    with guest("count", tmp_path, instances="fresh") as count:
        assert [count.answers()[0].payload for _ in range(3)] == [b"1", b"1", b"1"]
