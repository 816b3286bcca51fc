from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farm.brokers.headers import ID_LIMIT, from_headers, to_headers
from farm.message import HEADER_COUNT_LIMIT, HEADERS_LIMIT_BYTES, HOPS_LIMIT, Message


def test_a_message_comes_back_as_it_went() -> None:
    message = Message("an-id", "s", b"", (("x-a", "1"), ("traceparent", "00-1")), None, "parent", 3)
    assert from_headers(to_headers(message)) == ("an-id", "parent", 3, message.headers)


def test_what_is_not_there_is_not_sent() -> None:
    assert to_headers(Message("an-id", "s", b"")) == [("farm-id", "an-id")]


def test_a_message_of_others_has_the_servers_id_else_a_new_one() -> None:
    assert from_headers([], "S:7").id == "S:7"
    first, second = from_headers([]), from_headers([])
    assert first.id != second.id
    assert (first.cause, first.hops, first.headers) == ("", 0, ())


def test_headers_of_others_reach_a_guest_in_lower_case_and_those_of_server_and_farm_do_not() -> None:
    found = from_headers([("Order-Id", "7"), ("Nats-Msg-Id", "x"), ("FARM-attempt", "2"), ("X-A", "b")])
    assert found.headers == (("order-id", "7"), ("x-a", "b"))


def test_hops_that_are_no_number_are_the_most_there_may_be() -> None:
    for text in ("", "-1", "x", "1e3", "٣", "9" * 5000):
        assert from_headers([("farm-hops", text)]).hops == HOPS_LIMIT
    assert from_headers([("Farm-Hops", "2")]).hops == 2


def test_an_id_that_is_none_is_not_taken() -> None:
    assert from_headers([("farm-id", "x" * (ID_LIMIT + 1))], "S:7").id == "S:7"
    assert from_headers([("farm-id", "a\nb"), ("farm-cause", "\x00")], "S:7")[:2] == ("S:7", "")


def test_more_headers_than_a_message_may_have_are_left_out() -> None:
    assert len(from_headers([(f"x-{n}", "") for n in range(100)]).headers) == HEADER_COUNT_LIMIT
    assert from_headers([("x-a", "v"), ("x-b", "w" * HEADERS_LIMIT_BYTES)]).headers == (("x-a", "v"),)


@given(st.lists(st.tuples(st.text(), st.text())))
def test_nothing_that_others_send_raises(headers: list[tuple[str, str]]) -> None:
    assert from_headers(headers, "S:7").id
