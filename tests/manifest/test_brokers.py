"""Brokers that are servers: their keys, what they can keep, and secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.manifest.read import read
from farm.manifest.review import review
from farm.manifest.show import as_lines
from farm.spec import QueueSpec, Secret
from tests.manifest.example import said, write

REDIS = 'type = "redis"\nurl = "redis://h"'
NATS = 'type = "nats"\nservers = ["nats://h:4222"]'
MQTT = 'type = "mqtt"\nurl = "mqtt://h"'


def manifest(broker: str, trigger: str = "") -> str:
    """From line 4 on the broker; a trigger's lines follow it, if there are any."""
    text = f'[app]\nname = "x"\n[brokers.b]\n{broker}\n'
    if trigger:
        text += '[components.c]\nsource = "hello.py"\n[[components.c.triggers]]\nbroker = "b"\n' + trigger + "\n"
    return text


@pytest.mark.parametrize(
    ("broker", "line"),
    [
        (
            'type = "redis"\nurl = "redis://u:hunter2@h"',
            "bad brokers.b.url (farm.toml:5): there is a password in it. Leave it out, and write password = "
            '{ file = ".." } or { env = ".." }',
        ),
        (
            'type = "redis"\nurl = "redis://h?password=hunter2"',
            "bad brokers.b.url (farm.toml:5): there is a password in it. Leave it out, and write password = "
            '{ file = ".." } or { env = ".." }',
        ),
        (
            f'{REDIS}\npassword = "hunter2"',
            "bad brokers.b.password (farm.toml:6): a secret does not stand in farm.toml. "
            'Write password = { file = ".." } or { env = ".." }',
        ),
        (
            f"{REDIS}\npassword = {{}}",
            'bad brokers.b.password (farm.toml:6): a secret is in one place. Write { file = ".." } or { env = ".." }',
        ),
        (
            'type = "nats"\nservers = ["nats://h", "http://h"]',
            "bad brokers.b.servers[1] (farm.toml:5): it is no URL for this type: its scheme is none of nats, tls. "
            "Write it like nats://host",
        ),
        (
            'type = "mqtt"\nurl = "mqtt://h:port"',
            "bad brokers.b.url (farm.toml:5): it is no URL. Write it like mqtt://host",
        ),
        (f'{NATS}\nuser = "u"', "bad brokers.b.user (farm.toml:6): user and password need each other"),
        (
            f'{NATS}\ntoken = {{ env = "T" }}\nnkey = {{ env = "N" }}',
            "bad brokers.b.nkey (farm.toml:7): farm can be only one: token or nkey",
        ),
        (
            'type = "jetstream"\nserver = "embedded"\nservers = ["h"]',
            "bad brokers.b.servers (farm.toml:6): the embedded server needs none. Remove it",
        ),
        (
            f'{REDIS}\nsentinel_password = {{ env = "S" }}',
            "bad brokers.b.sentinel_password (farm.toml:6): there are no sentinels",
        ),
        (
            f'{REDIS}\nsentinels = ["h"]\nsentinel_master = "m"\nsentinel_username = "u"',
            "bad brokers.b.sentinel_username (farm.toml:8): a user has a password. Write sentinel_password = "
            '{ file = ".." } or { env = ".." }',
        ),
        (f'{REDIS}\nservers = ["h"]', "unknown key brokers.b.servers (farm.toml:6). "),
        (f"{MQTT}\nqos = 2", "bad brokers.b.qos (farm.toml:6): 2 is out of range. Use 0 to 1"),
    ],
)
def test_what_is_wrong_with_a_broker_is_told_with_its_line_and_no_secret(
    tmp_path: Path, broker: str, line: str
) -> None:
    lines = said(tmp_path, manifest(broker))
    assert lines[0].startswith(line)
    assert "hunter2" not in str(lines)


@pytest.mark.parametrize(
    ("broker", "trigger", "line"),
    [
        (
            REDIS,
            'queue = { topic = "a.*", group = "g" }',
            "bad components.c.triggers[0].queue.topic (farm.toml:10): a broker of type redis has no wildcards in "
            "queues. Write a queue for each subject",
        ),
        (
            'type = "redis-streams"\nurl = "redis://h"',
            'topic = "a.*"',
            "bad components.c.triggers[0].topic (farm.toml:10): invalid pattern 'a.*': a wildcard in it, and this "
            "broker has none",
        ),
        (
            f'{MQTT}\nversion = "3.1.1"',
            'topic = "a.#"\npublish = { subject = "a.b" }',
            "components.c.triggers[0] feeds itself (farm.toml:12): what it publishes comes back to it, and on a broker "
            "of type mqtt its messages carry no headers, so nobody can count how often one has come round. "
            "Publish to a subject that its topic does not match",
        ),
        (
            NATS,
            'queue = { topic = "a.b*", group = "g" }',
            "bad components.c.triggers[0].queue.topic (farm.toml:10): invalid pattern 'a.b*': `*` and `>` are whole "
            "tokens",
        ),
        (
            NATS,
            'queue = { topic = "a", group = "a b" }',
            'bad components.c.triggers[0].queue.group (farm.toml:10): "a b" is no name: a name is 1 to 64 letters, '
            'digits, - and _. Write it like group = "billing"',
        ),
        (
            NATS,
            'topic = "a"\nqueue = { topic = "a", group = "g" }',
            "bad components.c.triggers[0].queue (farm.toml:11): the trigger has a topic already. Write topic or queue",
        ),
        (
            NATS,
            "attempts = 3",
            'components.c.triggers[0].topic is missing (farm.toml:8). Write topic = "hello.*", or a queue',
        ),
    ],
)
def test_a_trigger_that_its_broker_cannot_serve_is_refused(
    tmp_path: Path, broker: str, trigger: str, line: str
) -> None:
    assert said(tmp_path, manifest(broker, trigger)) == [line]


def test_a_circle_where_hops_are_counted_is_a_warning(tmp_path: Path) -> None:
    text = manifest(f'{MQTT}\nversion = "5"', 'topic = "a.#"\npublish = { subject = "a.b" }')
    (warning,) = review(read(write(tmp_path, text), {}))
    assert "feeds itself" in str(warning)


def test_a_queue_is_read_with_its_topic_and_group(tmp_path: Path) -> None:
    spec = read(write(tmp_path, manifest(NATS, 'queue = { topic = "a.*", group = "g" }')), {}).spec
    (trigger,) = spec.components["c"].triggers
    assert (trigger.topic, trigger.group, trigger.queue) == ("a.*", "g", QueueSpec("a.*", "g"))


def test_paths_of_a_broker_are_relative_to_the_manifest_and_a_secret_stays_where_it_is(tmp_path: Path) -> None:
    text = manifest(f'{NATS}\ncredentials = {{ file = "c.creds" }}\ntls = {{ ca = "ca.pem" }}')
    broker = vars(read(write(tmp_path, text), {}).spec.brokers["b"])
    assert broker["credentials"] == Secret(file=tmp_path / "c.creds")
    assert broker["tls"].ca == tmp_path / "ca.pem"
    assert broker["tls"].key is None


def test_a_variable_may_say_where_a_secret_is(tmp_path: Path) -> None:
    environ = {"FARM_BROKERS__B__PASSWORD__ENV": "PW", "FARM_BROKERS__B__USERNAME": "me"}
    broker = vars(read(write(tmp_path, manifest(REDIS)), environ).spec.brokers["b"])
    assert (broker["password"], broker["username"]) == (Secret(env="PW"), "me")


def test_what_is_shown_of_a_secret_is_its_place(tmp_path: Path) -> None:
    lines = "\n".join(as_lines(read(write(tmp_path, manifest(f'{REDIS}\npassword = {{ env = "PW" }}')), {})))
    assert 'brokers.b.password.env = "PW"' in lines
    assert "brokers.b.username is not set: the default user" in lines


def test_two_members_of_a_group_are_no_mistake_and_a_circle_through_a_queue_is_told(
    tmp_path: Path,
) -> None:
    queue = '{ topic = "a.*", group = "g" }'
    two = f'queue = {queue}\n[[components.c.triggers]]\nbroker = "b"\nqueue = {queue}'
    assert review(read(write(tmp_path, manifest(NATS, two)), {})) == []
    circle = f'queue = {queue}\npublish = {{ subject = "a.b" }}'
    (warning,) = review(read(write(tmp_path, manifest(NATS, circle)), {}))
    assert str(warning).startswith("components.c.triggers[0] feeds itself (farm.toml:10)")
