"""Does what the message's subject says: the good and the bad that a handler can do."""

import codecs
import io
import logging
import os
import random
import sys

from farm.sdk import Message, Reject, Retry, message_component, on_start, publish, variable

HALF = "\ud800"
CODINGS = ("hex", "base64", "zlib")
log = logging.getLogger("conduct")
chance = random.Random()
seen: list[str] = []


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit("not even this")


def no_name(cls):
    raise RuntimeError("no name")


Nameless = type("Nameless", (type,), {"__name__": property(no_name)})


@on_start
def begin() -> None:
    seen.append(f"started {variable('log-level', 'none')}")
    if variable("broken"):
        raise OSError("cannot start")


@message_component
def handle(message: Message):
    return globals()[message.subject.rpartition(".")[2]](message)


def echo(message):
    return Message(
        message.payload, message.subject, broker="other", headers=message.headers, reply_to=message.reply_to or "none"
    )


def same(message):
    return message


def echo_text(message):
    return Message(message.text)


def facts(message):
    return Message.of_json(
        {
            "id": message.id,
            "subject": message.subject,
            "broker": message.broker,
            "headers": message.headers,
            "reply_to": message.reply_to,
            "attempt": message.attempt,
            "json": message.json(),
        }
    )


def nothing(message):
    return None


def several(message):
    return [Message("one", "a.b"), Message(b"two")]


def yielding(message):
    for number in range(3):
        yield Message(str(number))


def endless(message):
    while True:
        yield Message("again")


def text(message):
    return "Goodbye"


def mixed(message):
    return [Message("good"), 5]


def coroutine(message):
    async def inner():
        return None

    waiting = inner()
    waiting.close()
    return waiting


def value_error(message):
    raise ValueError("bad total")


def library_error(message):
    return message.json()


def caused(message):
    try:
        {}["key"]
    except KeyError as error:
        raise RuntimeError("no price") from error


def unspeakable(message):
    raise Unspeakable


def nameless(message):
    raise Nameless("Odd", (Exception,), {})("odd")


def half_error(message):
    raise ValueError(f"bad {HALF}")


def half_body(message):
    return Message(f"bad {HALF}")


def half_subject(message):
    return Message("good", HALF)


def half_header(message):
    return Message("good", headers={"x-a": HALF})


def half_reason(message):
    raise Reject(f"bad {HALF}")


def wrong_body(message):
    return Message({"a": 1})


def retry(message):
    raise Retry("later", after=2.5)


def retry_plain(message):
    raise Retry("soon")


def reject(message):
    raise Reject("bad input")


def leave(message):
    sys.exit(3)


def interrupt(message):
    raise KeyboardInterrupt


def generator_exit(message):
    raise GeneratorExit


def recurse(message):
    return recurse(message)


def long_error(message):
    raise ValueError("x" * 100_000)


def group(message):
    raise ExceptionGroup("several", [ExceptionGroup("inner", [KeyError("alone")])])


def publishing(message):
    publish(Message("beside", "beside.it"))
    publish(Message(b"\xff\x00", headers=[("x-a", "1")]))
    return Message("answer")


def refused(message):
    publish(Message("x", "refused"))


def publish_wrong(message):
    publish("text")


def printing(message):
    print("half a line", end="")
    print("é ✓", HALF, file=sys.stderr)
    log.info("seen\nagain")
    log.debug("never")
    log.error("trouble")


def rewrapping(message):
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="latin-1")
    print("é", end="")


def rich(message):
    return Message(b"\xff", "some.where", broker="other", headers={"x-a": "1"}, reply_to="back")


def closing(message):
    sys.stdout.close()
    return Message("closed")


def state(message):
    seen.append(message.text)
    return Message.of_json(seen)


def late(message):
    import decimal
    from datetime import datetime

    return Message(
        f"{decimal.Decimal('1.10')} {datetime.strptime('2026-01-02', '%Y-%m-%d').date()} {'€'.encode('cp1252')}"
    )


def encodings(message):
    """Whether each of these text encodings gives back what it was given."""
    names = message.text.split()
    return Message.of_json({name: codecs.decode(codecs.encode("Az", name), name) == "Az" for name in names})


def codings(message):
    """Likewise, of bytes."""
    data = message.payload
    return Message.of_json({name: codecs.decode(codecs.encode(data, name), name) == data for name in CODINGS})


def chances(message):
    return Message(f"{chance.random()} {random.random()}")


def environment(message):
    return Message.of_json([variable("GREETING"), variable("missing"), variable("missing", "default"), os.getcwd()])
