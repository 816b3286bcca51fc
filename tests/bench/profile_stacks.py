"""What py-spy saw, made readable: its raw lines, `frame;frame;.. count`, as stacks of named frames.

supervisor's frames cut     a child is a fork: what lies below farm/control/child.py was never its own work
other threads left out      what py-spy takes for busy in them is mostly a sleep
C between Python left out   an event loop's inside, how Python calls: the same for all that stands below it
no symbol                   joined with the frame above when that is of the same library, else named [library]
Rust's names                _RNvMs..6values3Val4load -> wasmtime..Val::load
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

_FRAME: Final = re.compile(r"(?P<name>.*) \((?P<file>[^()]*?)(?::(?P<line>\d+))?\)$")
# One step through a mangled name: a crate, a reference back or a number that tells namesakes apart, a length, a tag.
_MARK: Final = re.compile(r"(?P<crate>C)|[Bs][0-9A-Za-z]*_|(?P<length>0|[1-9]\d*)|.")
_OWN_ROOT: Final = "farm/control/child.py"
_THREADS: Final = "threading.py"
_NO_MODULE: Final = "?"
GUEST: Final = "[guest]"
_WAITS: Final = frozenset({"epoll_wait", "epoll_pwait", "clock_nanosleep"})
_POLL: Final = ("poll", "select_poll_poll")  # that of the select module waits, that of ZeroMQ only looks


@dataclass(frozen=True)
class Frame:
    """A function, by name and file; line 0: unknown."""

    name: str
    file: str
    line: int = 0

    @property
    def python(self) -> bool:
        """Whether it is Python, not native."""
        return self.file.endswith(".py")


@dataclass(frozen=True)
class Stack:
    """Frames from the outermost, and how many samples found them."""

    frames: tuple[Frame, ...]
    count: int


@dataclass(frozen=True)
class Row:
    """One function's share of the samples, 0 to 1: itself, itself with the native code it called, all it called."""

    name: str
    place: str
    own: float
    native: float
    total: float


def stacks(raw: Iterable[str]) -> list[Stack]:
    """The main thread's stacks of py-spy's raw lines."""
    found: list[Stack] = []
    for line in raw:
        text, _, count = line.strip().rpartition(" ")
        frames = _short(_named(_own([_frame(one) for one in text.split(";")])))
        if frames and not any(frame.file == _THREADS for frame in frames):
            found.append(Stack(tuple(frames), int(count)))
    return found


def working(found: list[Stack]) -> list[Stack]:
    """Without those in which a process waits for something to do."""
    return [stack for stack in found if not _waits(stack)]


def top(found: list[Stack], count: int) -> list[Row]:
    """The functions with most time of their own, most first."""
    own: Counter[tuple[str, str]] = Counter()
    native: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    lines: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for stack in found:
        leaf = stack.frames[-1]
        own[leaf.name, leaf.file] += stack.count
        lines[leaf.name, leaf.file][leaf.line] += stack.count
        total.update(dict.fromkeys({(frame.name, frame.file) for frame in stack.frames}, stack.count))
        caller = next((frame for frame in reversed(stack.frames) if frame.python), None)
        if caller is not None:
            native[caller.name, caller.file] += stack.count
    every = sum(own.values()) or 1
    return [
        Row(key[0], _place(key[1], lines[key]), mine / every, (native[key] or mine) / every, total[key] / every)
        for key, mine in own.most_common(count)
    ]


def by_code(found: list[Stack]) -> list[tuple[str, float]]:
    """Whose code the time was spent in, most first: farm, a package of Python's, a native library, the guest."""
    own: Counter[str] = Counter()
    for stack in found:
        own[_owner(stack.frames[-1])] += stack.count
    every = sum(own.values()) or 1
    return [(owner, count / every) for owner, count in own.most_common()]


def demangled(name: str) -> str:
    """A Rust symbol (RFC 2603) in short, `crate..Type::function<of>`; other names as they are."""
    if not name.startswith("_R"):
        return name
    paths = _paths(name.partition(".")[0])
    if len(paths) > 1 and len(paths[-1]) == 1:
        del paths[-1]  # the crate that made this copy
    if not paths or len(paths[0]) < 2:
        return name
    generic = name.startswith("_RI")
    words = paths[0] if generic or len(paths) == 1 else [*paths[0], paths[-1][-1]]
    of = f"<{paths[-1][-1]}>" if generic and len(paths) > 1 else ""
    return f"{words[0]}{'..' if len(words) > 3 else '::'}{'::'.join(words[-2:] if len(words) > 2 else words[1:])}{of}"


def _owner(frame: Frame) -> str:
    if frame.name == GUEST:
        return "guest"
    if frame.python:
        return frame.file.partition("/")[0].removesuffix(".py")
    # With debug symbols a C file's name stands in the place of the library's, and such is CPython or uvloop.
    return "uvloop" if frame.file == "loop.c" else "C of Python" if ".so" not in frame.file else _library(frame.file)


def _library(file: str) -> str:
    name = re.split("[.-]", file)[0].lstrip("_").removeprefix("lib")
    return {"python3": "C of Python", "core": "msgspec", "c": "libc"}.get(name, name)


def _paths(mangled: str) -> list[list[str]]:
    """The words of each path that begins with a crate."""
    paths: list[list[str]] = []
    at = 2
    while at < len(mangled):
        mark = _MARK.match(mangled, at)
        assert mark is not None
        at = mark.end()
        if mark["crate"]:
            paths.append([])
        elif mark["length"]:
            at += mangled[at : at + 1] == "_"
            word, at = mangled[at : at + int(mark["length"])], at + int(mark["length"])
            if word and paths:
                paths[-1].append(word)
    return [path for path in paths if path]


def _frame(text: str) -> Frame:
    match = _FRAME.match(text)
    if match is None:
        return Frame(text, _NO_MODULE)
    file = match["file"]
    return Frame(
        demangled(match["name"]), file if file.endswith(".py") else PurePath(file).name, int(match["line"] or 0)
    )


def _own(frames: list[Frame]) -> list[Frame]:
    last = max((at for at, frame in enumerate(frames) if frame.file == _OWN_ROOT), default=-1)
    return frames[last + 1 :]


def _waits(stack: Stack) -> bool:
    leaf = stack.frames[-1].name
    poll, caller = _POLL
    return leaf in _WAITS or (leaf == poll and any(frame.name == caller for frame in stack.frames))


def _short(frames: list[Frame]) -> list[Frame]:
    last = max((at for at, frame in enumerate(frames) if frame.python), default=-1)
    return [frame for at, frame in enumerate(frames) if at > last or not frame.file.endswith((".c", ".h"))]


def _named(frames: list[Frame]) -> list[Frame]:
    named: list[Frame] = []
    for frame in frames:
        if not frame.name.startswith("0x"):
            named.append(frame)
            continue
        name = GUEST if frame.file == _NO_MODULE else f"[{frame.file}]"
        if not named or (named[-1].file != frame.file and named[-1].name != name):
            named.append(Frame(name, "" if frame.file == _NO_MODULE else frame.file))
    return named


def _place(file: str, lines: Counter[int]) -> str:
    line = lines.most_common(1)[0][0]
    return f"{file}:{line}" if line else file
