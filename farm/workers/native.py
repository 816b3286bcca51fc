"""Everything that farm uses of wasmtime-py below its public surface: pinned to one major, and to this file.

The functions are bound a second time, without typed pointers: wasmtime-py's own prototypes cost more than the calls.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import Any, Final, cast

import wasmtime
from wasmtime import component as wt

VAL_BYTES: Final = 32  # wasmtime_component_val_t: kind at 0, union at 8
UNION_BYTES: Final = 24
ENTRY_BYTES: Final = 48  # wasmtime_component_valrecord_entry_t: name (size, data) at 0, value at 16

# wasmtime_component_valkind_t of a value without parts, and how struct reads its union.
PLAIN_KINDS: Final = {
    "bool": (0, "?"),
    "s8": (1, "b"),
    "u8": (2, "B"),
    "s16": (3, "h"),
    "u16": (4, "H"),
    "s32": (5, "i"),
    "u32": (6, "I"),
    "s64": (7, "q"),
    "u64": (8, "Q"),
    "f32": (9, "f"),
    "f64": (10, "d"),
    "char": (11, "I"),
}
STRING, LIST, RECORD, TUPLE, VARIANT, ENUM, OPTION, RESULT = 12, 13, 14, 15, 16, 17, 18, 19
U8: Final = 2

_ffi: Final[Any] = importlib.import_module("wasmtime._ffi")
Pointer = ctypes.c_void_p
Size = ctypes.c_size_t
Ticks = ctypes.c_uint64


def _bind(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = _ffi.dll[name]  # by index: a new object, so that wasmtime-py keeps its own prototype
    function.restype = result
    if arguments:
        function.argtypes = arguments
    return cast(Callable[..., Any], function)


# Without argument types, ctypes passes objects of its own as they are: cheaper, and wrong for a plain int.
call: Final = _bind("wasmtime_component_func_call", Pointer)
"""(func, context, arguments, count, results, count) -> error or None. Arguments stay ours, results become ours."""

delete: Final = _bind("wasmtime_component_val_delete", None)
"""(value): frees what the value owns, not the value."""

clone: Final = _bind("wasmtime_component_val_clone", None)
"""(value, into): a copy that wasmtime owns."""

set_epoch_deadline: Final = _bind("wasmtime_context_set_epoch_deadline", None)
"""(context, ticks from now)"""

_new_error: Final = _bind("wasmtime_error_new", Pointer, ctypes.c_char_p)
_allow_async: Final = _bind("wasmtime_config_wasm_component_model_async_set", None, Pointer, ctypes.c_bool)
_support_tasks: Final = _bind("wasmtime_config_concurrency_support_set", None, Pointer, ctypes.c_bool)

HOST_FUNCTION: Final = ctypes.CFUNCTYPE(Size, Pointer, Pointer, Pointer, Pointer, Size, Pointer, Size)
"""(data, context, type, arguments, count, results, count) -> error or 0."""

_add_func: Final = _bind(
    "wasmtime_component_linker_instance_add_func",
    Pointer,
    Pointer,
    ctypes.c_char_p,
    Size,
    HOST_FUNCTION,
    Pointer,
    Pointer,
)


def forbid_async(config: wasmtime.Config) -> None:
    """Refuse components that use async functions and streams (WASI 0.3), which wasmtime-py cannot serve.

    Without them no call needs a task to be kept for it: 0.5 to 0.9 us less each.
    """
    pointer = ctypes.cast(cast(Any, config).ptr(), Pointer)
    _allow_async(pointer, False)
    _support_tasks(pointer, False)


def whole_memory() -> memoryview:
    """The process's address space: `view[address]` reads without a ctypes object for each value.

    Safe only for addresses that wasmtime handed out: another is a segmentation fault.
    """
    return memoryview((ctypes.c_ubyte * (2**47 - 1)).from_address(0)).cast("B")


def raise_error(pointer: int) -> None:
    """Raise what wasmtime returned as a pointer to its error type, which is consumed.

    Raises:
      wasmtime.WasmtimeError: always; `ExitTrap` when the guest called exit.
    """
    kind = cast(Any, ctypes.POINTER(_ffi.wasmtime_error_t))
    raise cast(Any, wasmtime.WasmtimeError)._from_ptr(ctypes.cast(pointer, kind))


def new_error(text: str) -> int:
    """An error for wasmtime to own: what a host function returns to make the guest trap."""
    return cast(int, _new_error(text.encode("utf-8", "backslashreplace").replace(b"\0", b"")))


def context_of(store: wasmtime.Store) -> int:
    """The address of a store's context; valid while the store is."""
    return ctypes.cast(cast(Any, store)._context(), Pointer).value or 0


def func_of(func: wt.Func) -> ctypes.Structure:
    """The structure that names a function of an instance; its address is what `call` takes."""
    return cast(ctypes.Structure, cast(Any, func)._func)


def add_function(instance: wt.LinkerInstance, name: str, function: Any) -> None:
    """Define a host function; the caller keeps `function` (a HOST_FUNCTION) alive as long as the linker.

    Raises:
      wasmtime.WasmtimeError: the name is taken.
    """
    pointer = ctypes.cast(cast(Any, instance).ptr(), Pointer)
    text = name.encode()
    error = _add_func(pointer, text, len(text), function, None, None)
    if error:
        raise_error(error)
