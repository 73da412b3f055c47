"""A data set's shops as histories that uses can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.errors import ConfigError
from shared.interactions.datasets.complete_journey_campaigns import (
    read_campaigns,
    read_promotions,
)
from shared.interactions.datasets.load import EMBEDDED, load_dataset
from shared.interactions.events import Dataset, Events, Shop
from shared.interactions.splits import Windows, resolve_windows
from shared.settings.run_settings import DataSettings
from shared.uses.history import Campaigns, History, Promotions, item_categories


@dataclass(frozen=True, eq=False)
class UsesData:
    """What uses are measured on.

    Attributes:
        shop_ids: Names of the shops.
        user_ids: Ids of each shop's users.
        histories: One a shop, with all that the data hold.
        chain: All shops as one.
        first: First time of the data, in days.
        validation_start: Where choices are measured, in days.
        test_start: Where the report is measured.
        test_end: First time after it.
    """

    shop_ids: tuple[str, ...]
    user_ids: tuple[npt.NDArray[np.object_], ...]
    histories: tuple[History, ...]
    chain: History
    first: float
    validation_start: float
    test_start: float
    test_end: float


def load_histories(settings: DataSettings, *, seed: int, promotions: bool = True) -> UsesData:
    """Reads a data set for uses.

    Args:
        settings: The data set.
        seed: Draws the users of virtual shops.
        promotions: Whether to read the promotions too, which takes seconds.

    Raises:
        DataError: A file cannot be used.
        ConfigError: The data have ranks instead of dates, or are not split by time.
    """
    dataset = load_dataset(settings, seed=seed)
    if dataset.time_unit != "days" or settings.split != "time":
        raise ConfigError(
            f"data with time in {dataset.time_unit} and split={settings.split} have no weeks, "
            "which uses are asked by",
            remedy="give data with dates and --split time",
        )
    windows = resolve_windows(settings, dataset)
    sendings = read_campaigns() if settings.source == EMBEDDED else None
    last = max(float(shop.events.time.max()) for shop in dataset.shops)
    end = windows.test_end if windows.test_end is not None else float(np.floor(last) + 1)
    histories = tuple(_history(dataset, shop, sendings, end) for shop in dataset.shops)
    shown = Promotions()
    if promotions and settings.source == EMBEDDED:
        shown = Promotions(*(column.to_numpy() for _, column in read_promotions().items()))
    return UsesData(
        shop_ids=tuple(shop.shop_id for shop in dataset.shops),
        user_ids=tuple(shop.user_ids for shop in dataset.shops),
        histories=histories,
        chain=replace(joined_histories(histories), promotions=shown),
        first=min(float(shop.events.time.min()) for shop in dataset.shops),
        validation_start=_bound(windows, "validation_start"),
        test_start=_bound(windows, "test_start"),
        test_end=end,
    )


def joined_histories(histories: Sequence[History]) -> History:
    """Returns the events of all shops as those of one; campaigns are left out."""
    offsets = np.cumsum([0, *(history.n_users for history in histories)])
    columns = {
        name: np.concatenate([getattr(history.events, name) for history in histories])
        for name in vars(histories[0].events)
    }
    columns["user"] = np.concatenate(
        [h.events.user + start for h, start in zip(histories, offsets, strict=False)]
    )
    return replace(
        histories[0],
        events=Events.build(**columns),
        n_users=int(offsets[-1]),
        campaigns=Campaigns(),
    )


def _bound(windows: Windows, name: str) -> float:
    value: float | None = getattr(windows, name)
    if value is None:
        raise ValueError(f"{name} is missing from a split by time")
    return value


def _history(dataset: Dataset, shop: Shop, sendings: pd.DataFrame | None, end: float) -> History:
    category, names = item_categories(dataset.catalogue)
    return History(
        events=shop.events,
        n_users=shop.n_users,
        category=category,
        category_names=names,
        end=end,
        campaigns=Campaigns() if sendings is None else _campaigns(sendings, shop.user_ids),
    )


def _campaigns(sendings: pd.DataFrame, user_ids: npt.NDArray[np.object_]) -> Campaigns:
    """Codes the sendings to a shop's users; what was sent to others is left out."""
    codes = pd.Index(user_ids).get_indexer(pd.Index(sendings["user_id"]))
    own = codes >= 0
    rows = sendings[own]
    return Campaigns(
        user=codes[own].astype(np.int64),
        campaign=rows["campaign"].to_numpy(dtype=np.int64),
        kind=rows["kind"].to_numpy(dtype=np.int64),
        time=rows["time"].to_numpy(dtype=np.float64),
        answered=rows["answered"].fillna(np.inf).to_numpy(dtype=np.float64),
    )
