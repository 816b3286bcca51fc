"""The few requests of the JetStream API that farm makes, and what their answers say.

    names(subject)            the streams that take something of it in
    stream(name)              put_stream(config)              one as it is; make or change one
    consumer(stream, name)    put_consumer(stream, config)    likewise
What the server refuses is an `ApiFault` with its own words; no answer is BrokerUnavailable.
Source: NATS documentation, "JetStream wire API Reference".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from farm.brokers.nats_requests import Requests
from farm.errors import BrokerUnavailable, Problem, printable

API: Final = "$JS.API"
NEXT: Final = f"{API}.CONSUMER.MSG.NEXT"  # and names of a stream and a consumer: a pull
NOT_ENABLED: Final = (10039, 10076)  # for this account; on this server
STREAM_NOT_FOUND: Final = 10059
CONSUMER_NOT_FOUND: Final = 10014
MADE_BY: Final = "farm"  # the key of the metadata that says who made a stream or a consumer

Config = dict[str, Any]


class ApiFault(Exception):
    """What the server said no to: a code of its own and one line. Source: nats-server, errors.json."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Refusal(msgspec.Struct, frozen=True):
    """The server's no. code: that of HTTP which is nearest; err_code: its own."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    error: Refusal | None = None
    config: Config = {}
    created: str = ""
    streams: list[str] | None = None


class Stream(msgspec.Struct, frozen=True):
    """A stream as it is. token: what tells it from another that once had its name."""

    name: str
    config: Config
    created: str

    @property
    def subjects(self) -> Sequence[str]:
        """The filters of what it takes in."""
        return self.config.get("subjects") or ()

    @property
    def copied(self) -> Sequence[Config]:
        """The streams that it copies: the one that it mirrors, or its sources."""
        mirror: Config | None = self.config.get("mirror")
        return [mirror] if mirror else self.config.get("sources") or ()

    @property
    def renaming(self) -> tuple[str, str]:
        """What it stores under other subjects, and under which; empty: nothing."""
        found: Config = self.config.get("subject_transform") or {}
        return str(found.get("src") or ""), str(found.get("dest") or "")

    @property
    def ours(self) -> bool:
        """Whether a farm made it."""
        return MADE_BY in (self.config.get("metadata") or {})

    @property
    def keeps(self) -> bool:
        """Whether it keeps what no consumer is for."""
        return self.config.get("retention") != "interest"

    @property
    def is_work_queue(self) -> bool:
        """Whether it keeps what nobody has handled, and nothing else: a consumer of it begins with all of that."""
        return self.config.get("retention") == "workqueue"

    @property
    def token(self) -> str:
        """When it was made, short."""
        return f"{int(re.sub(r'[^0-9]', '', self.created) or '0'):x}"


_DECODER: Final = msgspec.json.Decoder(_Answer)


class JetStreamApi:
    """Of one connection."""

    def __init__(self, requests: Requests) -> None:
        self._requests: Final = requests

    async def names(self, subject: str) -> list[str]:
        """The streams that take in something on a subject or filter.

        Raises: ApiFault, BrokerUnavailable, NotPermitted.
        """
        return (await self._ask("STREAM.NAMES", {"subject": subject})).streams or []

    async def stream(self, name: str) -> Stream | None:
        """A stream, if it is there. Raises as `names`."""
        try:
            answer = await self._ask(f"STREAM.INFO.{name}", {})
        except ApiFault as fault:
            if fault.code == STREAM_NOT_FOUND:
                return None
            raise
        return Stream(name, answer.config, answer.created)

    async def put_stream(self, config: Config, *, new: bool) -> Stream:
        """Make a stream, or change one. Raises as `names`."""
        name = config["name"]
        answer = await self._ask(f"STREAM.{'CREATE' if new else 'UPDATE'}.{name}", config)
        return Stream(name, answer.config, answer.created)

    async def consumer(self, stream: str, name: str) -> Config | None:
        """The configuration of a consumer, if it is there. Raises as `names`."""
        try:
            return (await self._ask(f"CONSUMER.INFO.{stream}.{name}", {})).config
        except ApiFault as fault:
            if fault.code == CONSUMER_NOT_FOUND:
                return None
            raise

    async def put_consumer(self, stream: str, config: Config) -> None:
        """Make a durable consumer, or change it. Raises as `names`."""
        body = {"stream_name": stream, "config": config}
        await self._ask(f"CONSUMER.CREATE.{stream}.{config['durable_name']}", body)

    async def _ask(self, what: str, body: Mapping[str, Any]) -> _Answer:
        try:
            raw = await self._requests.ask(f"{API}.{what}", json.dumps(body).encode())
        except BrokerUnavailable as error:
            if str(error).startswith("nobody answers"):
                raise ApiFault(NOT_ENABLED[1], "JetStream is not enabled on the server") from error
            raise
        try:
            answer = _DECODER.decode(raw[3])
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
            raise BrokerUnavailable(Problem(f"the answer on {API}.{what} is not understood", why=str(error))) from error
        if answer.error is not None:
            refusal = answer.error
            text = printable(refusal.description)
            if refusal.err_code in NOT_ENABLED:
                text = "JetStream is not enabled for this account"
            raise ApiFault(refusal.err_code, text)
        return answer
