from __future__ import annotations

from farm.broker import Matches, Published, Subscription


def test_triggers_and_listeners_of_a_subject_are_counted_and_a_group_is_one() -> None:
    matches = Matches("nats")
    matches.add(Subscription(0, "a.*"))
    matches.add(Subscription(1, "a.*"))
    matches.add(Subscription(2, "a.*", "g"))
    matches.add(Subscription(3, "a.*", "g"))
    matches.add(Subscription(4, "a.*", "0"))
    matches.add(Subscription(5, "b"))
    assert matches.of("a.b") == Published(4, 0)
    assert matches.of("b") == Published(1, 0)
    assert matches.of("c") == Published(0, 0)


def test_who_comes_or_goes_changes_the_count() -> None:
    matches = Matches("nats")
    assert matches.of("a") == Published(0, 0)
    end = matches.listen("a")
    matches.listen("*")
    assert matches.of("a") == Published(0, 2)
    end()
    end()
    assert matches.of("a") == Published(0, 1)
    matches.add(Subscription(0, ">"))
    assert matches.of("a") == Published(1, 1)
