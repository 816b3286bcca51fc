from __future__ import annotations

import re
from pathlib import Path

import pytest

from farm.errors import Internal
from farm.invocation import Failed, Output
from farm.workers import instances
from farm.workers.imports.offer import Held
from farm.workers.lower import CELLS_LIMIT
from tests.guests import wat
from tests.workers.farmhand import guest, guest_of


def test_an_echo_answers_with_the_payload_and_the_headers_it_was_given(tmp_path: Path) -> None:
    with guest("echo", tmp_path) as echo:
        headers = (("x-a", "1"), ("Nats-Rollup", "all"))
        assert echo.answers(b"hello", headers=headers) == [Output(b"hello", headers=headers)]


@pytest.mark.parametrize(
    "payload", [b"", b"hi", "grüß dich, 你好".encode(), bytes(range(256)), b"\xff" * 100_000], ids=len
)
@pytest.mark.parametrize("form", ["text", "binary"])
def test_every_payload_comes_back_as_it_went(payload: bytes, form: str, tmp_path: Path) -> None:
    with guest("echo", tmp_path, payload=form) as echo:
        for _ in range(3):
            assert echo.answers(payload) == [Output(payload)]


def test_an_output_names_its_subject_broker_and_reply_subject(tmp_path: Path) -> None:
    with guest("subjects", tmp_path) as subjects:
        assert subjects.answers(b"good.bye") == [
            Output(b"good.bye", "good.bye", "good.bye", (("x-own", "good.bye"),), "good.bye")
        ]


def test_a_guest_may_answer_with_nothing(tmp_path: Path) -> None:
    with guest("many", tmp_path) as many:
        assert many.answers(b"0") == []


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


@pytest.mark.parametrize("name", ["leeorr", "leeorr-named"])
def test_a_component_of_the_reference_answers_under_either_name(name: str, tmp_path: Path) -> None:
    with guest(name, tmp_path) as leeorr:
        assert leeorr.answers(b"\0hi", reply_to="r.1") == [Output(b"\0hi", "a.b", "test", (), "r.1")]
        assert leeorr.answers(b"") == [Output(b"", "a.b", "test")]


def test_a_component_that_does_not_know_hex_is_given_latin1(tmp_path: Path) -> None:
    without = re.sub(r'\s*\(case "hex" string\)', "", wat.text("publish"))
    assert without != wat.text("publish")
    file = tmp_path / "without.wasm"
    file.write_bytes(wat.from_text(without))
    with guest_of(file, tmp_path) as publish:
        assert publish.answers(b"1\xff\x80") == [Output(b"1\xff\x80", "held"), Output(b"1\xff\x80")]


def test_more_bytes_in_a_list_than_the_worker_has_memory_for_fail_the_call_and_not_the_worker(tmp_path: Path) -> None:
    with guest("leeorr", tmp_path) as leeorr:
        failed = leeorr.fails(bytes(CELLS_LIMIT + 1))
        assert failed.kind == "memory"
        assert f"{CELLS_LIMIT + 1} bytes as list<u8> exceed the limit of {CELLS_LIMIT}" in failed.text
        assert leeorr.answers(b"hi")[0].payload == b"hi"


def test_an_error_outcome_of_the_reference_is_a_failure(tmp_path: Path) -> None:
    with guest("leeorr", tmp_path) as leeorr:
        assert leeorr.fails(b"!", subject="no.way") == Failed("guest_error", "no.way")


def test_a_guest_sees_its_environment_and_its_variables_and_nothing_else(tmp_path: Path) -> None:
    settings = {"environment": {"MODE": "test"}, "variables": {"my-name": "Ada"}}
    with guest("environment", tmp_path, **settings) as environment:
        found = {output.subject: output.payload for output in environment.answers()}
    assert found == {"MODE": b"test", "FARM_VARIABLE_MY_NAME": b"Ada"}


class TestOutputs:
    def test_as_many_as_allowed_are_taken(self, tmp_path: Path) -> None:
        with guest("many", tmp_path) as many:
            assert len(many.answers(b"1024")) == 1024

    @pytest.mark.parametrize("count", [1025, 100_000])
    def test_more_fail_the_call_and_not_the_instance(self, count: int, tmp_path: Path) -> None:
        with guest("many", tmp_path) as many:
            assert many.fails(b"%d" % count) == Failed("output", f"{count} outputs exceed the limit of 1024")
            assert len(many.answers(b"2")) == 2

    def test_too_many_bytes_fail_the_call(self, tmp_path: Path) -> None:
        with guest("large", tmp_path) as large:
            text = "outputs of 3000000 bytes exceed the limit of 2097152 bytes"
            assert large.fails(b"3000000") == Failed("output", text)
            assert len(large.answers(b"2000000")[0].payload) == 2_000_000

    def test_more_than_the_host_copies_fails_the_call(self, tmp_path: Path) -> None:
        with guest("large", tmp_path, payload="binary") as large:
            assert large.fails(b"3000000").text == "outputs too large"
            assert large.answers(b"2000000")[0].payload == b"x" * 2_000_000

    def test_a_latin1_payload_with_a_character_that_is_no_byte_fails_the_call(self, tmp_path: Path) -> None:
        with guest("bad-latin1", tmp_path) as bad:
            assert bad.fails() == Failed("output", "latin1 payload holds U+20AC, which is no byte")

    @pytest.mark.parametrize("digits", [b"0", b"0g", b" 00", "0\u0660".encode()])
    def test_a_hex_payload_of_something_else_fails_the_call(self, digits: bytes, tmp_path: Path) -> None:
        with guest("bad-hex", tmp_path) as bad:
            assert bad.fails(digits) == Failed("output", "hex payload is not pairs of hexadecimal digits")
            assert bad.answers(b"00fF")[0].payload == b"\x00\xff"


class TestPublishing:
    def test_what_is_published_goes_out_before_the_answer(self, tmp_path: Path) -> None:
        with guest("publish", tmp_path) as publish:
            assert publish.answers(b"2 x") == [Output(b"2 x", "held"), Output(b"2 x", "held"), Output(b"2 x")]

    @pytest.mark.parametrize("payload", [b"traps!", b"rejects?"])
    def test_a_failed_call_publishes_nothing_now_or_later(self, payload: bytes, tmp_path: Path) -> None:
        with guest("publish", tmp_path) as publish:
            publish.fails(payload)
            assert publish.answers(b"x") == [Output(b"x", "held"), Output(b"x")]

    def test_the_guest_is_told_when_it_publishes_too_many(self, tmp_path: Path) -> None:
        with guest("publish", tmp_path) as publish:
            assert publish.fails(b"1025").text == "more than 1024 messages in one call"

    def test_the_guest_is_told_when_it_publishes_too_much(self, tmp_path: Path) -> None:
        with guest("publish", tmp_path) as publish:
            assert publish.fails(b"3" + b"x" * 1_000_000).text == "more than 2097152 bytes in one call"

    def test_published_and_answered_share_one_limit(self, tmp_path: Path) -> None:
        with guest("publish", tmp_path) as publish:
            assert publish.fails(b"1024").text == "1025 outputs exceed the limit of 1024"

    def test_a_fault_of_ours_in_mid_call_is_raised_and_not_taken_for_the_guests(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_held: Held, _output: Output) -> str:
            raise ZeroDivisionError

        with guest("publish", tmp_path) as publish:
            publish.answers()
            monkeypatch.setattr(Held, "add", broken)
            with pytest.raises(Internal) as caught:
                publish.call()
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
            monkeypatch.undo()
            publish.answers()


class TestInstances:
    def test_one_serves_message_after_message(self, tmp_path: Path) -> None:
        with guest("count", tmp_path) as count:
            assert [count.answers()[0].payload for _ in range(3)] == [b"1", b"2", b"3"]

    def test_a_fresh_one_knows_nothing_of_the_message_before(self, tmp_path: Path) -> None:
        with guest("count", tmp_path, instances="fresh") as count:
            assert [count.answers()[0].payload for _ in range(3)] == [b"1", b"1", b"1"]

    def test_after_a_trap_another_one_serves(self, tmp_path: Path) -> None:
        with guest("trap", tmp_path) as trap:
            assert trap.answers()[0].payload == b"1"
            assert trap.answers()[0].payload == b"2"
            trap.fails(b"trap")
            assert trap.answers()[0].payload == b"1"

    def test_a_guests_own_error_keeps_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with guest("fail", tmp_path) as fail:
            fail.answers()
            monkeypatch.setattr(instances.Instances, "_make", None)
            fail.fails(b"error")
            fail.answers()

    def test_a_guest_that_met_its_memory_limit_loses_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with guest("fail", tmp_path) as fail:
            assert fail.fails(b"memory").kind == "memory"
            monkeypatch.setattr(instances.Instances, "_make", None)
            with pytest.raises(TypeError):
                fail.call()

    def test_it_is_recycled_after_so_many_calls(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(instances, "CALLS_LIMIT", 3)
        with guest("count", tmp_path) as count:
            assert [count.answers()[0].payload for _ in range(5)] == [b"1", b"2", b"3", b"1", b"2"]

    def test_it_is_recycled_when_it_holds_on_to_much_memory(self, tmp_path: Path) -> None:
        looks = instances.CALLS_BETWEEN_LOOKS
        with guest("keep", tmp_path, memory_bytes=64 << 20) as keep:
            keep.answers(b"40")
            answers = [keep.answers(b"0")[0].payload for _ in range(looks)]
            assert answers[-2:] == [b"6", b"1"]

    def test_a_small_one_is_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with guest("keep", tmp_path, memory_bytes=64 << 20) as keep:
            keep.answers(b"1")
            monkeypatch.setattr(instances.Instances, "_make", None)
            for _ in range(3 * instances.CALLS_BETWEEN_LOOKS):
                keep.answers(b"0")

    def test_the_next_one_is_made_ahead_of_its_call(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with guest("count", tmp_path, instances="fresh") as count:
            count.components.prepare()
            assert count.components.prepare_next()
            assert not count.components.prepare_next()
            monkeypatch.setattr(instances.Instances, "_make", None)
            assert count.answers()[0].payload == b"1"

    def test_one_that_fails_to_start_is_not_tried_again_before_the_next_call(self, tmp_path: Path) -> None:
        with guest("start-trap", tmp_path) as trap:
            trap.components.prepare()
            assert not trap.components.prepare_next()
            assert trap.fails().kind == "trap"
            assert not trap.components.prepare_next()


def test_preparing_maps_every_component_and_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with guest("count", tmp_path) as count:
        with monkeypatch.context() as patch:
            patch.setattr(instances.Instances, "_make", None)
            count.components.prepare()
        for path in (tmp_path / "state" / "cache").iterdir():
            path.unlink()
        assert count.answers()[0].payload == b"1"


def test_a_component_that_the_worker_was_not_given_is_a_fault_of_ours(tmp_path: Path) -> None:
    with guest("echo", tmp_path) as echo, pytest.raises(Internal, match="no compiled component 'other'"):
        echo.call(component="other")


def test_traps_leave_no_instance_behind(tmp_path: Path) -> None:
    with guest("trap", tmp_path) as trap:
        trap.answers()
        before_bytes = instances.data_bytes()
        for _ in range(200):
            trap.fails(b"trap")
        trap.answers()
        assert instances.data_bytes() - before_bytes < 64 << 20
