"""The shape of a component's functions and values, read once from the component itself.

A shape is plain data: it can be compared with what farm expects of an interface, printed as WIT, and turned into a
codec. Values travel as:

    bool, ints, floats, char, string   bool, int, float, str, str (towards a guest also bytes that are UTF-8, and
                                       from one where the shape says so)
    list<u8>, list<T>                  bytes, list
    record, tuple                      tuple, in the order of the type
    variant, enum                      (case, payload or None), the case's name
    option<T>, result<T, E>            T or None, (True, T) or (False, E)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wasmtime import Engine
from wasmtime import component as wt

PLAIN: Mapping[type, str] = {
    wt.Bool: "bool",
    wt.S8: "s8",
    wt.U8: "u8",
    wt.S16: "s16",
    wt.U16: "u16",
    wt.S32: "s32",
    wt.U32: "u32",
    wt.S64: "s64",
    wt.U64: "u64",
    wt.F32: "f32",
    wt.F64: "f64",
    wt.Char: "char",
    wt.String: "string",
}


@dataclass(frozen=True)
class Plain:
    """A value without parts, by its WIT name. as_bytes: a string is read as its UTF-8 bytes; ours to say."""

    name: str
    as_bytes: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Bytes:
    """`list<u8>`."""

    def __str__(self) -> str:
        return "list<u8>"


@dataclass(frozen=True)
class List:
    """`list<T>`. limit bounds what is read from a guest, and what names its elements in the error: both are ours."""

    element: Shape
    limit: int | None = field(default=None, compare=False)
    what: str = field(default="elements", compare=False)

    def __str__(self) -> str:
        return f"list<{self.element}>"


@dataclass(frozen=True)
class Record:
    """A record: field names and shapes in order."""

    fields: tuple[tuple[str, Shape], ...]

    def __str__(self) -> str:
        return "record { " + ", ".join(f"{name}: {shape}" for name, shape in self.fields) + " }"


@dataclass(frozen=True)
class Tuple:
    """A tuple."""

    elements: tuple[Shape, ...]

    def __str__(self) -> str:
        return "tuple<" + ", ".join(map(str, self.elements)) + ">"


@dataclass(frozen=True)
class Variant:
    """A variant: case names and payloads in order."""

    cases: tuple[tuple[str, Shape | None], ...]

    def __str__(self) -> str:
        shown = (name if shape is None else f"{name}({shape})" for name, shape in self.cases)
        return "variant { " + ", ".join(shown) + " }"


@dataclass(frozen=True)
class Enum:
    """An enum."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return "enum { " + ", ".join(self.names) + " }"


@dataclass(frozen=True)
class Option:
    """`option<T>`."""

    some: Shape

    def __str__(self) -> str:
        return f"option<{self.some}>"


@dataclass(frozen=True)
class Result:
    """`result<T, E>`, either absent."""

    ok: Shape | None
    err: Shape | None

    def __str__(self) -> str:
        return f"result<{self.ok or '_'}, {self.err or '_'}>"


@dataclass(frozen=True)
class Other:
    """What no codec of ours carries: resources, flags, streams."""

    name: str

    def __str__(self) -> str:
        return self.name


Shape = Plain | Bytes | List | Record | Tuple | Variant | Enum | Option | Result | Other


@dataclass(frozen=True)
class Function:
    """A function's parameters and result."""

    params: tuple[tuple[str, Shape], ...]
    result: Shape | None

    def __str__(self) -> str:
        shown = ", ".join(f"{name}: {shape}" for name, shape in self.params)
        return f"func({shown})" + (f" -> {self.result}" if self.result else "")


@dataclass(frozen=True)
class Interface:
    """An instance that a component imports or exports: its functions by name, and whether it has anything but types."""

    functions: Mapping[str, Function]
    only_types: bool


Item = Function | Interface | Other


def of_value(ty: wt.ValType) -> Shape:
    """The shape of one of wasmtime's value types."""
    plain = PLAIN.get(type(ty))
    if plain is not None:
        return Plain(plain)
    match ty:
        case wt.ListType():
            element = of_value(ty.element)
            return Bytes() if element == Plain("u8") else List(element)
        case wt.RecordType():
            return Record(tuple((name, of_value(field)) for name, field in ty.fields))
        case wt.TupleType():
            return Tuple(tuple(of_value(element) for element in ty.elements))
        case wt.VariantType():
            return Variant(tuple((name, of_maybe(payload)) for name, payload in ty.cases))
        case wt.EnumType():
            return Enum(tuple(ty.names))
        case wt.OptionType():
            return Option(of_value(ty.payload))
        case wt.ResultType():
            return Result(of_maybe(ty.ok), of_maybe(ty.err))
        case _:
            return Other(type(ty).__name__.removesuffix("Type").lower())


def of_maybe(ty: wt.ValType | None) -> Shape | None:
    """The shape of a type that may be absent."""
    return None if ty is None else of_value(ty)


def of_function(ty: wt.FuncType) -> Function:
    """The shape of one of wasmtime's function types."""
    params = tuple((name, of_value(param)) for name, param in ty.params)
    return Function(params, of_maybe(ty.result))


def of_item(ty: object, engine: Engine) -> Item:
    """The shape of one import or export, by its type."""
    if isinstance(ty, wt.FuncType):
        return of_function(ty)
    if not isinstance(ty, wt.ComponentInstanceType):
        return Other(type(ty).__name__)
    members = {name: member.ty for name, member in ty.exports(engine).items()}
    functions = {name: of_function(member) for name, member in members.items() if isinstance(member, wt.FuncType)}
    return Interface(functions, only_types=all(isinstance(m, wt.ValType) for m in members.values()))


def imports_of(component: wt.Component, engine: Engine) -> dict[str, Item]:
    """What a component imports, by name."""
    return {name: of_item(extern.ty, engine) for name, extern in component.type.imports(engine).items()}


def exports_of(component: wt.Component, engine: Engine) -> dict[str, Item]:
    """What a component exports, by name."""
    return {name: of_item(extern.ty, engine) for name, extern in component.type.exports(engine).items()}
