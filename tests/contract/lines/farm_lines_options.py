"""Keys of `type = "lines"`. Read by every command of farm: nothing but farm is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from farm.spec import Abilities, Key, ServerSpec


@dataclass(frozen=True, kw_only=True)
class LinesSpec(ServerSpec):
    """`[brokers.NAME]` with `type = "lines"`: whoever is connected gets every line."""

    type: Annotated[Literal["lines"], Key("What kind of broker this is.", '"lines"')]
    host: Annotated[str, Key("Host of the server.", '"localhost"')]
    port: Annotated[int, Key("Its TCP port.", "4000")] = 4000

    @property
    def abilities(self) -> Abilities:
        """A line is a subject and a payload: no more."""
        return Abilities(headers=False, replies=False, queues=False)
