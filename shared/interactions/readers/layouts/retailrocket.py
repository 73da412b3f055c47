"""RetailRocket: `events.csv`, `item_properties_part*.csv`.

Layout: https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset. Properties are hashed: of an
item only the number of its category can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from shared.interactions.readers.layouts.by_header import HeaderLayout, Headers, tables_with
from shared.interactions.readers.parsed_tables import COLUMNS, ParsedTables, events_tables, merge
from shared.interactions.readers.table_files import read_table
from shared.settings.run_settings import DataSettings

_COLUMNS = COLUMNS | {
    "user_id": "visitorid",
    "item_id": "itemid",
    "datetime": "timestamp",
    "event_type": "event",
}
_HEADER = frozenset({"timestamp", "visitorid", "event", "itemid"})
_PROPERTIES = ("timestamp", "itemid", "property", "value")
_KINDS = {"addtocart": "cart", "transaction": "purchase"}


def _read(files: Sequence[Path], headers: Headers, settings: DataSettings) -> ParsedTables:
    parts = [
        events_tables(
            read_table(path, drop=settings.drops_malformed, known=_HEADER),
            settings,
            layout="retailrocket",
            columns=_COLUMNS,
            event_type="view",
            kinds=_KINDS,
        )
        for path in files
    ]
    tables = merge(parts, layout="retailrocket")
    properties = tables_with(headers, *_PROPERTIES, stem="item_properties")
    return replace(
        tables,
        items=_items(properties) if properties else None,
        files=(*tables.files, *properties),
    )


def _items(files: Sequence[Path]) -> pd.DataFrame:
    """Takes the newest category of each item that has properties."""
    parts = []
    for path in files:
        raw = read_table(path, known=_PROPERTIES)
        raw.require(_PROPERTIES, "use the files of RetailRocket")
        category = (raw.texts("property") == "categoryid").to_numpy(dtype=bool)
        table = pd.DataFrame({"item_id": raw.ids("itemid"), "time": raw.days("timestamp")})
        words = ("category " + raw.texts("value")).where(category, "")
        parts.append(table.assign(category=words, named=category))
    table = pd.concat(parts, ignore_index=True).sort_values(["named", "time"], kind="stable")
    last = table.drop_duplicates("item_id", keep="last").sort_values("item_id", ignore_index=True)
    return last[["item_id", "category"]]


RETAILROCKET = HeaderLayout(_HEADER, _read)
