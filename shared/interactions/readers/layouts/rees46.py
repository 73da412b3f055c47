"""REES46 shop logs: months of views, carts and purchases as `2019-Oct.csv`.

Layout: https://rees46.com/en/datasets. There is no catalogue: the items are those of the events,
with the category and brand that stand there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from shared.interactions.readers.layouts.by_header import HeaderLayout, Headers
from shared.interactions.readers.parsed_tables import (
    COLUMNS,
    ParsedTables,
    events_tables,
    merge,
)
from shared.interactions.readers.raw_table import RawTable
from shared.interactions.readers.table_files import read_table
from shared.settings.run_settings import DataSettings

_COLUMNS = COLUMNS | {
    "item_id": "product_id",
    "datetime": "event_time",
    "session_id": "user_session",
}
_HEADER = frozenset({"event_time", "event_type", "product_id", "user_id"})


def _read(files: Sequence[Path], _: Headers, settings: DataSettings) -> ParsedTables:
    parts, items = [], []
    for path in files:
        raw = read_table(path, drop=settings.drops_malformed, known=_HEADER)
        tables = events_tables(
            raw,
            settings,
            layout="rees46",
            columns=_COLUMNS,
            event_type="view",
            other_kinds=("remove_from_cart",),
        )
        ignored = set(tables.ignored_columns) - {"brand", "category_code"}
        parts.append(replace(tables, ignored_columns=tuple(sorted(ignored))))
        items.append(_items(raw, tables))
    every = pd.concat(items, ignore_index=True).drop_duplicates("item_id", keep="last")
    merged = merge(parts, layout="rees46", items=every.sort_values("item_id", ignore_index=True))
    return replace(merged, items_from_events=True)


def _items(raw: RawTable, tables: ParsedTables) -> pd.DataFrame:
    """Takes the last category and brand of each item."""
    table = pd.DataFrame({"item_id": tables.events["item_id"]})
    for name, column in {"category": "category_code", "brand": "brand"}.items():
        words = raw.words(column) if column in raw.frame else pd.Series("", index=table.index)
        table[name] = words
    table = table[table["item_id"] != ""].drop_duplicates(keep="last")
    # A line without a category must not take it from an item that has one elsewhere.
    full = (table["category"] != "").astype(int) + (table["brand"] != "").astype(int)
    last = table.iloc[full.to_numpy().argsort(kind="stable")].drop_duplicates(
        "item_id", keep="last"
    )
    return last.assign(category=last["category"].str.replace(r"[._]", " ", regex=True))


REES46 = HeaderLayout(_HEADER, _read)
