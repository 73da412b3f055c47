"""What follows from the data's unit of time, the same for all shops."""

from __future__ import annotations

from shared.config import ModelSettings

DEFAULTS = {"days": (120.0, 3.0), "order": (3.0, 10.0)}
"""Half-life and scale by unit of time; see `docs/decisions/001-what-the-adapter-learns.md`."""

HEADS = {"days": 250, "order": 1000}
"""Items whose pairs are released, by unit of time."""


def resolve(model: ModelSettings, time_unit: str) -> ModelSettings:
    """Fills in what follows from the kind of data; public, and the same for all shops.

    Args:
        model: Model settings.
        time_unit: `Dataset.time_unit`.
    """
    half_life, scale = DEFAULTS[time_unit]
    known = {"half_life": model.half_life or half_life, "scale": model.scale or scale}
    return model.model_copy(update=known)
