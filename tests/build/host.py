"""A host for built components, by wasmtime's own component API: slow, and all that these tests need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from wasmtime import Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, Record, Variant

PUBLISHER = "farm:messaging/publisher@0.1.0"
HANDLER = "farm:messaging/handler@0.1.0"


@dataclass(frozen=True)
class Sent:
    """One message that a guest answered or published, as it came out: form is text, latin1, binary or hex."""

    payload: str
    form: str = "text"
    subject: str | None = None
    broker: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    reply_to: str | None = None


@dataclass(frozen=True)
class Failure:
    """How a call failed, in the guest's words; which fields are set depends on the kind of failure."""

    case: str
    kind: str = ""
    text: str = ""
    place: str | None = None
    trace: str = field(default="", compare=False)
    after_ms: int | None = None


@dataclass(frozen=True)
class Given:
    """A message for a guest."""

    subject: str
    payload: str | bytes = ""
    form: str = "text"
    headers: tuple[tuple[str, str], ...] = ()
    reply_to: str | None = None
    attempt: int = 1


class Guest:
    """One component, compiled; `call` uses one instance until `renew`, or a trap, ends it."""

    def __init__(self, wasm: Path) -> None:
        self._engine = Engine()
        self._component = Component.from_file(self._engine, str(wasm))
        self.renew()

    def renew(self, environment: Mapping[str, str] | None = None) -> None:
        """A new instance, with nothing of the one before."""
        self.published: list[Sent] = []
        self.output: list[bytes] = []
        linker = Linker(self._engine)
        linker.add_wasip2()
        with linker.root() as root, root.add_instance(PUBLISHER) as instance:
            instance.add_func("publish", self._publish)
        self._store = Store(self._engine)
        wasi = WasiConfig()
        wasi.env = list((environment or {}).items())
        wasi.stdout_custom = wasi.stderr_custom = self._write
        self._store.set_wasi(wasi)
        instance = linker.instantiate(self._store, self._component)
        handler = instance.get_export_index(self._store, HANDLER)
        function = instance.get_func(
            self._store, cast("Any", instance.get_export_index(self._store, "handle", handler))
        )
        assert function is not None
        self._function = function

    def call(self, given: Given) -> list[Sent] | Failure:
        """What the guest says; a trap is wasmtime's error."""
        message = Record()
        message.__dict__ |= {
            "id": "id-1",
            "subject": given.subject,
            "broker": "test",
            "payload": Variant(given.form, given.payload),
            "headers": list(given.headers),
            "reply-to": given.reply_to,
            "attempt": given.attempt,
        }
        answer = self._function(self._store, message)
        self._function.post_return(self._store)
        return [_sent(one) for one in answer] if isinstance(answer, list) else _failure(answer)

    def sent(self, subject: str, payload: str | bytes = "") -> list[Sent]:
        """What the guest answers to text, or to bytes that are none; it must not fail."""
        form = "text" if isinstance(payload, str) else "binary"
        answer = self.call(Given(subject, payload, form))
        assert isinstance(answer, list), answer
        return answer

    def failure(self, subject: str, payload: str = "") -> Failure:
        """How the guest fails; it must."""
        answer = self.call(Given(subject, payload))
        assert isinstance(answer, Failure), answer
        return answer

    def _publish(self, store: object, message: Any) -> str | None:
        del store
        self.published.append(_sent(message))
        return "no such subject" if message.subject == "refused" else None

    def _write(self, data: bytes) -> int:
        self.output.append(bytes(data))
        return len(data)


def _sent(record: Any) -> Sent:
    payload = record.payload.payload
    return Sent(
        payload, record.payload.tag, record.subject, record.broker, tuple(record.headers), vars(record)["reply-to"]
    )


def _failure(variant: Any) -> Failure:
    said = variant.payload
    if variant.tag == "reject":
        return Failure("reject", text=said)
    if variant.tag == "retry":
        return Failure("retry", text=said.reason, after_ms=vars(said)["after-ms"])
    return Failure("error", said.kind, said.text, said.place, said.trace)
