"""The seam between the host's interface (WIT package farm:messaging) and a handler's file.

    build time    bind(): import the user's file, prepare all that a call needs, freeze it
    first call    @on_start; random.Random objects made at import get a new seed
    each call     host's record -> Message -> handler -> Message(s) -> host's records, or a failure in words
Whatever the handler does is answered by a value: an exception that got out of here would trap, and end the instance.
The only module that imports wit_world, which exists in a component alone.
"""

from __future__ import annotations

import binascii
import gc
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import cast

from componentize_py_types import Err
from wit_world.imports import farm_types, publisher

from farm.sdk import _errors, _handlers, _host, _output
from farm.sdk._message import Message, arrived, departing

Outgoing, Text = farm_types.Outgoing, farm_types.Payload_Text
OUTPUTS_LIMIT = 1024
ALIKE: tuple[type, ...] = (str, bytes, bytearray, dict)  # iterable, and meant as one message
# What the standard library imports when it is first used; at run time there are no files to import it from.
ENCODINGS = (
    "ascii base64_codec cp437 cp850 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 hex_codec idna "
    "iso8859_2 iso8859_3 iso8859_4 iso8859_5 iso8859_6 iso8859_7 iso8859_8 iso8859_9 iso8859_10 iso8859_11 iso8859_13 "
    "iso8859_14 iso8859_15 iso8859_16 koi8_r koi8_u latin_1 punycode raw_unicode_escape rot_13 unicode_escape utf_7 "
    "utf_8_sig utf_16 utf_16_be utf_16_le utf_32 utf_32_be utf_32_le zlib_codec"
)
LAZY = ("_strptime", *(f"encodings.{name}" for name in ENCODINGS.split()))

_REFUSED = cast("type[Err[str]]", Err)
_host.HOST.set(_host.Building())


class Host:
    """The host of a running component."""

    def publish(self, message: Message) -> None:
        """Hand `message` over; it is held until the call succeeds."""
        try:
            publisher.publish(_outgoing(message))
        except _REFUSED as error:
            raise ValueError(error.value) from None


def bind(name: str, late: Iterable[str]) -> type:
    """Import the user's module `name` and what it would import `late`; the class that the world's export wants.

    Raises:
      ImportError: the module cannot be used as a handler; its text is for the user.
    """
    streams = _output.tuned_streams()
    module = _import(name)
    for other in (*late, *LAZY):
        # An import inside a function may be guarded by the user's own `except ImportError`.
        with suppress(ImportError):
            importlib.import_module(other)
    if "logging" in sys.modules:
        _output.send_logging_to_stderr()
    call = Call(module, streams)

    class Handler:
        """The export `handler` of the world."""

        handle = call.answer

    gc.collect()
    gc.freeze()
    return Handler


class Call:
    """One instance's calls: what is prepared once, and whether @on_start has run.

    A frame of Python costs a component about 0.3 us, an object about 0.7: the straight way has few of both.
    """

    def __init__(self, module: ModuleType, streams: tuple[_output.Lines, _output.Lines]) -> None:
        functions = _handlers.handlers_of(module)
        if len(functions) != 1:
            raise ImportError(f"{module.__name__}.py has {len(functions)} functions marked @message_component, not one")
        self._folder = f"{(module.__file__ or '').rpartition('/')[0]}/"
        self._modules = _modules_in(self._folder, module)
        self._starts = [one for each in self._modules for one in _handlers.starts_of(each)]
        self._defined = functions[0].__code__
        self._run = _runnable(functions[0])
        self._start = [_runnable(one) for one in self._starts]
        self._started = False
        self._single = Single()
        self._out, self._err = streams

    def answer(self, raw: farm_types.Message) -> list[farm_types.Outgoing]:
        """One call."""
        try:
            if not self._started:
                self._begin()
            payload = raw.payload
            body = payload.value if type(payload) is Text else _body(payload)
            answer = self._run(arrived(raw, body))
            return self._single.filled(answer) if type(answer) is Message else _outputs(answer)
        except BaseException as error:  # noqa: BLE001 - whatever gets out of here ends the instance
            raise Err(self._failure(error)) from None
        finally:
            if _output.Lines.written or sys.stdout is not self._out or sys.stderr is not self._err:
                _output.flush_streams()

    def _begin(self) -> None:
        _host.HOST.set(Host())
        _renew_random(self._modules)
        for start in self._start:
            start()
        self._started = True

    def _failure(self, error: BaseException) -> farm_types.Failure:
        try:
            cause = _errors.innermost(error)
            if isinstance(cause, _handlers.Reject):
                return farm_types.Failure_Reject(_errors.clean(cause.reason))
            if isinstance(cause, _handlers.Retry):
                return farm_types.Failure_Retry(farm_types.Later(_errors.clean(cause.reason), cause.after_ms))
            kind, text, place, trace = _errors.report(error, self._folder, self._defined)
            return farm_types.Failure_Error(farm_types.Fault(kind, text, place, trace))
        except BaseException:  # noqa: BLE001 - a class can be written so that even its name or its reason raises
            return farm_types.Failure_Error(farm_types.Fault("Exception", "an error that cannot be told", None, ""))


class Single:
    """The answer that is one message, in records that are filled anew: the host reads them before the next call."""

    def __init__(self) -> None:
        self._text = Text("")
        self._record = Outgoing(None, None, self._text, [], None)
        self._records = [self._record]

    def filled(self, message: Message) -> list[farm_types.Outgoing]:
        """The records of `message`; good until the next call."""
        record = self._record
        body, record.subject, record.broker, headers, record.reply_to = departing(message)
        record.headers = list(headers)
        if isinstance(body, str):
            self._text.value = body
            record.payload = self._text
        else:
            record.payload = _payload(body)
        return self._records


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except SystemExit as error:
        # Let through, it ends the build with nothing but a stack of wasm frames.
        raise ImportError(f"sys.exit({error.code!r}) at import") from error


def _modules_in(folder: str, first: ModuleType) -> list[ModuleType]:
    others = [each for each in list(sys.modules.values()) if (getattr(each, "__file__", None) or "").startswith(folder)]
    return [*(each for each in others if each is not first), first]


def _runnable(function: FunctionType) -> Callable[..., object]:
    if not function.__code__.co_flags & inspect.CO_COROUTINE:
        return function
    from farm.sdk._loop import Runner  # asyncio: 3 MB of component, so only where it is used

    runner = Runner()
    return lambda *arguments: runner.run(function(*arguments))


def _renew_random(modules: Iterable[ModuleType]) -> None:
    """Seed the generators that were made at build time, and would give every instance the same numbers."""
    random = sys.modules.get("random")
    if random is None:
        return
    for module in modules:
        for thing in list(vars(module).values()):
            if isinstance(thing, random.Random):
                thing.seed()


def _body(payload: farm_types.Payload) -> bytes | str:
    if isinstance(payload, farm_types.Payload_Hex):
        return binascii.a2b_hex(payload.value)
    if isinstance(payload, farm_types.Payload_Latin1):
        return payload.value.encode("latin-1")
    return payload.value


def _outputs(answer: object) -> list[farm_types.Outgoing]:
    if answer is None:
        return []
    if isinstance(answer, Message):
        return [_outgoing(answer)]
    if isinstance(answer, ALIKE) or not isinstance(answer, Iterable):
        hint = ": make it `async def`" if hasattr(answer, "__await__") else ", not a Message, several of them, or None"
        raise TypeError(f"the handler returned {_kind(answer)}{hint}")
    outputs: list[farm_types.Outgoing] = []
    for one in cast("Iterable[object]", answer):
        if not isinstance(one, Message):
            raise TypeError(f"the handler returned {_kind(one)} among its messages")
        if len(outputs) == OUTPUTS_LIMIT:
            raise ValueError(f"the handler returned more than {OUTPUTS_LIMIT} messages")
        outputs.append(_outgoing(one))
    return outputs


def _kind(thing: object) -> str:
    return type(thing).__name__


def _outgoing(message: Message) -> farm_types.Outgoing:
    body, subject, broker, headers, reply_to = departing(message)
    return Outgoing(subject, broker, _payload(body), list(headers), reply_to)


def _payload(body: bytes | str) -> farm_types.Payload:
    """Text is one copy, and digits 4 ns for each byte on either side; a list would cost 60 ns for each."""
    if isinstance(body, str):
        return Text(body)
    if body.isascii():
        return Text(body.decode())
    return farm_types.Payload_Hex(body.hex())
