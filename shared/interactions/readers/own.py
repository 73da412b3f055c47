"""Our own layout: `interactions`, `items` and `users` as CSV or Parquet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from shared.config import DataSettings
from shared.errors import DataError
from shared.interactions.readers.delimited import TABLE_SUFFIXES, read_table
from shared.interactions.readers.tables import Tables, events_tables, text_table

OWN_LAYOUT = "fedprofile"
"""Name of the layout in the report."""

SIDE_TABLES = ("items", "users")
"""Names of the tables beside the events."""


def find_table(folder: Path, stem: str) -> Path | None:
    """Returns the file of a table in a folder, or None.

    Raises:
        DataError: The table is there both as CSV and as Parquet.
    """
    found = [folder / f"{stem}{suffix}" for suffix in TABLE_SUFFIXES]
    found = [path for path in found if path.is_file()]
    if len(found) > 1:
        raise DataError(f"{folder}: found {stem} as CSV and as Parquet, expected one; remove one")
    return found[0] if found else None


def read_own(events: Path, settings: DataSettings) -> Tables:
    """Reads an events file and the items and users files beside it.

    Raises:
        DataError: A file is unreadable or lacks a column.
    """
    tables = events_tables(read_table(events), settings, layout=OWN_LAYOUT)
    items, users = (read_side(events.parent, name) for name in SIDE_TABLES)
    sides = [path for name in SIDE_TABLES if (path := find_table(events.parent, name))]
    return replace(tables, items=items, users=users, files=(*tables.files, *sides))


def read_side(folder: Path, stem: str) -> pd.DataFrame | None:
    """Reads `items` or `users` as text, or None where the folder has no such file."""
    path = find_table(folder, stem)
    return text_table(read_table(path), f"{stem.removesuffix('s')}_id") if path else None
