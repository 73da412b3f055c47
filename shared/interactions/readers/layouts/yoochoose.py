"""Yoochoose (RecSys Challenge 2015): `yoochoose-clicks.dat` and `yoochoose-buys.dat`.

Layout: https://www.kaggle.com/datasets/chadgostopp/recsys-challenge-2015. A session is all that is
known of a user. There is no catalogue: the items are those of the events, with their category.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from shared.interactions.readers.packed_files import beside, plain_name
from shared.interactions.readers.parsed_tables import COLUMNS, ParsedTables, events_tables, merge
from shared.interactions.readers.raw_table import RawTable
from shared.interactions.readers.table_files import read_delimited
from shared.settings.run_settings import DataSettings

YOOCHOOSE_FILES = ("yoochoose-clicks.dat", "yoochoose-buys.dat")
"""Names by which the data is known; the test sessions are not read."""

_CLICKS = ("user_id", "datetime", "item_id", "category")
_BUYS = ("user_id", "datetime", "item_id", "price", "quantity")
_MOST_CATEGORIES = 12


def read_yoochoose(path: Path, settings: DataSettings) -> ParsedTables:
    """Reads clicks as views, and purchases, of whichever file is there.

    Raises:
        DataError: A file is unreadable.
    """
    files = [file for name in YOOCHOOSE_FILES if (file := beside(path, name))]
    parts, raws = [], []
    for file in files:
        clicks = plain_name(file) == YOOCHOOSE_FILES[0]
        names = _CLICKS if clicks else _BUYS
        raw = read_delimited(file, names=names, drop=settings.drops_malformed)
        tables = events_tables(
            raw,
            settings,
            layout="yoochoose",
            columns=COLUMNS,
            event_type="view" if clicks else "purchase",
        )
        parts.append(replace(tables, events=_known_numbers(tables.events), ignored_columns=()))
        raws.append(raw)
    tables = merge(parts, layout="yoochoose", items=_items(raws))
    return replace(tables, items_from_events=True)


def _known_numbers(events: pd.DataFrame) -> pd.DataFrame:
    """A price or quantity of 0 is one that was not recorded."""
    empty = {"price": np.nan, "quantity": 1.0}
    known = {
        name: events[name].where(events[name] != 0, empty[name]) for name in empty if name in events
    }
    return events.assign(**known)


def _items(raws: list[RawTable]) -> pd.DataFrame:
    """Takes the last numbered category of each item; S is an offer and long numbers are brands."""
    parts = []
    for raw in raws:
        table = pd.DataFrame({"item_id": raw.ids("item_id"), "category": ""})
        if "category" in raw.frame:
            numbers = pd.to_numeric(raw.texts("category"), errors="coerce")
            numbered = numbers.between(1, _MOST_CATEGORIES)
            table["category"] = ("category " + raw.texts("category")).where(numbered, "")
        parts.append(table.drop_duplicates(keep="last"))
    table = pd.concat(parts, ignore_index=True)
    table = table.iloc[(table["category"] != "").to_numpy().argsort(kind="stable")]
    last = table.drop_duplicates("item_id", keep="last")
    return last.sort_values("item_id", ignore_index=True)
