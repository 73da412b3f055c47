"""Settings of a new coordinator from options and `name=value` texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from server.deploy.folder import ServerSettings
from shared.deploy.settings_file import checked
from shared.settings_sources import assignments

DEFAULTS: dict[str, Any] = {
    "federation": {"round_timeout": 600.0, "max_update_norm": 10.0},
}
"""Where a coordinator differs from a simulation."""


def new_settings(options: Mapping[str, Any], sets: Iterable[str]) -> ServerSettings:
    """Merges defaults, options and assignments; later ones win.

    Raises:
        ConfigError: A name is unknown or a value out of its bounds.
    """
    merged: dict[str, Any] = {name: dict(table) for name, table in DEFAULTS.items()}
    host, _, _ = str(options["address"]).rpartition(":")
    names = dict.fromkeys([host, *options["names"], "localhost", "127.0.0.1"])
    for name, value in {**options, "names": tuple(names), **assignments(sets)}.items():
        *tables, last = name.split(".")
        into = merged
        for table in tables:
            into = into.setdefault(table, {})
        into[last] = value
    return checked(merged, ServerSettings, what="server init")
