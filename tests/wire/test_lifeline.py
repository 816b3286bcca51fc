"""The lifeline between the supervisor and a child."""

from __future__ import annotations

import os

import pytest

from farm.errors import WireError
from farm.wire import lifeline


def test_words_arrive_in_both_directions_in_order() -> None:
    parent, child = lifeline.pair()
    child.send(lifeline.State("warming"))
    child.send(lifeline.Ready({"test": "127.0.0.1:3005"}, boot=7))
    parent.send(lifeline.Quiet())
    parent.send(lifeline.Drain(10.0))
    assert parent.receive() == [lifeline.State("warming"), lifeline.Ready({"test": "127.0.0.1:3005"}, boot=7)]
    assert child.receive() == [lifeline.Quiet(), lifeline.Drain(10.0)]
    assert not parent.closed


def test_the_end_of_the_other_is_seen_after_its_last_words() -> None:
    parent, child = lifeline.pair()
    child.send(lifeline.Ready())
    child.close()
    assert parent.receive() == [lifeline.Ready()]
    assert parent.closed


def test_an_other_that_died_with_something_unread_is_gone_as_well() -> None:
    parent, child = lifeline.pair()
    parent.send(lifeline.Quiet())
    child.close()
    assert parent.receive() == []
    assert parent.closed


def test_a_send_to_one_that_died_says_so() -> None:
    parent, child = lifeline.pair()
    child.close()
    assert not parent.send(lifeline.Quiet())
    assert parent.closed


def test_a_word_that_does_not_parse_is_a_wire_error() -> None:
    parent, child = lifeline.pair()
    os.write(child.fileno(), b"\xc1nonsense")
    with pytest.raises(WireError):
        parent.receive()


def test_the_last_words_of_one_that_died_with_something_unread_are_heard() -> None:
    parent, child = lifeline.pair()
    parent.send(lifeline.Quiet())
    child.send(lifeline.Refused(69, ["port taken"]))
    child.close()
    assert parent.receive() == [lifeline.Refused(69, ["port taken"])]
    assert parent.closed


def test_the_last_words_are_heard_after_a_send_that_failed() -> None:
    parent, child = lifeline.pair()
    child.send(lifeline.Refused(69, ["port taken"]))
    child.close()
    assert not parent.send(lifeline.Quiet())
    assert parent.receive() == [lifeline.Refused(69, ["port taken"])]


def test_text_that_is_no_utf_8_is_a_wire_error() -> None:
    parent, child = lifeline.pair()
    os.write(child.fileno(), b"\x82\xa4type\xa5state\xa4text\xa2\xff\xfe")
    with pytest.raises(WireError):
        parent.receive()
