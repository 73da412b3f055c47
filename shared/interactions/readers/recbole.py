"""RecBole atomic files: `.inter`, `.item`, `.user`, tab-separated with typed headers.

Layout: https://recbole.io/docs/user_guide/data/atomic_files.html
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from shared.errors import DataError
from shared.interactions.readers.parsed_tables import (
    COLUMNS,
    ParsedTables,
    events_tables,
    text_table,
)
from shared.interactions.readers.raw_table import RawTable
from shared.interactions.readers.table_files import read_delimited
from shared.settings.run_settings import DataSettings

FIELD_TYPES = ("token", "token_seq", "float", "float_seq")
"""Types that may follow the colon in a header."""

_ITEM_NAMES = {"movie_title": "title", "class": "category", "genre": "category"}


def read_recbole(interactions: Path, settings: DataSettings) -> ParsedTables:
    """Reads `NAME.inter` and, where they are, `NAME.item` and `NAME.user`.

    Raises:
        DataError: A file is unreadable, or its header has no types.
    """
    drop = settings.drops_malformed
    raw, _ = _read_typed(interactions, drop=drop)
    rated = "rating" in raw.frame.columns
    tables = events_tables(
        raw,
        settings,
        layout="recbole",
        columns=COLUMNS | {"datetime": "timestamp"},
        event_type="rating" if rated else "purchase",
    )
    items, users = interactions.with_suffix(".item"), interactions.with_suffix(".user")
    return replace(
        tables,
        items=_items(items) if items.is_file() else None,
        users=text_table(_read_typed(users, drop=drop)[0], "user_id") if users.is_file() else None,
        files=(*tables.files, *(path for path in (items, users) if path.is_file())),
    )


def _read_typed(path: Path, *, drop: bool = False) -> tuple[RawTable, dict[str, str]]:
    raw = read_delimited(path, delimiter="\t", quoted=False, drop=drop)
    types = {}
    for header in raw.frame.columns:
        name, _, kind = str(header).partition(":")
        if kind not in FIELD_TYPES:
            raise DataError(
                f"{path}: row 1, column {header}: expected name:type with a type of "
                f"{', '.join(FIELD_TYPES)}",
                remedy="write the header as RecBole does",
            )
        types[name] = kind
    return replace(raw, frame=raw.frame.set_axis(list(types), axis="columns")), types


def _items(path: Path) -> pd.DataFrame:
    """Keeps tokens (ids, names, sequences of words) and the price; other numbers are no text."""
    raw, types = _read_typed(path)
    columns = [name for name, kind in types.items() if kind.startswith("token") or name == "price"]
    items = text_table(replace(raw, frame=raw.frame[columns]), "item_id")
    renamed = {old: new for old, new in _ITEM_NAMES.items() if new not in items.columns}
    return items.rename(columns=renamed)
