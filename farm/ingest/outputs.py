"""Where an output goes: from what a guest answered to a message on a broker. Pure.

    subject   the output's own > the message's reply subject > the trigger's `publish` > the call fails
    broker    the output's own > the trigger's broker, if the subject is the reply subject > `publish` > the trigger's
    broker
Everything is checked before anything is published, so that a call that fails leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

from farm.broker import Broker
from farm.errors import InputError, printable
from farm.ingest.table import Record
from farm.invocation import OUTPUTS_LIMIT, OUTPUTS_LIMIT_BYTES, TEXT_LIMIT, Failed, Output
from farm.message import HOPS_LIMIT, Message, dedup_id, header_fault, output_id, passed
from farm.subject import validate, validate_reply

NOWHERE: Final = "nowhere to publish: give the trigger `publish = {..}`"

Placed = list[tuple[Broker, Message]]


class Misplaced(Exception):
    """Why an output cannot be published; its text becomes the failure's."""


def place(record: Record, brokers: Mapping[str, Broker]) -> Placed | Failed:
    """The messages that a record's outputs become, each with its broker; or why the call has failed after all."""
    assert record.answer is not None
    outputs = record.answer.outputs
    source = record.delivery.message
    if source.hops >= HOPS_LIMIT:
        return Failed("output", f"the message has passed {source.hops} components already: a loop")
    try:
        if len(outputs) == 1:  # nearly always
            return [_place_one(record, 0, outputs[0], brokers)]
        _check_amount(outputs)
        return [_place_one(record, index, output, brokers) for index, output in enumerate(outputs)]
    except Misplaced as error:
        return Failed("output", str(error)[:TEXT_LIMIT])


def loops(record: Record) -> bool:
    """Whether a record has passed as many components as a message may."""
    return record.delivery.message.hops >= HOPS_LIMIT


def suggestion(name: str, names: Iterable[str]) -> str:
    """What a wrong broker name is answered with: those there are, and the one that was perhaps meant."""
    known = sorted(names)
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"no broker {printable(name)!r}, there is {', '.join(map(repr, known))}{hint}"


def _check_amount(outputs: list[Output]) -> None:
    if len(outputs) > OUTPUTS_LIMIT:
        raise Misplaced(f"{len(outputs)} outputs exceed the limit of {OUTPUTS_LIMIT}")
    size = sum(len(output.payload) for output in outputs)
    if size > OUTPUTS_LIMIT_BYTES:
        raise Misplaced(f"outputs of {size} bytes exceed the limit of {OUTPUTS_LIMIT_BYTES} bytes")


def _place_one(record: Record, index: int, output: Output, brokers: Mapping[str, Broker]) -> tuple[Broker, Message]:
    trigger, delivery = record.trigger.spec, record.delivery
    source, payload, publish = delivery.message, output.payload, trigger.publish
    reply_to = source.reply_to
    subject = output.subject or reply_to or (publish.subject if publish else None)
    if subject is None:
        raise Misplaced(NOWHERE)
    name = output.broker
    if name is None:
        name = publish.broker if publish and subject != reply_to else trigger.broker
    broker = brokers.get(name)
    if broker is None:
        raise Misplaced(suggestion(name, brokers))
    headers = output.headers
    try:
        if reply_to is None:
            broker.check(subject, len(payload))
        else:  # an inbox is open to answers to what came from its own broker
            broker.check(subject, len(payload), reply=subject == reply_to and name == trigger.broker)
        if output.reply_to is not None:
            passed_on = output.reply_to == reply_to and name == trigger.broker
            (validate_reply if passed_on else validate)(output.reply_to)
    except InputError as error:
        raise Misplaced(f"broker {name!r}: {error}") from error
    if headers:
        headers = passed(headers)
        if why := header_fault(headers):
            raise Misplaced(why)
    source_id, durable = delivery.source_id, record.trigger.durable
    return broker, Message(
        output_id(source.id, record.trigger.name, index),
        subject,
        payload,
        headers,
        output.reply_to,
        source.id,
        source.hops + 1,
        dedup_id(source_id, durable, index, subject, payload) if source_id and broker.dedups else "",
    )
