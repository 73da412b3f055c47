"""Replaces single attributes of Flower's modules, and keeps Flower from calling home.

What is replaced where stands in `shared.flower`. An attribute that the installed version lacks is
an error, never ignored: a patch that silently does nothing could let a foreign bundle run.
"""

from __future__ import annotations

from types import ModuleType

from shared.errors import RunError
from shared.runtime.environment import installed_version

QUIET_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""Environment of every process that runs Flower. Flower sends usage to telemetry.flower.ai, asks
for newer versions, and installs what an app names with pip, unless told otherwise."""


def patch_attribute(module: ModuleType, **replacements: object) -> None:
    """Replaces attributes of a module that Flower looks up when it uses them.

    Args:
        module: Of Flower, or `uvicorn`, whose `run` Flower calls.
        **replacements: New value by name.

    Raises:
        RunError: The installed version has no such name.
    """
    for name, replacement in replacements.items():
        if not hasattr(module, name):
            raise RunError(
                f"has no {module.__name__}.{name}",
                name="flwr",
                value=installed_version("flwr"),
                remedy="install the version in constraints.txt",
            )
        setattr(module, name, replacement)
