"""The command-line option that splits the privacy budget: `counts=0.2,pairs=0.6,adapter=0.2`."""

from __future__ import annotations

import math

from shared.errors import ConfigError

PARTS = {
    "counts": "privacy.counts_share",
    "pairs": "privacy.pairs_share",
    "adapter": "privacy.adapter_share",
}
"""Name in the option -> setting."""
BUDGET_HELP = "Shares of the budget for counts, pairs and adapter; parts not named get 0."
EXAMPLE = "for example counts=0.2,pairs=0.6,adapter=0.2"


def parse_budget(text: str | None) -> dict[str, float]:
    """Reads the split of the budget; empty where nothing was said.

    Args:
        text: `part=share` separated by commas; parts that are not named get 0.

    Returns:
        Dotted setting -> share.

    Raises:
        ConfigError: A part is unknown or named twice, a share is no number from 0 to 1, or the sum
            is not 1.
    """
    if text is None:
        return {}
    shares: dict[str, float] = {}
    for entry in text.split(","):
        name, _, value = (word.strip() for word in entry.partition("="))
        if name not in PARTS:
            raise ConfigError(
                f"--budget {entry.strip()!r}: part must be one of {', '.join(PARTS)}; {EXAMPLE}"
            )
        if name in shares:
            raise ConfigError(f"--budget {text}: {name} is named twice; name it once")
        shares[name] = _share(name, value)
    total = math.fsum(shares.values())
    if abs(total - 1) > 1e-9:
        raise ConfigError(f"--budget {text}: shares add up to {total:g}, must be 1; {EXAMPLE}")
    return {setting: shares.get(name, 0.0) for name, setting in PARTS.items()}


def _share(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ConfigError(f"--budget {name}={text}: share must be a number from 0 to 1; {EXAMPLE}")
    return value
