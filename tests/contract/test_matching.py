"""Our matcher against the servers': whether a filter matches a subject, asked of both, 500 random pairs a run.

The seed is new at every run, and is in the text of a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import nats
import paho.mqtt.client as mqtt
import pytest
import redis.asyncio
from nats.aio.msg import Msg
from paho.mqtt.enums import CallbackAPIVersion

from farm.errors import InvalidSubject
from farm.subject import Grammar, compile_filter, validate, validate_filter
from tests.servers import Mosquitto, NatsServer, RedisServer

PATTERNS = 25
SUBJECTS = 20
LAST = "zz.last"

Heard = dict[str, set[str]]
Ask = Callable[[list[str], list[str]], Awaitable[Heard]]


def drawn(rng: Random, alphabet: str, lengths: range, valid: Callable[[str], None], count: int) -> list[str]:
    """So many different texts that are valid."""
    found: dict[str, None] = {}
    while len(found) < count:
        text = "".join(rng.choice(alphabet) for _ in range(rng.choice(lengths)))
        try:
            valid(text)
        except InvalidSubject:
            continue
        found[text] = None
    return list(found)


async def compare(grammar: Grammar, alphabet: str, ask: Ask) -> None:
    seed = Random().randrange(1 << 32)
    rng = Random(seed)
    patterns = drawn(rng, alphabet, range(1, 9), lambda text: validate_filter(text, grammar), PATTERNS)
    subjects = drawn(rng, "ab.", range(1, 9), validate, SUBJECTS)
    ours = {pattern: set(filter(compile_filter(pattern, grammar), subjects)) for pattern in patterns}
    theirs = await ask(patterns, subjects)
    wrong = {pattern: ours[pattern] ^ theirs[pattern] for pattern in patterns if ours[pattern] != theirs[pattern]}
    assert not wrong, f"seed {seed}: {wrong}"
    assert any(ours.values()), f"seed {seed}: nothing matched, so nothing was tried"


async def test_subjects_match_as_in_nats(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    server.start()

    async def ask(patterns: list[str], subjects: list[str]) -> Heard:
        heard: Heard = {pattern: set() for pattern in patterns}
        client = await nats.connect(f"nats://127.0.0.1:{server.port}")

        def note(pattern: str) -> Callable[..., Awaitable[None]]:
            async def noted(message: Msg) -> None:
                heard[pattern].add(message.subject)

            return noted

        for pattern in patterns:
            await client.subscribe(pattern, cb=note(pattern))
        for subject in subjects:
            await client.publish(subject, b"")
        await client.drain()
        return heard

    await compare("nats", "ab.*>", ask)
    server.stop()


async def test_subjects_match_as_in_redis(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()

    async def ask(patterns: list[str], subjects: list[str]) -> Heard:
        heard: Heard = {pattern: set() for pattern in patterns}
        client = redis.asyncio.Redis(port=server.port, decode_responses=True)
        listener = client.pubsub()
        await listener.psubscribe(*patterns)
        await listener.subscribe(LAST)
        for subject in [*subjects, LAST]:
            await client.publish(subject, b"")
        async for said in listener.listen():
            if said["channel"] == LAST and said["type"] == "message":
                break
            if said["type"] == "pmessage":
                heard[said["pattern"]].add(said["channel"])
        await listener.aclose()
        await client.aclose()
        return heard

    await compare("redis", "ab.*?[]^-\\", ask)
    server.stop()


async def test_subjects_match_as_in_mosquitto(tmp_path: Path) -> None:
    server = Mosquitto(tmp_path)
    server.start()

    async def ask(patterns: list[str], subjects: list[str]) -> Heard:
        heard: Heard = {}
        for pattern in patterns:  # one client for each: a server may send what two filters match once or twice
            heard[pattern] = await asyncio.to_thread(ask_mosquitto, server.port, pattern, subjects)
        return heard

    await compare("mqtt", "ab..+*#>", ask)
    server.stop()


def ask_mosquitto(port: int, pattern: str, subjects: list[str]) -> set[str]:
    heard: set[str] = set()
    over = [False]
    client = mqtt.Client(CallbackAPIVersion.VERSION2)

    def note(_: object, __: object, message: mqtt.MQTTMessage) -> None:
        if message.topic == LAST:
            over[0] = True
        else:
            heard.add(message.topic.replace("/", "."))

    client.on_message = note
    topic = pattern.replace(".", "/").replace("*", "+").replace(">", "#")

    def subscribe(*_: object) -> None:
        client.subscribe([(topic, 0), (LAST, 0)])

    def publish(*_: object) -> None:
        for subject in [*(each.replace(".", "/") for each in subjects), LAST]:
            client.publish(subject, b"")

    client.on_connect = subscribe
    client.on_subscribe = publish
    client.connect("127.0.0.1", port)
    for _ in range(1000):
        client.loop(0.1)
        if over[0]:
            break
    client.disconnect()
    return heard


async def test_a_matcher_that_is_wrong_is_caught() -> None:
    async def ask(patterns: list[str], subjects: list[str]) -> Heard:
        return {pattern: set() for pattern in patterns}

    with pytest.raises(AssertionError, match="seed"):
        await compare("reference", "ab.*", ask)
