"""What a message is for: by the identifiers that a server of MQTT 5 puts on it, else by its topic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from farm.brokers.mqtt_packets import Arrival
from farm.brokers.mqtt_topics import disjoint, is_reserved, is_shared, matcher_of
from farm.subject import Matcher

KNOWN_LIMIT: Final = 4096  # topics whose matches are remembered

Target = TypeVar("Target")


class Routes(Generic[Target]):
    """Targets of one session, each with the filter that it wants."""

    def __init__(self, *, five: bool, known: Mapping[str, int]) -> None:
        """
        Args:
          known: the identifiers of filters that an earlier life has subscribed to: they keep them.
        """
        self._five: Final = five
        self._identifiers: Final = {name: number for name, number in known.items() if number}
        self._filters: Final = {number: name for name, number in self._identifiers.items()}
        self._last = max(self._filters, default=0)
        self.doubts_numbers = False  # an earlier life, of which nothing is known, may have given them to other filters
        self._targets: dict[str, list[Target]] = {}
        self._matchers: dict[str, Matcher] = {}
        self._found: dict[str, Sequence[Target]] = {}

    def add(self, topic_filter: str, target: Target) -> None:
        """This one wants what matches."""
        self._targets.setdefault(topic_filter, []).append(target)
        self._matchers[topic_filter] = matcher_of(topic_filter)
        self._found.clear()
        if self._five and topic_filter not in self._identifiers:
            self._last += 1
            self._identifiers[topic_filter] = self._last
            self._filters[self._last] = topic_filter

    def remove(self, topic_filter: str, target: Target) -> None:
        """It no longer does."""
        targets = self._targets[topic_filter]
        targets.remove(target)
        self._found.clear()
        if not targets:
            del self._targets[topic_filter], self._matchers[topic_filter]
            self._filters.pop(self._identifiers.pop(topic_filter, 0), None)

    def get(self, topic_filter: str) -> Sequence[Target]:
        """Who wants exactly this filter."""
        return self._targets.get(topic_filter, ())

    def wanted(self) -> dict[str, int]:
        """What the session is to be subscribed to, with identifiers."""
        if self._five:
            return {topic_filter: self._identifiers[topic_filter] for topic_filter in self._targets}
        return dict.fromkeys(disjoint(self._targets), 0)

    def of(self, arrival: Arrival) -> Sequence[Target]:
        """Whom a message is for."""
        identifiers = arrival.extras.identifiers
        if not self._five or not identifiers:
            return self._by_topic(arrival.topic)
        if self.doubts_numbers or is_reserved(arrival.topic):
            names = dict.fromkeys(self._filters.get(number, "") for number in identifiers)
            return self._matching([name for name in names if name in self._matchers], arrival.topic)
        if len(identifiers) == 1:
            return self._targets.get(self._filters.get(identifiers[0], ""), ())
        each = [self._targets.get(self._filters.get(number, ""), ()) for number in identifiers]
        return [target for targets in each for target in targets]

    def _by_topic(self, topic: str) -> Sequence[Target]:
        found = self._found.get(topic)
        if found is None:
            if len(self._found) >= KNOWN_LIMIT:
                self._found.clear()
            names = [name for name in self._targets if not (self._five and is_shared(name))]
            found = self._found[topic] = self._matching(names, topic)
        return found

    def _matching(self, names: Iterable[str], topic: str) -> Sequence[Target]:
        return [target for name in names if self._matchers[name](topic) for target in self._targets[name]]
