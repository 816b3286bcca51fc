"""What a type checker, and so an editor, says of a handler."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.sources import ROOT

HEAD: Final = "from farm.sdk import Message, Retry, message_component, on_start, publish, variable\n"
GOOD: Final = [
    "@message_component\ndef handle(message: Message) -> Message:\n    return Message(message.text.upper())\n",
    "@message_component\ndef handle(message: Message) -> list[Message] | None:\n    return [message]\n",
    "@message_component\nasync def handle(message: Message) -> Message:\n    return message\n",
    "@message_component\nasync def handle(message: Message) -> None:\n    publish(message)\n",
    "from collections.abc import Iterator\n@message_component\ndef handle(message: Message) -> Iterator[Message]:\n"
    "    yield message\n",
    "@on_start\nasync def begin() -> None: ...\n",
    'level: str = variable("level", "info")\n',
    'Message(b"", headers={"a": "b"}, reply_to=None)\n',
]
BAD: Final = [
    "@message_component\ndef handle(message: Message) -> str:\n    return message.text\n",
    "@message_component\ndef handle(message: Message) -> list[str]:\n    return [message.text]\n",
    "@message_component\ndef handle() -> Message:\n    return Message()\n",
    "@message_component\nasync def handle(message: Message) -> str:\n    return message.text\n",
    "@on_start\ndef begin(message: Message) -> None: ...\n",
    'level: str = variable("level")\n',
    "Message(5)\n",
    "publish('text')\n",
    "Retry()\n",
    "def change(message: Message) -> None:\n    message.subject = 'other'\n",
]


def test_right_handlers_pass_and_each_wrong_one_is_marked(tmp_path: Path) -> None:
    for number, text in enumerate(GOOD):
        (tmp_path / f"good_{number}.py").write_text(HEAD + text)
    for number, text in enumerate(BAD):
        (tmp_path / f"bad_{number}.py").write_text(HEAD + text)
    settings = {"extraPaths": [str(ROOT)], "typeCheckingMode": "standard", "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    checker = Path(sys.executable).with_name("basedpyright")
    done = subprocess.run([checker, "--outputjson"], cwd=tmp_path, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    marked = {Path(one["file"]).name for one in found if one["severity"] == "error"}
    assert marked == {f"bad_{number}.py" for number in range(len(BAD))}, found
