"""What every reader gives: parsed events, and items and users as text tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.errors import DataError
from shared.interactions.events import EVENT_TYPES
from shared.interactions.persons import PERSON
from shared.interactions.readers.raw_table import RawTable
from shared.interactions.readers.row_places import FileRows
from shared.settings.run_settings import DataSettings

TimeUnit = Literal["days", "order"]

COLUMNS = {
    "user_id": "user_id",
    "item_id": "item_id",
    "datetime": "datetime",
    "event_type": "event_type",
    "weight": "weight",
    "quantity": "quantity",
    "price": "price",
    "session_id": "session_id",
    "event_id": "event_id",
}
"""Our names of the event columns, as a mapping from themselves."""

NO_KINDS: Mapping[str, str] = {}

MISSING_QUANTITY = -1.0
"""Stands for the empty quantity of a purchase or cart event, which cleaning drops."""


@dataclass(frozen=True, eq=False)
class ParsedTables:
    """One source, parsed and not yet cleaned.

    Attributes:
        layout: Name of the file layout, for the report.
        files: All files read.
        events: Columns `user_id`, `item_id` (text, "" where missing), `time` (float64, NaN where
            missing or impossible), `event_type` (uint8) and, where the source has them, `shop_id`,
            `session_id` and `event_id` (text), `weight`, `quantity`, `price` (float64); `malformed`
            (bool) where rows with a cell that cannot be used are to be dropped, `other_event`
            (bool) where there are events of types that nothing learns from.
        items: `item_id` and further columns as text, or None without an items file.
        users: `user_id` and further columns as text, or None.
        time_unit: What `time` counts.
        ignored_columns: Event columns that nothing reads.
        unreadable: Lines of the events' files that were dropped before they were rows.
        rows: Where the rows of `events` stand, one entry a file, in their order.
        notes: How files were read where there was a choice, one line a file.
        items_from_events: Whether `items` are those that occur in events.
    """

    layout: str
    files: tuple[Path, ...]
    events: pd.DataFrame
    items: pd.DataFrame | None
    users: pd.DataFrame | None
    time_unit: TimeUnit
    ignored_columns: tuple[str, ...] = ()
    unreadable: int = 0
    rows: tuple[FileRows, ...] = ()
    notes: tuple[str, ...] = ()
    items_from_events: bool = False


def events_tables(
    raw: RawTable,
    settings: DataSettings,
    *,
    layout: str,
    columns: Mapping[str, str] = COLUMNS,
    event_type: str = "purchase",
    kinds: Mapping[str, str] = NO_KINDS,
    other_kinds: Collection[str] = (),
) -> ParsedTables:
    """Parses the events of one file.

    Args:
        raw: The file's rows.
        settings: Names the shop and order columns.
        layout: For the report.
        columns: From our names (the keys of `COLUMNS`) to the file's.
        event_type: Type of events that give none.
        kinds: From the layout's words for types to ours.
        other_kinds: Types of events that nothing learns from; they are dropped and counted.

    Raises:
        DataError: A column is missing, or a cell is not what its column holds.
    """
    time_column, unit = _time_column(raw, settings, columns["datetime"])
    needed = [columns["user_id"], columns["item_id"], time_column]
    if settings.shop_column:
        needed.append(settings.shop_column)
    raw.require(needed, "rename them, or point --shop-column and --order-column at yours")
    parsed: dict[str, object] = {
        "user_id": raw.ids(columns["user_id"]),
        "item_id": raw.ids(columns["item_id"]),
        "time": raw.days(time_column) if unit == "days" else raw.numbers(time_column),
    }
    if settings.shop_column:
        parsed["shop_id"] = raw.ids(settings.shop_column)
    used = {name: column for name, column in columns.items() if column in raw.frame.columns}
    words = None if "event_type" not in used else raw.words(used["event_type"]).str.lower()
    if words is not None and other_kinds:
        parsed["other_event"] = words.isin(list(other_kinds)).to_numpy(dtype=bool)
        words = words.mask(words.isin(list(other_kinds)), "")
    codes = _event_types(raw, used.get("event_type", ""), words, event_type, kinds)
    parsed["event_type"] = codes
    for name in ("session_id", "event_id"):
        if name in used:
            parsed[name] = raw.ids(used[name])
    parsed |= {name: raw.numbers(used[name]) for name in ("weight", "price") if name in used}
    if "quantity" in used:
        quantity = raw.numbers(used["quantity"])
        parsed["quantity"] = _quantities(quantity, codes, alone=raw.faults is not None)
    if raw.faults is not None:
        raw.faults.mark(np.zeros(len(codes), dtype=bool))
        parsed["malformed"] = raw.faults.cells
    ignored = set(raw.frame.columns) - set(used.values()) - set(needed)
    return ParsedTables(
        layout=layout,
        files=(raw.path,),
        events=pd.DataFrame(parsed),
        items=None,
        users=None,
        time_unit=unit,
        ignored_columns=tuple(sorted(map(str, ignored))),
        unreadable=0 if raw.faults is None else raw.faults.unreadable,
        notes=raw.taken(),
        rows=(raw.file_rows(_file_names(used, time_column, settings.shop_column)),),
    )


def _file_names(used: Mapping[str, str], time: str, shop: str | None) -> dict[str, str]:
    return {**used, "time": time} | ({"shop_id": shop} if shop else {})


def text_table(raw: RawTable, key: str, renamed: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Returns all columns as text, the key column (`item_id` or `user_id`) as ids.

    Raises:
        DataError: The key column is missing.
    """
    back = {column: name for name, column in (renamed or {}).items()}
    source = (renamed or {}).get(key, key)
    raw.require([source], f"rename the id column to {source}")
    table = {
        back.get(name, name): raw.ids(name) if name in (source, PERSON) else raw.words(name)
        for name in map(str, raw.frame.columns)
    }
    return pd.DataFrame(table)


def merge(
    parts: Sequence[ParsedTables],
    *,
    layout: str,
    items: pd.DataFrame | None = None,
    users: pd.DataFrame | None = None,
) -> ParsedTables:
    """Puts the files of one source together; `items` and `users` replace the parts' own.

    Raises:
        DataError: Some parts have dates and others ranks.
    """
    units = {part.time_unit: part.files[0] for part in parts}
    if len(units) > 1:
        raise DataError(
            f"{units['order']} has ranks and {units['days']} has dates for time, expected the same "
            "in every shop",
            remedy="name a column that all have with --order-column",
        )
    own_items = [part.items for part in parts if part.items is not None]
    own_users = [part.users for part in parts if part.users is not None]
    if items is None and own_items:
        items = pd.concat(own_items, ignore_index=True)
    if users is None and own_users:
        users = pd.concat(own_users, ignore_index=True)
    return ParsedTables(
        layout=layout,
        files=tuple(file for part in parts for file in part.files),
        events=_concatenated([part.events for part in parts]),
        items=items,
        users=users,
        time_unit=parts[0].time_unit,
        ignored_columns=tuple(sorted({name for part in parts for name in part.ignored_columns})),
        unreadable=sum(part.unreadable for part in parts),
        rows=tuple(file for part in parts for file in part.rows),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _concatenated(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Puts events together; what one file has no column for is as if its cells were empty."""
    names = {name for part in parts for name in part.columns}
    empty: dict[str, Any] = {
        "quantity": 1.0,
        "malformed": False,
        "other_event": False,
        "session_id": "",
    }
    filled = {name: value for name, value in empty.items() if name in names}
    whole = [part.assign(**{n: v for n, v in filled.items() if n not in part}) for part in parts]
    return pd.concat(whole, ignore_index=True)


def _time_column(raw: RawTable, settings: DataSettings, dates: str) -> tuple[str, TimeUnit]:
    if settings.order_column:
        return settings.order_column, "order"
    if dates not in raw.frame and "position" in raw.frame and settings.split == "leave-last-out":
        return "position", "order"
    return dates, "days"


def _event_types(
    raw: RawTable,
    column: str,
    words: pd.Series[str] | None,
    default: str,
    kinds: Mapping[str, str],
) -> npt.NDArray[np.uint8]:
    if words is None:
        return np.full(len(raw.frame), EVENT_TYPES.index(default), dtype=np.uint8)
    codes, names = pd.factorize(words)
    known = {name: code for code, name in enumerate(EVENT_TYPES)} | {"": EVENT_TYPES.index(default)}
    known |= {word: EVENT_TYPES.index(kind) for word, kind in kinds.items()}
    unknown = [code for code, name in enumerate(names) if name not in known]
    raw.refuse(
        np.isin(codes, unknown),
        column,
        words,
        expected=f"one of {', '.join((*EVENT_TYPES, *kinds))}",
        remedy="rename or remove the rows",
    )
    table = np.array([known.get(name, 0) for name in names], dtype=np.uint8)
    return table[codes] if len(table) else np.zeros(0, dtype=np.uint8)


def _quantities(
    quantity: npt.NDArray[np.float64], kinds: npt.NDArray[np.uint8], *, alone: bool
) -> npt.NDArray[np.float64]:
    """An empty quantity is 1, except for purchases and carts in a column that has others.

    With `alone` it is always 1: else one user's quantity would drop the rows of all others.
    """
    empty = np.isnan(quantity)
    if alone:
        return np.where(empty, 1.0, quantity)
    counted = np.isin(kinds, [EVENT_TYPES.index("purchase"), EVENT_TYPES.index("cart")])
    filled = np.where(empty & counted & ~empty.all(), MISSING_QUANTITY, 1.0)
    return np.where(empty, filled, quantity)
