"""From parsed tables to coded events: what cannot be is dropped and counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.errors import DataError
from shared.interactions.catalogue import build_catalogue, catalogue_of_events
from shared.interactions.clock import Clock
from shared.interactions.events import Catalogue, Events
from shared.interactions.readers.tables import Tables
from shared.interactions.tally import Tally

MAX_QUANTITY = 1_000.0
"""Pieces in one event at most; more is taken for another unit of measure or an error."""

FIRST_DAY, LAST_DAY = 3_652.0, 47_482.0
"""1980-01-01 and 2100-01-01 in days since 1970: dates outside are impossible."""


@dataclass(frozen=True, eq=False)
class Cleaned:
    """One source as coded events; a member is one user of one shop.

    Attributes:
        name: For reports.
        catalogue: The items.
        events: All rows that are left; `user` holds member codes.
        user_ids: User id of each member, `(n_members,)`.
        shop_of: Code into `shop_ids` of each member, `(n_members,)`; -1 for none.
        shop_ids: Names of the shops.
        tally: Rows read and dropped so far.
        clock: The data set's time.
        scored: Mask of items that evaluation scores, `(n_items,)`.
        users: Attributes of users by `user_id`.
        min_user_items: Default of the setting.
        min_shop_users: Default of the setting.
        facts: Further entries of the report.
        item_shop: Code into `shop_ids` of the one shop that sells each item, `(n_items,)`, -1 for
            none; None where all shops sell from one catalogue.
    """

    name: str
    catalogue: Catalogue
    events: Events
    user_ids: npt.NDArray[np.object_]
    shop_of: npt.NDArray[np.int32]
    shop_ids: tuple[str, ...]
    tally: Tally
    clock: Clock
    scored: npt.NDArray[np.bool_]
    users: pd.DataFrame
    min_user_items: int
    min_shop_users: int
    facts: dict[str, Any]
    item_shop: npt.NDArray[np.int32] | None = None

    def keep(self, mask: npt.NDArray[np.bool_], reason: str) -> Cleaned:
        """Keeps the rows under a mask `(n,)` and counts the others."""
        self.tally.drop(reason, self.events.user[~mask])
        return replace(self, events=self.events.select(mask))


def clean(tables: Tables, *, name: str, by_shop: bool) -> Cleaned:
    """Codes and cleans a source.

    Args:
        tables: The source.
        name: For reports.
        by_shop: Whether the same user id in two shops is two members.

    Raises:
        DataError: Fewer than 2 items, or no event is left.
    """
    rows = tables.events
    if tables.items is not None:
        catalogue, item_counts = build_catalogue(tables.items)
    else:
        catalogue, item_counts = catalogue_of_events(rows["item_id"].to_numpy(dtype=object))
    members, user_ids, shop_of, shop_ids = _members(rows, name, by_shop=by_shop)
    tally = Tally(members, len(user_ids))
    items = _item_codes(rows["item_id"], catalogue)
    left = np.ones(len(rows), dtype=bool)
    for reason, wrong in _faults(rows, members, items, tables.time_unit).items():
        tally.drop(reason, members[left & wrong])
        left &= ~wrong
    if not left.any():
        raise DataError(
            f"{tables.files[0]}: 0 of {len(rows)} events are left after cleaning, needs at least "
            f"1 (dropped: {tally.totals()['dropped']}); check the ids and dates"
        )
    events = _build(rows[left], members[left], items[left], tables.time_unit)
    repeated = _duplicates(events)
    tally.drop("duplicate", events.user[repeated])
    events = events.select(~repeated)
    return Cleaned(
        name=name,
        catalogue=catalogue,
        events=events,
        user_ids=user_ids,
        shop_of=shop_of,
        shop_ids=shop_ids,
        tally=tally,
        clock=Clock.of_times(events.time, tables.time_unit),
        scored=np.ones(len(catalogue), dtype=bool),
        users=_user_table(tables.users),
        min_user_items=1,
        min_shop_users=1,
        facts={
            "layout": tables.layout,
            "files": [str(path) for path in tables.files],
            "ignored_columns": list(tables.ignored_columns),
            "items": item_counts,
        },
    )


def _members(
    rows: pd.DataFrame, name: str, *, by_shop: bool
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.object_], npt.NDArray[np.int32], tuple[str, ...]]:
    """Codes each (shop, user) pair; -1 where either id is missing."""
    user, user_ids = _codes(rows["user_id"])
    if not by_shop or "shop_id" not in rows:
        shop_of = np.zeros(len(user_ids), dtype=np.int32)
        return user, user_ids, shop_of, (name,)
    shop, shop_ids = _codes(rows["shop_id"])
    pair = shop.astype(np.int64) * max(len(user_ids), 1) + user
    pair[(user < 0) | (shop < 0)] = -1
    known, member = np.unique(pair, return_inverse=True)
    missing = int(len(known) > 0 and known[0] < 0)
    member = (member - missing).astype(np.int32)
    pairs = known[missing:]
    n_users = max(len(user_ids), 1)
    return (
        member,
        user_ids[pairs % n_users],
        (pairs // n_users).astype(np.int32),
        tuple(map(str, shop_ids)),
    )


def _codes(ids: pd.Series[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.object_]]:
    codes, unique = pd.factorize(ids.mask(ids == ""), sort=True)
    return codes.astype(np.int32), np.asarray(unique, dtype=object)


def _item_codes(ids: pd.Series[str], catalogue: Catalogue) -> npt.NDArray[np.int32]:
    """Codes into the catalogue; -1 for an unknown item, -2 for a missing id."""
    codes, unique = _codes(ids)
    table = pd.Index(catalogue.item_ids).get_indexer(pd.Index(unique))
    return np.append(table, -2)[codes].astype(np.int32)


def _faults(
    rows: pd.DataFrame,
    members: npt.NDArray[np.int32],
    items: npt.NDArray[np.int32],
    time_unit: str,
) -> dict[str, npt.NDArray[np.bool_]]:
    time = rows["time"].to_numpy()
    possible = np.isfinite(time)
    if time_unit == "days":
        possible &= (time >= FIRST_DAY) & (time < LAST_DAY)
    faults = {"missing_id": (members < 0) | (items == -2), "impossible_date": ~possible}
    if "quantity" in rows:
        quantity = rows["quantity"].to_numpy()
        faults["impossible_quantity"] = ~((quantity > 0) & (quantity <= MAX_QUANTITY))
    negative = np.zeros(len(rows), dtype=bool)
    for column in ("weight", "price"):
        if column in rows:
            negative |= rows[column].to_numpy() < 0
    return faults | {"impossible_number": negative, "unknown_item": items == -1}


def _build(
    rows: pd.DataFrame,
    members: npt.NDArray[np.int32],
    items: npt.NDArray[np.int32],
    time_unit: str,
) -> Events:
    session = None
    if "session_id" in rows:
        codes, unique = _codes(rows["session_id"])
        session = np.where(codes < 0, -1, members.astype(np.int64) * len(unique) + codes)
    elif time_unit == "days":
        day = np.floor(rows["time"].to_numpy()).astype(np.int64)
        session = members.astype(np.int64) * int(LAST_DAY) + day
    optional: dict[str, Any] = {
        name: rows[name].to_numpy() for name in ("weight", "quantity", "price") if name in rows
    }
    if "weight" in optional:
        optional["weight"] = np.where(np.isfinite(optional["weight"]), optional["weight"], 1.0)
    return Events.build(
        user=members,
        item=items,
        time=rows["time"].to_numpy(),
        event_type=rows["event_type"].to_numpy(),
        session=session,
        **optional,
    )


def _duplicates(events: Events) -> npt.NDArray[np.bool_]:
    """Marks rows that repeat an earlier one in every column."""
    keys = pd.DataFrame({"user": events.user, "time": events.time, "item": events.item})
    alike = np.flatnonzero(keys.duplicated(keep=False))
    columns = {name: values[alike] for name, values in vars(events).items()}
    repeated = np.zeros(len(events), dtype=bool)
    repeated[alike] = pd.DataFrame(columns).duplicated().to_numpy()
    return repeated


def _user_table(users: pd.DataFrame | None) -> pd.DataFrame:
    if users is None:
        return pd.DataFrame()
    named = users[users["user_id"] != ""].drop_duplicates("user_id")
    return named.set_index("user_id")
