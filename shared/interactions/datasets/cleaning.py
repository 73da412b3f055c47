"""From parsed tables to coded events: rows of no use are dropped and counted by reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.errors import DataError
from shared.interactions.catalogue import build_catalogue, catalogue_of_events
from shared.interactions.datasets.dropped_examples import examples_of, repeated_rows
from shared.interactions.events import Catalogue, Events
from shared.interactions.readers.parsed_tables import ParsedTables
from shared.interactions.readers.row_places import Place
from shared.interactions.splits import DataCalendar
from shared.interactions.times import FIRST_DAY, LAST_DAY

DROP_REASONS = {
    "malformed": "cells missing or too many, an open quote, no UTF-8, or not what the column holds",
    "other_event": "an event of a type that nothing learns from, such as remove_from_cart",
    "missing_id": "no user, item or shop id",
    "not_merchandise": "fuel, coupons, supplies and other departments without goods",
    "impossible_date": "no date, no such date, or outside 1980 to 2099; in ranks: not a number, or "
    "beyond 2^53",
    "impossible_quantity": "0 or below, not a number, or above the bound",
    "impossible_number": "negative or endless weight or price",
    "unknown_item": "item that is not in the catalogue",
    "duplicate": "equal to another row in every column that is read",
    "beyond_latest": "before the user's latest 20,000 events",
    "other_shop": "bought outside the user's own shop",
    "after_end": "after the test window",
    "user_below_minimum": "the user has too few different items",
    "shop_below_minimum": "the shop has too few users",
    "user_beyond_maximum": "the user is not among the `max_users` that were drawn",
}
"""Why a row is dropped, in the order in which the reasons are tried."""


class RowCounts:
    """Counts rows by member (one user of one shop); code -1 is a row without a member.

    Args:
        members: Member codes of all rows read, `(n,)`.
        n_members: Number of members.
        unreadable: Lines that were dropped before they were rows; of no member.
    """

    def __init__(
        self, members: npt.NDArray[np.int32], n_members: int, *, unreadable: int = 0
    ) -> None:
        self.n_members = n_members
        lost = np.full(unreadable, -1, dtype=np.int32)
        self.read = self._count(members) + self._count(lost)
        self.dropped: dict[str, npt.NDArray[np.int64]] = {}
        self.examples: dict[str, tuple[Place, ...]] = {}
        if unreadable:
            self.drop("malformed", lost)

    def drop(
        self, reason: str, members: npt.NDArray[np.int32], examples: tuple[Place, ...] = ()
    ) -> None:
        """Counts dropped rows under one of `DROP_REASONS`, with the first of them."""
        if reason not in DROP_REASONS:
            raise KeyError(reason)
        before = self.dropped.get(reason, 0)
        self.dropped[reason] = before + self._count(members)
        if examples:
            self.examples[reason] = examples

    def totals(self) -> dict[str, Any]:
        """Returns counts over all rows; `rows_read` is `rows_kept` plus all that was dropped."""
        return self._report(np.ones(self.n_members + 1, dtype=bool))

    def of_shop(self, of_shop: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Returns counts over the rows of some members, given as a mask `(n_members,)`."""
        return self._report(np.append(of_shop, False))

    def shown(self) -> dict[str, list[dict[str, object]]]:
        """Returns examples by reason as plain values; they hold ids, so the owner alone sees."""
        return {
            reason: [place.to_json() for place in self.examples[reason]]
            for reason in DROP_REASONS
            if reason in self.examples
        }

    def _count(self, members: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        rows = np.where(members < 0, self.n_members, members)
        return np.bincount(rows, minlength=self.n_members + 1).astype(np.int64)

    def _report(self, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
        read = int(self.read[mask].sum())
        counts = {
            reason: int(self.dropped[reason][mask].sum())
            for reason in DROP_REASONS
            if reason in self.dropped
        }
        dropped = {reason: count for reason, count in counts.items() if count}
        return {"rows_read": read, "rows_kept": read - sum(dropped.values()), "dropped": dropped}


MAX_QUANTITY = 1_000.0
"""Pieces in one event at most; more is taken for another unit of measure or an error."""

MAX_USER_EVENTS = 20_000
"""Latest events of one user that a shop learns from: what one user costs in time and memory after
its rows were read. No user of Complete Journey has as many."""
MAX_RANK = 2.0**53
"""Beyond, ranks are no longer whole numbers of their own."""


@dataclass(frozen=True, eq=False)
class CleanedSource:
    """One source as coded events; a member is one user of one shop.

    Attributes:
        name: For reports.
        catalogue: The items.
        events: All rows that are left; `user` holds member codes.
        user_ids: User id of each member, `(n_members,)`.
        shop_of: Code into `shop_ids` of each member, `(n_members,)`; -1 for none.
        shop_ids: Names of the shops.
        row_counts: Rows read and dropped so far.
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
    row_counts: RowCounts
    clock: DataCalendar
    scored: npt.NDArray[np.bool_]
    users: pd.DataFrame
    min_user_items: int
    min_shop_users: int
    facts: dict[str, Any]
    item_shop: npt.NDArray[np.int32] | None = None

    def keep(self, mask: npt.NDArray[np.bool_], reason: str) -> CleanedSource:
        """Keeps the rows under a mask `(n,)` and counts the others."""
        self.row_counts.drop(reason, self.events.user[~mask])
        return replace(self, events=self.events.select(mask))

    def keep_latest(self, most: int = MAX_USER_EVENTS) -> CleanedSource:
        """Keeps each user's latest events; which, depends on that user's own alone."""
        return self.keep(latest_events(self.events.user, len(self.user_ids), most), "beyond_latest")


def latest_events(
    user: npt.NDArray[np.int32], n_users: int, most: int = MAX_USER_EVENTS
) -> npt.NDArray[np.bool_]:
    """Marks each user's latest events, `(n,)`, of events sorted by user and time."""
    sizes = np.bincount(user, minlength=n_users)
    from_end = np.cumsum(sizes)[user] - 1 - np.arange(len(user))
    latest: npt.NDArray[np.bool_] = from_end < most
    return latest


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """The rows of a source that can be used, coded; nothing is counted as repeated yet.

    Attributes:
        rows: Columns as in `ParsedTables.events`, `(n,)`.
        user: Member code of each row, `(n,)`.
        item: Code into the catalogue of each row, `(n,)`.
        user_ids: User id of each member, `(n_members,)`.
        shop_of: Code into `shop_ids` of each member, `(n_members,)`.
        shop_ids: Names of the shops.
        row_counts: Rows read and dropped so far.
    """

    rows: pd.DataFrame
    user: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    user_ids: npt.NDArray[np.object_]
    shop_of: npt.NDArray[np.int32]
    shop_ids: tuple[str, ...]
    row_counts: RowCounts


def judge_rows(
    tables: ParsedTables, item_ids: npt.NDArray[np.object_], *, name: str, by_shop: bool
) -> JudgedRows:
    """Codes the rows of a source and leaves out those that cannot be used.

    Args:
        tables: The source.
        item_ids: Known items, which the item codes refer to.
        name: Name of the one shop of a source that names none.
        by_shop: Whether the same user id in two shops is two members.
    """
    rows = tables.events
    members, user_ids, shop_of, shop_ids = _members(rows, name, by_shop=by_shop)
    row_counts = RowCounts(members, len(user_ids), unreadable=tables.unreadable)
    items = _item_codes(rows["item_id"], item_ids)
    left = np.ones(len(rows), dtype=bool)
    for reason, wrong in _faults(rows, members, items, tables.time_unit).items():
        lost = np.flatnonzero(left & wrong)
        row_counts.drop(reason, members[lost], examples_of(tables, reason, lost))
        left &= ~wrong
    return JudgedRows(
        rows[left], members[left], items[left], user_ids, shop_of, shop_ids, row_counts
    )


def clean(
    tables: ParsedTables, *, name: str, by_shop: bool, may_be_empty: bool = False
) -> CleanedSource:
    """Codes and cleans a source.

    Args:
        tables: The source.
        name: For reports.
        by_shop: Whether the same user id in two shops is two members.
        may_be_empty: Whether no event may be left, as in a shop that must answer all the same.

    Raises:
        DataError: Fewer than 2 items, or no event is left and one must be.
    """
    if tables.items is not None:
        catalogue, item_counts = build_catalogue(tables.items)
        if tables.items_from_events:
            item_counts["taken_from_events"] = True
    else:
        catalogue, item_counts = catalogue_of_events(
            tables.events["item_id"].to_numpy(dtype=object)
        )
    judged = judge_rows(tables, catalogue.item_ids, name=name, by_shop=by_shop)
    row_counts = judged.row_counts
    if not len(judged.rows) and not may_be_empty:
        raise DataError(
            f"{tables.files[0]}: 0 of {len(tables.events)} events are left after cleaning, needs "
            f"at least 1 (dropped: {row_counts.totals()['dropped']})",
            remedy="check the ids and dates",
        )
    events = _build(judged.rows, judged.user, judged.item, tables.time_unit)
    repeated = _duplicates(events)
    again = repeated_rows(tables, events.select(repeated), catalogue.item_ids)
    row_counts.drop(
        "duplicate", events.user[repeated], examples_of(tables, "duplicate", np.array(again))
    )
    events = events.select(~repeated)
    return CleanedSource(
        name=name,
        catalogue=catalogue,
        events=events,
        user_ids=judged.user_ids,
        shop_of=judged.shop_of,
        shop_ids=judged.shop_ids,
        row_counts=row_counts,
        clock=DataCalendar.of_times(events.time, tables.time_unit)
        if len(events)
        else DataCalendar(tables.time_unit, math.nan, math.nan, math.nan),
        scored=np.ones(len(catalogue), dtype=bool),
        users=user_table(tables.users),
        min_user_items=1,
        min_shop_users=1,
        facts={
            "layout": tables.layout,
            "files": [str(path) for path in tables.files],
            "ignored_columns": list(tables.ignored_columns),
            "read_as": list(tables.notes),
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


def _item_codes(ids: pd.Series[str], item_ids: npt.NDArray[np.object_]) -> npt.NDArray[np.int32]:
    """Codes into the known items; -1 for an unknown item, -2 for a missing id."""
    codes, unique = _codes(ids)
    table = pd.Index(item_ids, dtype=object).get_indexer(pd.Index(unique, dtype=object))
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
    else:
        possible &= np.abs(time) <= MAX_RANK
    faults = {"malformed": rows["malformed"].to_numpy()} if "malformed" in rows else {}
    if "other_event" in rows:
        faults["other_event"] = rows["other_event"].to_numpy()
    faults |= {"missing_id": (members < 0) | (items == -2), "impossible_date": ~possible}
    if "quantity" in rows:
        quantity = rows["quantity"].to_numpy()
        faults["impossible_quantity"] = ~((quantity > 0) & (quantity <= MAX_QUANTITY))
    negative = np.zeros(len(rows), dtype=bool)
    for column in ("weight", "price"):
        if column in rows:
            numbers = rows[column].to_numpy()
            negative |= (numbers < 0) | np.isinf(numbers)
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


def user_table(users: pd.DataFrame | None) -> pd.DataFrame:
    """Returns the attributes of users by `user_id`, the first of repeated ids."""
    if users is None:
        return pd.DataFrame()
    named = users[users["user_id"] != ""].drop_duplicates("user_id")
    return named.set_index("user_id")
