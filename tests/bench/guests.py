"""The guests that are measured: each answers with the body it was given.

    tiny          WebAssembly by hand, farm's own interface
    Python        a handler in Python, built by farm, farm's own interface
    tiny list     WebAssembly by hand, an interface whose bodies are list<u8> both ways
    Python list   the same interface in Python
What takes seconds to build is kept in build/bench.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

from farm.build.child import build_in_child
from farm.rundir import Rundir
from tests.guests import wat

ROOT: Final = Path(__file__).resolve().parents[2]
KEPT: Final = ROOT / "build" / "bench"

Guest = Literal["tiny", "Python", "tiny list", "Python list"]

HANDLER: Final = """
from farm.sdk import Message, message_component

@message_component
def handle(message: Message) -> Message:
    return message
"""

# componentize-py exports a named interface alone: an inline one it leaves out.
LIST_WORLD: Final = """
package leeorr:spin-message-trigger@0.2.0;

interface spin-message-types {
    record internal-message { message: list<u8>, subject: string, broker: string, response-subject: option<string> }
    record internal-output-message {
        message: list<u8>, subject: option<string>, broker: option<string>, response-subject: option<string>
    }
    variant outcome { publish(list<internal-output-message>), error(string) }
}

interface guest {
    use spin-message-types.{internal-message, outcome};
    handle-message: func(message: internal-message) -> outcome;
}

world listed { export guest; }
"""

LIST_HANDLER: Final = """
from wit_world import exports
from wit_world.imports.spin_message_types import InternalOutputMessage, Outcome_Publish

class Guest(exports.Guest):
    def handle_message(self, message):
        return Outcome_Publish([InternalOutputMessage(message.message, None, None, None)])
"""


def path_of(guest: Guest) -> Path:
    """Its .wasm, built if it was not."""
    KEPT.mkdir(parents=True, exist_ok=True)
    match guest:
        case "tiny":
            return _write(KEPT / "tiny.wasm", wat.wasm("echo"))
        case "tiny list":
            return _write(KEPT / "tiny-list.wasm", wat.wasm("leeorr"))
        case "Python":
            return _python()
        case "Python list":
            return _python_list()


def cache_folder() -> Rundir:
    """Where their native code is kept."""
    found = Rundir(KEPT / "state", KEPT / "run")
    found.make()
    return found


def _write(path: Path, content: bytes) -> Path:
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)
    return path


def _python() -> Path:
    folder = KEPT / "python"
    folder.mkdir(exist_ok=True)
    (folder / "farm.toml").touch()
    source = folder / "guest.py"
    source.write_text(HANDLER)
    return build_in_child(source)


def _python_list() -> Path:
    key = hashlib.sha256(f"{LIST_WORLD}{LIST_HANDLER}{version('componentize-py')}".encode()).hexdigest()[:16]
    made = KEPT / f"python-list-{key}.wasm"
    if not made.exists():
        folder = KEPT / "python-list"
        folder.mkdir(exist_ok=True)
        (folder / "world.wit").write_text(LIST_WORLD)
        (folder / "listing.py").write_text(LIST_HANDLER)
        tool = Path(sys.executable).with_name("componentize-py")
        new = folder / "new.wasm"
        words = ["-q", "-d", "world.wit", "-w", "listed", "componentize", "-p", ".", "-o", new, "listing"]
        subprocess.run([tool, *words], cwd=folder, check=True)
        new.replace(made)
    return made
