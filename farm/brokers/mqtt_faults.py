"""That there is no connection to an MQTT server."""

from __future__ import annotations


class LinkFault(Exception):
    """Why there is no connection: one line."""
