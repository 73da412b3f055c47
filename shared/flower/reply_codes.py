"""Why a shop's reply did not count: our codes, and Flower's for a reply that never came."""

from __future__ import annotations

from enum import StrEnum


class RefusalCode(StrEnum):
    """Why a reply did not count."""

    MALFORMED = "malformed"
    """A record that every reply needs is missing or cannot be read."""
    KEYS = "keys"
    """Other matrices than the plan trains."""
    DTYPE = "dtype"
    """Not int64."""
    SHAPE = "shape"
    """Other shapes than the adapter's."""
    SIZE = "size"
    """More or fewer bytes than the shape holds."""
    MAGNITUDE = "magnitude"
    """A number at or above `MAX_MAGNITUDE`."""
    NORM = "norm"
    """Larger than the plan's mechanism can produce; see `server.aggregation.update_checks`."""
    DUPLICATE = "duplicate"
    """A second reply in one round under the same shop's name."""
    UNKNOWN_SHOP = "unknown-shop"
    """Public weights are set and have none for this shop."""
    PROTOCOL = "protocol"
    """Not what secure aggregation asks for: forged, of another run, or one of two shops lies."""
    NODE_ERROR = "node-error"
    """The node died or its app could not be started."""
    TIMEOUT = "timeout"
    """No reply within the round's time."""
    REFUSED = "refused"
    """The shop said no and gave no code that can be read."""


REPLY_UNAVAILABLE = (3, 4)
"""Flower's error codes for a message or reply that expired."""
