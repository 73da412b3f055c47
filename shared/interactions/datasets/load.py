"""Loads any source into shops over one catalogue, with a report of what was read and dropped."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.errors import ConfigError, DataError
from shared.interactions.datasets.cleaning import DROP_REASONS, CleanedSource, clean
from shared.interactions.datasets.complete_journey import AREAS, read_complete_journey
from shared.interactions.datasets.separate_catalogues import divide_items
from shared.interactions.events import Dataset, Shop
from shared.interactions.persons import linked_persons
from shared.interactions.readers.detect import read_tables
from shared.interactions.readers.packed_files import source_name
from shared.interactions.splits import AFTER, FIT, Windows, check_filled, cut, parts
from shared.settings.run_settings import DataSettings

EMBEDDED = "complete-journey"
"""Name of the embedded data set."""


def load_dataset(settings: DataSettings, *, seed: int) -> Dataset:
    """Reads, cleans and divides a source into shops.

    Args:
        settings: The source, its shops, its windows and its minimums.
        seed: Draws the users of virtual shops; nothing else is random.

    Returns:
        The shops in the order of their names, users in the order of their ids.

    Raises:
        DataError: A file cannot be used, or no shop is left.
        ConfigError: A setting has no meaning for the source.
    """
    shop_rule, n_shops = _shop_rule(settings.shops)
    if settings.source == EMBEDDED:
        cleaned = read_complete_journey(settings, by_shop=shop_rule is None)
    else:
        path = Path(settings.source).expanduser()
        tables = read_tables(path, settings)
        cleaned = clean(tables, name=source_name(path), by_shop=shop_rule is None)
        _refuse_empty(cleaned)
    windows = cut(settings, cleaned.clock)
    check_filled(windows, cleaned.clock, cleaned.events.time)
    if windows.kind == "time":
        cleaned = cleaned.keep(parts(cleaned.events, windows) != AFTER, "after_end")
    if shop_rule == "items":
        cleaned = divide_items(cleaned, windows, n_shops)
    least = settings.min_user_items or cleaned.min_user_items
    cleaned, few = _drop_users(cleaned, windows, least)
    if shop_rule == "virtual":
        cleaned = _redistribute(_draw_users(cleaned, settings.max_users, seed), n_shops, seed)
    least_users = settings.min_shop_users or (1 if shop_rule else cleaned.min_shop_users)
    cleaned, small = _drop_shops(cleaned, least_users)
    if shop_rule != "virtual":
        cleaned = _draw_users(cleaned, settings.max_users, seed, by_shop=True)
    shops = _shops(cleaned)
    if not shops:
        raise DataError(
            f"{settings.source}: no shop has min_shop_users={least_users} users with "
            f"min_user_items={least} items, needs at least 1 shop",
            remedy="lower them with --min-shop-users or --min-user-items",
        )
    report = _report(cleaned, windows, shops, few=few, small=small)
    return Dataset(
        name=cleaned.name,
        catalogue=cleaned.catalogue,
        shops=shops,
        report=report,
        time_unit=cleaned.clock.unit,
        scored=cleaned.scored,
        users=cleaned.users,
    )


def _shop_rule(shops: str) -> tuple[str | None, int]:
    """Reads `virtual:N` and `items:N`; None where the shops are those of the source."""
    match = re.fullmatch(r"(virtual|items):(\d+)", shops)
    if match and int(match[2]) >= 1:
        return match[1], int(match[2])
    if shops not in AREAS:
        raise ConfigError(
            "is not known",
            name="shops",
            value=f"{shops!r}",
            remedy=f"give {', '.join(AREAS)}, virtual:N or items:N with N of at least 1 with "
            "--shops",
        )
    return None, 0


def _drop_users(cleaned: CleanedSource, windows: Windows, least: int) -> tuple[CleanedSource, int]:
    """Drops users with fewer different scored items before the validation window."""
    events, n_items = cleaned.events, len(cleaned.catalogue)
    early = (parts(events, windows) == FIT) & cleaned.scored[events.item]
    pairs = pd.unique(events.user[early].astype(np.int64) * n_items + events.item[early])
    enough = np.bincount(pairs // n_items, minlength=len(cleaned.user_ids)) >= least
    present = np.bincount(events.user, minlength=len(enough)) > 0
    few = int((present & ~enough).sum())
    return cleaned.keep(enough[events.user], "user_below_minimum"), few


def _draw_users(
    cleaned: CleanedSource, most: int | None, seed: int, *, by_shop: bool = False
) -> CleanedSource:
    """Keeps `most` users, of each shop the same share: the first of one order for all numbers."""
    members = np.flatnonzero(_present(cleaned))
    if most is None or most >= len(members):
        return cleaned
    # Another stream than that which deals users to virtual shops.
    members = np.random.default_rng([seed, 1]).permutation(members)
    groups = cleaned.shop_of[members] if by_shop else np.zeros(len(members), np.int32)
    is_sampled = np.zeros(len(cleaned.user_ids), dtype=np.bool_)
    for group in np.unique(groups):
        of_group = members[groups == group]
        is_sampled[of_group[: max(1, round(most * len(of_group) / len(members)))]] = True
    return cleaned.keep(is_sampled[cleaned.events.user], "user_beyond_maximum")


def _present(cleaned: CleanedSource) -> npt.NDArray[np.bool_]:
    return np.bincount(cleaned.events.user, minlength=len(cleaned.user_ids)) > 0


def _redistribute(cleaned: CleanedSource, n_shops: int, seed: int) -> CleanedSource:
    """Deals all users at random to shops of equal size (within one)."""
    members = np.flatnonzero(_present(cleaned))
    if len(members) < n_shops:
        raise ConfigError(
            f"shops=virtual:{n_shops} must be at most the number of users, {len(members)}",
            remedy="lower it with --shops",
        )
    shop_of = np.full(len(cleaned.user_ids), -1, dtype=np.int32)
    dealt = np.random.default_rng(seed).permutation(members)
    shop_of[dealt] = np.arange(len(members)) % n_shops
    width = len(str(n_shops - 1))
    shop_ids = tuple(f"shop-{code:0{width}d}" for code in range(n_shops))
    return replace(cleaned, shop_of=shop_of, shop_ids=shop_ids)


def _refuse_empty(cleaned: CleanedSource) -> None:
    """A shop that lost every event to cleaning is a fault of its file, so it is named."""
    left = np.unique(cleaned.shop_of[_present(cleaned)])
    for code in np.setdiff1d(np.arange(len(cleaned.shop_ids)), left):
        counts = cleaned.row_counts.of_shop(cleaned.shop_of == code)
        raise DataError(
            f"shop {cleaned.shop_ids[code]}: 0 of {counts['rows_read']} events are left, needs at "
            f"least 1 (dropped: {counts['dropped']})",
            remedy="mend its data or remove it",
        )


def _drop_shops(cleaned: CleanedSource, least: int) -> tuple[CleanedSource, dict[str, int]]:
    """Drops shops with too few users; returns their numbers of users."""
    members = cleaned.shop_of[_present(cleaned)]
    sizes = np.bincount(members[members >= 0], minlength=len(cleaned.shop_ids))
    small = {cleaned.shop_ids[code]: int(sizes[code]) for code in np.flatnonzero(sizes < least)}
    enough = np.append(sizes >= least, False)
    cleaned = cleaned.keep(enough[cleaned.shop_of[cleaned.events.user]], "shop_below_minimum")
    return cleaned, small


def _shops(cleaned: CleanedSource) -> tuple[Shop, ...]:
    """Groups events by shop and codes each shop's users from 0, in the order of their ids."""
    events = cleaned.events
    shop_of_row = cleaned.shop_of[events.user]
    order = np.argsort(shop_of_row, kind="stable")
    bounds = np.searchsorted(shop_of_row[order], np.arange(len(cleaned.shop_ids) + 1))
    shops = []
    for code, shop_id in enumerate(cleaned.shop_ids):
        rows = order[bounds[code] : bounds[code + 1]]
        if len(rows):
            members, users = np.unique(events.user[rows], return_inverse=True)
            own = replace(events.select(rows), user=users.astype(np.int32))
            sells = None if cleaned.item_shop is None else cleaned.item_shop == code
            ids = cleaned.user_ids[members]
            shops.append(Shop(shop_id, ids, own, sells, linked_persons(ids, cleaned.users)))
    return tuple(shops)


def _report(
    cleaned: CleanedSource,
    windows: Windows,
    shops: tuple[Shop, ...],
    *,
    few: int,
    small: dict[str, int],
) -> dict[str, Any]:
    codes = {shop_id: code for code, shop_id in enumerate(cleaned.shop_ids)}
    each = {}
    for shop in shops:
        each[shop.shop_id] = cleaned.row_counts.of_shop(cleaned.shop_of == codes[shop.shop_id])
        each[shop.shop_id]["users"] = shop.n_users
        if windows.kind == "leave-last-out":
            sizes = np.bincount(shop.events.user, minlength=shop.n_users)
            each[shop.shop_id]["users_without_test"] = int((sizes < 3).sum())
    clock = cleaned.clock
    return {
        "name": cleaned.name,
        **cleaned.facts,
        **cleaned.row_counts.totals(),
        "reasons": {
            reason: DROP_REASONS[reason] for reason in cleaned.row_counts.totals()["dropped"]
        },
        "examples": cleaned.row_counts.shown(),
        "items": cleaned.facts["items"] | {"scored": int(cleaned.scored.sum())},
        "users": {
            "read": len(cleaned.user_ids),
            "kept": sum(shop.n_users for shop in shops),
            "below_minimum": few,
        },
        "time": clock.to_json()
        | {
            "first": clock.show(min(float(shop.events.time.min()) for shop in shops)),
            "last": clock.show(max(float(shop.events.time.max()) for shop in shops)),
        },
        "windows": {
            "kind": windows.kind,
            "validation_start": clock.show(windows.validation_start),
            "test_start": clock.show(windows.test_start),
            "test_end": clock.show(windows.test_end),
        },
        "shops": each,
        "shops_share_items": cleaned.item_shop is None,
        "shops_below_minimum": small,
    }
