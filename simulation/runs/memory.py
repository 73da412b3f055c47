"""How much memory a run will need, said before anything is computed."""

from __future__ import annotations

import resource

import psutil

from client.recommenders.config import MAX_EASE_ITEMS
from shared.errors import ConfigError
from shared.interactions.events import Dataset
from simulation.evaluation.measures import BLOCK_CELLS
from simulation.evaluation.ridge_inverse import BYTES_PER_CELL, fit_side_by_side, matrix_side

BASE = 0.8e9
"""Bytes of libraries, encoder and data."""
SCORES = 40
"""Score matrices of one block of users that a shop's evaluation has at once."""


def needed_bytes(dataset: Dataset, *, workers: int) -> float:
    """Estimates the most memory that an evaluation has, in bytes.

    Args:
        dataset: The shops.
        workers: Shops at once.
    """
    n_items, users = len(dataset.catalogue), [shop.n_users for shop in dataset.shops]
    side = matrix_side(sum(users), n_items)
    rounded = BYTES_PER_CELL * side**2 / 2  # of one window, once it is inverted
    inverted = 4 * rounded if fit_side_by_side(side) else 3 * rounded
    block = 4 * SCORES * min(BLOCK_CELLS, max(*users, 16) * n_items)
    head = 3 * BYTES_PER_CELL * min(MAX_EASE_ITEMS, n_items) ** 2
    shops = min(workers, len(users)) * (block + head)
    return BASE + max(inverted, 2 * rounded + shops)


def check_memory(dataset: Dataset, *, workers: int) -> None:
    """Refuses a run that would end for want of memory.

    Raises:
        ConfigError: More is needed than there is.
    """
    needed, available = needed_bytes(dataset, workers=workers), available_bytes()
    if needed <= available:
        return
    users = sum(shop.n_users for shop in dataset.shops)
    alone = needed_bytes(dataset, workers=1) <= available
    raise ConfigError(
        f"the evaluation of {users:,} users and {len(dataset.catalogue):,} items needs about "
        f"{needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB are free",
        remedy="run with --workers 1"
        if alone
        else "free memory, or take fewer users with --set data.max_users=N",
    )


def available_bytes() -> float:
    """Returns what this process may still take: free memory, or a limit on its address space."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    free = float(psutil.virtual_memory().available)
    if limit == resource.RLIM_INFINITY:
        return free
    return min(free, limit - psutil.Process().memory_info().vms)
