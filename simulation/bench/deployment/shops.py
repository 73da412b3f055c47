"""Shops of a given size, cut from the packaged grocery data, as the files that owners have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from shared.config import DataSettings
from shared.interactions.complete_journey import CLOCK, read_complete_journey

CATALOGUE, EVENTS = "catalogue.csv", "interactions.csv"


def write_shops(root: Path, names: Sequence[str], *, users: int, seed: int = 1) -> Path:
    """Writes `SHOP/data/interactions.csv` for each shop and one public catalogue.

    A household is in one shop; which one is drawn at random.

    Args:
        root: Where the folders are made.
        names: Of the shops.
        users: Households of each shop.
        seed: Of the draw.

    Returns:
        The catalogue's file.
    """
    data = read_complete_journey(DataSettings(), by_shop=False)
    events = data.events
    early = data.scored[events.item] & (events.time < CLOCK.validation_start)
    events = events.select(early)
    drawn = np.random.default_rng(seed).permutation(np.unique(events.user))[: len(names) * users]
    for name, members in zip(names, np.split(drawn, len(names)), strict=True):
        own = events.select(np.isin(events.user, members))
        table = pd.DataFrame(
            {
                "user_id": data.user_ids[own.user],
                "item_id": data.catalogue.item_ids[own.item],
                "datetime": pd.to_datetime(own.time, unit="D").strftime("%Y-%m-%dT%H:%M:%S"),
                "quantity": own.quantity,
            }
        )
        (root / name / "data").mkdir(parents=True)
        table.to_csv(root / name / "data" / EVENTS, index=False)
    items = np.flatnonzero(data.scored)
    titles = [data.catalogue.texts[item] for item in items.tolist()]
    public = pd.DataFrame({"item_id": data.catalogue.item_ids[items], "title": titles})
    public.to_csv(root / CATALOGUE, index=False)
    return root / CATALOGUE
