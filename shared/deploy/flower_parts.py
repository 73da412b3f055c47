"""Replaces single parts of the pinned Flower; a part that is gone stops the node."""

from __future__ import annotations

from types import ModuleType

from shared.environment import installed_version
from shared.errors import RunError


def put(module: ModuleType, **parts: object) -> None:
    """Replaces names of a module of Flower.

    Raises:
        RunError: The installed Flower has no such name.
    """
    for name, part in parts.items():
        if not hasattr(module, name):
            raise RunError(
                f"flwr={installed_version('flwr')} has no {module.__name__}.{name}; install the "
                "version in constraints.txt"
            )
        setattr(module, name, part)
