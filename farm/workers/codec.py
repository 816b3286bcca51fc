"""The codec: calls between Python and a component, made once for each type of function.

wasmtime-py asks for the function's type on every call and makes a Python object of every byte; a codec that knows the
type beforehand is 13 to 30 times faster, and gives back to wasmtime what it was given (`tests/workers/test_memory.py`).
One codec serves one call at a time, on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from farm.workers import native
from farm.workers.lift import Reader, TooMany, reader
from farm.workers.lower import VAL_WORDS, Block, Writer, arguments_writer, writer
from farm.workers.shapes import Function

HOST: Final = "host: "  # what the text of a trap that we made begins with

Target = tuple[native.Pointer, native.Pointer, native.Pointer, native.Size, native.Pointer, native.Size]
"""The arguments of `native.call`, as ctypes objects: made once, and cheaper to pass than ints."""


Caller = Callable[[Target, tuple[Any, ...]], Any]
"""Calls a function: where it is and its arguments to its result, or None where it has none.

Raises:
  wasmtime.WasmtimeError: the guest trapped: its store is dead.
  TooLarge: an argument holds a list<u8> that is too large for us; the guest was not called.
  TooMany: the result holds a longer list than its place allows; the guest is unharmed.
"""


class Codec:
    """Calls functions of one type in any instance.

    Raises:
      TypeError: the type has a part that no codec carries.
    """

    def __init__(self, function: Function, memory: memoryview) -> None:
        self._counts = native.Size(len(function.params)), native.Size(0 if function.result is None else 1)
        self._arguments, write = arguments_writer([shape for _, shape in function.params])
        self._result = Block(VAL_WORDS)
        self._result_pointer = native.Pointer(self._result.address)
        read = None if function.result is None else reader(function.result, memory)
        self.call: Final[Caller] = self._caller(write, read)

    def target(self, context: int, func: int) -> Target:
        """A function of one instance, for `call`.

        Args:
          context: address of the store's context. func: address of the function's structure.
        """
        count, results = self._counts
        arguments = native.Pointer(self._arguments.address)
        return native.Pointer(func), native.Pointer(context), arguments, count, self._result_pointer, results

    def _caller(self, write: Writer, read: Reader | None) -> Caller:
        # A closure: what a method would look up of itself is a tenth of what a call costs in Python.
        run, delete, raise_error = native.call, native.delete, native.raise_error
        address, pointer, words = self._result.address, self._result_pointer, self._result.words

        def call(target: Target, arguments: tuple[Any, ...]) -> Any:
            write(arguments)
            error = run(*target)
            if error:
                raise_error(error)
            if read is None:
                return None
            try:
                return read(address)
            finally:
                delete(pointer)
                words[0] = 0  # a plain kind: wasmtime drops what is here before it writes the next result

        return call


class HostFunction:
    """A function of ours that a guest calls in mid-call.

    `fault` is what `run` raised beyond TooMany: a fault of ours. The guest traps, and whoever called it raises that.
    """

    def __init__(self, function: Function, run: Callable[..., Any], memory: memoryview) -> None:
        self.fault: Exception | None = None
        self._run = run
        self._readers = [(native.VAL_BYTES * i, reader(s, memory)) for i, (_, s) in enumerate(function.params)]
        self._result = Block(VAL_WORDS)
        self._writer = None if function.result is None else writer(function.result, (self._result, 0))
        self.callback = native.HOST_FUNCTION(self._called)

    def _called(self, *given: int) -> int:
        arguments, results = given[3], given[5]  # as native.HOST_FUNCTION lists them
        try:
            answer = self._run(*[read(arguments + offset) for offset, read in self._readers])
            if self._writer is not None:
                self._writer(answer)
                native.clone(native.Pointer(self._result.address), native.Pointer(results))
            return 0
        except TooMany as error:
            return native.new_error(f"{HOST}{error}")
        except Exception as error:  # noqa: BLE001  nothing may cross a C frame; raised again by whoever called the guest
            self.fault = error
            return native.new_error(f"{HOST}a fault of the host")
