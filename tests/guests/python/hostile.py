"""Does what the message says: what a handler may try on the machine it runs on."""

import os
import socket
import sys

from farm.sdk import Message, message_component, publish, variable


@message_component
def handle(message: Message) -> Message | None:
    return globals()[message.text.split()[0]]()


def spin():
    while True:
        pass


def recurse():
    return recurse() or None


def hog():
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def leave():
    os._exit(3)


def connect():
    socket.create_connection(("127.0.0.1", 80), timeout=1)


def read():
    return Message(open("/etc/passwd").read())


def write():
    with open("/tmp/farm-was-here", "w") as file:
        file.write("x")


def tell():
    print("out")
    print("err", file=sys.stderr)


def look():
    names = sorted(name for name in os.environ if not name.startswith("PYTHON"))
    return Message(f"{variable('my-name')} {','.join(names)} {sys.argv}")


def ghost():
    publish(Message("boo", "held"))
    raise ValueError("after publishing")


def proper():
    publish(Message("first", "held"))
    return Message(bytes(range(256)))
