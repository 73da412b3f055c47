"""A synthetic shop of any size.

A data folder of customers with tastes, long-tailed items and dates, and an adapter of random
weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from shared.model.adapter_saving import save_adapter
from shared.model.encoder_files import text_space
from shared.model.profile_model import ProfileModel
from shared.model.profile_space import PROJECTION_A, PROJECTION_B, fit_whitening
from shared.model.text_vectors import encode_texts
from shared.settings.run_settings import ModelSettings

_KINDS = ("coffee", "tea", "bread", "cheese", "wine", "apple", "soap", "towel", "lamp", "pen")
_ADJECTIVES = ("red", "blue", "green", "dark", "light", "fresh", "dry", "sweet", "large", "soft")
_MAKERS = ("north", "south", "river", "stone", "field", "harbour", "forest", "meadow", "coast")
_MATERIALS = ("organic", "roasted", "woven", "steel", "oak", "cotton", "glass", "ground", "baked")
_DAYS = 365
_FIRST_DAY = 19_723  # 2024-01-01


@dataclass(frozen=True)
class ShopSize:
    """How large the shop is.

    Attributes:
        n_items: Items.
        n_users: Customers.
        n_events: Purchases.
        n_tastes: Groups of items that are bought together.
    """

    n_items: int = 20_000
    n_users: int = 100_000
    n_events: int = 5_000_000
    n_tastes: int = 200


def write_large_shop(folder: Path, size: ShopSize, rng: np.random.Generator) -> None:
    """Writes `items.parquet` and `interactions.parquet`.

    Item `i{n}` belongs to taste n modulo `n_tastes`; a customer has two tastes and takes 4 of 5
    items from them, popular ones most; 5 purchases make a visit on average.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(_items(size, rng), folder / "items.parquet")
    pq.write_table(_events(size, rng), folder / "interactions.parquet")


def _items(size: ShopSize, rng: np.random.Generator) -> pa.Table:
    n = size.n_items
    taste = np.arange(n) % size.n_tastes
    words = [
        np.array(pool)[rng.integers(0, len(pool), n)] for pool in (_ADJECTIVES, _MATERIALS, _MAKERS)
    ]
    kind = np.array(_KINDS)[taste % len(_KINDS)]
    titles = [
        f"{a} {b} {k} {m} {i // len(_KINDS)}"
        for i, (a, b, k, m) in enumerate(zip(words[0], words[1], kind, words[2], strict=True))
    ]
    return pa.table(
        {
            "item_id": [f"i{i}" for i in range(n)],
            "title": titles,
            "category": [f"taste {t}" for t in taste],
            "brand": words[2],
            "price": np.round(rng.lognormal(2.0, 0.8, n), 2),
        }
    )


def _events(size: ShopSize, rng: np.random.Generator) -> pa.Table:
    n = size.n_events
    activity = rng.lognormal(0.0, 1.0, size.n_users)
    user = np.sort(rng.choice(size.n_users, n, p=activity / activity.sum()).astype(np.int32))
    visit = np.cumsum(rng.random(n) < 0.2).astype(np.int64)
    day = _FIRST_DAY + rng.integers(0, _DAYS, int(visit[-1]) + 1)[visit]
    item = _bought(user, size, rng)
    return pa.table(
        {
            "user_id": pa.array(user).cast(pa.string()),
            "item_id": pa.array(np.char.add("i", item.astype(str))),
            "datetime": day * 86_400 + rng.integers(0, 86_400, n),
            "session_id": pa.array(visit),
            "quantity": np.ones(n),
        }
    )


def _bought(
    user: npt.NDArray[np.int32], size: ShopSize, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    n = len(user)
    tastes = rng.integers(0, size.n_tastes, (size.n_users, 2))
    chosen = tastes[user, rng.integers(0, 2, n)]
    strange = rng.random(n) < 0.2
    chosen[strange] = rng.integers(0, size.n_tastes, int(strange.sum()))
    depth = size.n_items // size.n_tastes
    rank = np.minimum((depth ** rng.random(n)).astype(np.int64) - 1, depth - 1)
    return rank * size.n_tastes + chosen


def write_random_adapter(folder: Path, rng: np.random.Generator) -> Path:
    """Writes `folder/adapter`, in place of one that is there.

    Args:
        folder: Holds `data/items.parquet` and the encoding cache `cache`.
        rng: Draws the weights, small ones, so that profiles stay like the history.
    """
    titles = pq.read_table(folder / "data" / "items.parquet")["title"].to_pylist()
    defaults = ModelSettings()
    texts = encode_texts(titles, settings=defaults, cache_dir=folder / "cache")
    whitening = fit_whitening(texts, dim=defaults.dim)
    settings = whitening.fit_settings(defaults)
    rank, dim = settings.rank, settings.dim
    arrays = {
        PROJECTION_A: rng.normal(0, 0.1, size=(rank, dim + 1)).astype(np.float32),
        PROJECTION_B: rng.normal(0, 0.1, size=(dim, rank)).astype(np.float32),
    }
    place = folder / "adapter"
    save_adapter(
        place,
        arrays,
        base=ProfileModel(whitening, text_space=text_space(settings)),
        settings=settings,
        guarantee=None,
        data_shape={},
        replace=True,
    )
    return place
