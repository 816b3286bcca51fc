"""What a farm knows of its sessions at an MQTT server, over its own end: a file in the broker's folder.

    farm        a part of every client id that is made
    sessions    name of a session -> the filters that the server may have for it -> their identifiers
A filter is written down before the server is asked for it and struck out after: what an earlier life has subscribed to
and nobody wants any longer can be ended, and a message that waited for it can be told what it was for.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from farm import log

NAME: Final = "session.json"


class _Kept(msgspec.Struct):
    farm: str = ""
    sessions: dict[str, dict[str, int]] = {}


class Record:
    """The file. It is read when it is first asked something."""

    def __init__(self, broker: str, farm: str, folder: Callable[[], Path]) -> None:
        """
        Args:
          farm: what tells this farm from all others; what the file says goes before it.
        """
        self._broker: Final = broker
        self._farm: Final = farm
        self._folder: Final = folder
        self._read: _Kept | None = None

    def client_id(self, session: str) -> str:
        """The client id of a session, the same for ever: 22 letters and digits, which every server takes.

        Source: MQTT 5.0, section 3.1.3.1.
        """
        kept = self._kept()
        if not kept.farm:
            kept.farm = self._farm
            self.write()
        digest = sha256(f"{self._broker}\0{session}".encode()).hexdigest()
        return f"farm{kept.farm}{digest[:6]}"

    def filters(self, session: str) -> dict[str, int]:
        """The filters of a session, to be changed at will: `write` keeps them."""
        return self._kept().sessions.setdefault(session, {})

    def sessions(self) -> list[str]:
        """The names of all sessions that may be at the server."""
        return list(self._kept().sessions)

    def forget(self, session: str) -> None:
        """The server has it no longer."""
        if self._kept().sessions.pop(session, None) is not None:
            self.write()

    def write(self) -> None:
        """Keep what there is now."""
        try:
            path = self._folder() / NAME
            beside = path.with_suffix(".new")
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(self._kept()), indent=1))
            beside.replace(path)
        except OSError as error:
            log.get().warning("cannot keep what is known of the session", broker=self._broker, why=error.strerror)

    def _kept(self) -> _Kept:
        if self._read is None:
            self._read = self._load()
        return self._read

    def _load(self) -> _Kept:
        try:
            return msgspec.json.decode((self._folder() / NAME).read_bytes(), type=_Kept)
        except FileNotFoundError:
            return _Kept()
        except (OSError, msgspec.MsgspecError) as error:
            log.get().warning("the session is begun anew", broker=self._broker, file=NAME, why=str(error))
            return _Kept()
