"""How many users a new shop has of its own: the option and what it must not ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.config import RunSettings
from shared.errors import ConfigError

if TYPE_CHECKING:
    from shared.interactions.events import Dataset

EXAMPLE = "for example 0,15,60,200"


def parse_sizes(text: str) -> tuple[int, ...]:
    """Reads `0,15,60,200`; the order does not matter.

    Raises:
        ConfigError: An entry is no whole number of at least 0, or is given twice.
    """
    sizes: list[int] = []
    for entry in (part.strip() for part in text.split(",")):
        if not (entry.isascii() and entry.isdigit()):
            raise ConfigError(
                f"--new-shops {entry!r}: must be a whole number of users, 0 or more; {EXAMPLE}"
            )
        if int(entry) in sizes:
            raise ConfigError(f"--new-shops {text}: {int(entry)} is named twice; name it once")
        sizes.append(int(entry))
    return tuple(sorted(sizes))


def check_new_shops(settings: RunSettings, dataset: Dataset) -> None:
    """Refuses what cannot be measured in this data, before anything is trained.

    Raises:
        ConfigError: Too few shops remain where one is left out, or no shop has so many users.
    """
    sizes, remaining = settings.evaluation.new_shops, len(dataset.shops) - 1
    if not sizes:
        return
    least = settings.federation.min_replies
    if remaining < least:
        raise ConfigError(
            f"--new-shops {sizes[0]}: {remaining} shops remain where one is left out, needs "
            f"min_replies={least}; take data with more shops, or lower it with "
            "--set federation.min_replies=1"
        )
    largest = max(shop.n_users for shop in dataset.shops)
    if sizes[-1] > largest:
        raise ConfigError(
            f"--new-shops {sizes[-1]}: must be at most the users of the largest shop, {largest}; "
            "lower it"
        )
