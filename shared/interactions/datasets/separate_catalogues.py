"""Shops with catalogues of their own, made of one data set: `shops = "items:N"`."""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shared.errors import ConfigError
from shared.interactions.datasets.cleaning import CleanedSource
from shared.interactions.events import Catalogue
from shared.interactions.splits import FIT, Windows, parts

BUCKETS = 64
"""Groups by hash for each shop: enough that they can be packed evenly."""


def divide_items(cleaned: CleanedSource, windows: Windows, n_shops: int) -> CleanedSource:
    """Gives every item to one of several shops, and every user to the shop where it buys most.

    Only events before the validation window decide; events of a user outside its shop are dropped
    and counted as `other_shop`.

    Args:
        cleaned: The data as one shop.
        windows: The validation and test windows.
        n_shops: Shops to make.

    Raises:
        ConfigError: There are fewer groups of items with events than shops.
    """
    events, n_users = cleaned.events, len(cleaned.user_ids)
    early = parts(events, windows) == FIT
    sizes = np.bincount(events.item[early], minlength=len(cleaned.catalogue))
    groups = item_groups(cleaned.catalogue, sizes, n_shops)
    filled = np.count_nonzero(np.bincount(groups, weights=sizes))
    if n_shops > filled:
        raise ConfigError(
            f"shops=items:{n_shops} must be at most the number of groups of items with events "
            f"before the validation window, {filled}",
            remedy="lower it with --shops",
        )
    item_shop = pack_groups(groups, sizes, n_shops)
    where = events.user[early].astype(np.int64) * n_shops + item_shop[events.item[early]]
    table = np.bincount(where, minlength=n_users * n_shops).reshape(n_users, n_shops)
    shop_of = np.where(table.any(axis=1), table.argmax(axis=1), -1).astype(np.int32)
    # Users without early events keep all of theirs here: they fall below the minimum of a user.
    home = shop_of[events.user]
    cleaned = cleaned.keep((home < 0) | (home == item_shop[events.item]), "other_shop")
    width = len(str(n_shops - 1))
    shop_ids = tuple(f"shop-{code:0{width}d}" for code in range(n_shops))
    return replace(cleaned, shop_of=shop_of, shop_ids=shop_ids, item_shop=item_shop)


def item_groups(
    catalogue: Catalogue, sizes: npt.NDArray[np.int64], n_shops: int
) -> npt.NDArray[np.int64]:
    """Groups items that must stay together: by brand, else by a stable hash of the item id.

    Args:
        catalogue: The items.
        sizes: Events of each item, `(n_items,)`.
        n_shops: Shops to be made; a brand with more events than an even share is no group.

    Returns:
        Group code of each item, `(n_items,)`.
    """
    buckets = BUCKETS * n_shops
    hashed = [f"hash {_hash(str(item)) % buckets}" for item in catalogue.item_ids]
    if "brand" not in catalogue.attributes:
        return np.unique(hashed, return_inverse=True)[1].astype(np.int64)
    brands = catalogue.attributes["brand"].fillna("").astype(str).str.strip().str.casefold()
    codes, names = brands.factorize()
    events = np.bincount(codes, weights=sizes, minlength=len(names))
    whole = (events[codes] <= sizes.sum() / n_shops) & (brands != "").to_numpy()
    keys = [f"brand {b}" if keep else h for b, h, keep in zip(brands, hashed, whole, strict=True)]
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def pack_groups(
    groups: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], n_shops: int
) -> npt.NDArray[np.int32]:
    """Packs groups into shops of about equal size, the largest first into the emptiest.

    Returns:
        Shop of each item, `(n_items,)`; groups without events are dealt to the shops in turn.
    """
    totals = np.bincount(groups, weights=sizes)
    order = np.argsort(-totals, kind="stable")
    shop_of_group = np.zeros(len(totals), dtype=np.int32)
    heap = [(0.0, shop) for shop in range(n_shops)]
    empty = 0
    for group in order:
        if totals[group] == 0:
            shop_of_group[group] = empty % n_shops
            empty += 1
            continue
        filled, shop = heapq.heappop(heap)
        shop_of_group[group] = shop
        heapq.heappush(heap, (filled + float(totals[group]), shop))
    return shop_of_group[groups]


def _hash(item_id: str) -> int:
    return int.from_bytes(hashlib.sha256(item_id.encode()).digest()[:8], "big")
