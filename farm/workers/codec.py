"""The codec: calls between Python and a component, made once for each type of function.

wasmtime-py asks for the function's type on every call and makes a Python object of every byte; a codec that knows the
type beforehand is 13 to 30 times faster, and gives back to wasmtime what it was given (`tests/workers/test_memory.py`).
One codec serves one call at a time, on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from farm.workers import native
from farm.workers.lift import TooMany, reader
from farm.workers.lower import VAL_WORDS, Block, values, writer
from farm.workers.shapes import Function

HOST: Final = "host: "  # what the text of a trap that we made begins with

Target = tuple[native.Pointer, native.Pointer, native.Pointer, native.Size, native.Pointer, native.Size]
"""The arguments of `native.call`, as ctypes objects: made once, and cheaper to pass than ints."""


class Codec:
    """Calls functions of one type in any instance.

    Raises:
      TypeError: the type has a part that no codec carries.
    """

    def __init__(self, function: Function, memory: memoryview) -> None:
        self._arguments, self._writers = values([shape for _, shape in function.params])
        self._result = Block(VAL_WORDS)
        self._result_pointer = native.Pointer(self._result.address)
        self._reader = None if function.result is None else reader(function.result, memory)

    def target(self, context: int, func: int) -> Target:
        """A function of one instance, for `call`.

        Args:
          context: address of the store's context. func: address of the function's structure.
        """
        counts = (native.Size(len(self._writers)), native.Size(0 if self._reader is None else 1))
        arguments = native.Pointer(self._arguments.address)
        return native.Pointer(func), native.Pointer(context), arguments, counts[0], self._result_pointer, counts[1]

    def call(self, target: Target, arguments: tuple[Any, ...]) -> Any:
        """Call a function; its result, or None where it has none.

        Raises:
          wasmtime.WasmtimeError: the guest trapped: its store is dead.
          TooMany: the result holds a longer list than its place allows; the guest is unharmed.
        """
        for put, argument in zip(self._writers, arguments, strict=True):
            put(argument)
        error = native.call(*target)
        if error:
            native.raise_error(error)
        if self._reader is None:
            return None
        try:
            return self._reader(self._result.address)
        finally:
            native.delete(self._result_pointer)
            self._result.words[0] = 0  # a plain kind: wasmtime drops what is here before it writes the next result


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
