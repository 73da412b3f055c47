"""A few of the rows that cleaning drops, by reason: file, row and value, for the owner's eyes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.interactions.events import Events
from shared.interactions.readers.parsed_tables import ParsedTables
from shared.interactions.readers.row_places import Place, file_of

MOST_EXAMPLES = 3
"""Examples of one reason at most."""

_COLUMNS = {
    "missing_id": ("user_id", "item_id", "shop_id"),
    "impossible_date": ("time",),
    "impossible_quantity": ("quantity",),
    "impossible_number": ("weight", "price"),
    "unknown_item": ("item_id",),
    "duplicate": ("item_id",),
    "other_event": ("event_type",),
}
"""Columns that can be the reason; the first that is so is told."""


def examples_of(tables: ParsedTables, reason: str, rows: npt.NDArray[np.intp]) -> tuple[Place, ...]:
    """Names the first of the rows that were dropped for a reason.

    Args:
        tables: The source.
        reason: Of dropping.
        rows: Rows of `tables.events`, ascending.
    """
    examples = [_example(tables, reason, int(row)) for row in rows[:MOST_EXAMPLES]]
    places = [place for place in examples if place is not None]
    if reason == "malformed":
        unreadable = [place for file in tables.rows for place in file.unreadable]
        places = sorted([*unreadable, *places], key=lambda place: place.row)
    return tuple(places[:MOST_EXAMPLES])


def repeated_rows(
    tables: ParsedTables, events: Events, item_ids: npt.NDArray[np.object_]
) -> list[int]:
    """Finds the rows of the first repeated events again, which sorting has moved.

    Args:
        tables: The source.
        events: Repeated ones.
        item_ids: Of the items that codes refer to.
    """
    rows: set[int] = set()
    frame = tables.events
    for item, time in zip(events.item[:MOST_EXAMPLES], events.time[:MOST_EXAMPLES], strict=True):
        alike = frame["time"].to_numpy() == time
        alike[alike] = (frame["item_id"][alike] == item_ids[item]).to_numpy()
        twice = frame[alike].duplicated().to_numpy()
        rows |= set(np.flatnonzero(alike)[twice].tolist())
    return sorted(rows)


def _example(tables: ParsedTables, reason: str, row: int) -> Place | None:
    where = file_of(tables.rows, row)
    if where is None:
        return None
    file, local = where
    if reason == "malformed":
        return file.faulty_place(local)
    cells = tables.events.iloc[row]
    column = next((name for name in _COLUMNS[reason] if _is_cause(reason, name, cells)), "")
    return file.place(local, column, _text(cells.get(column, "")))


def _is_cause(reason: str, column: str, cells: pd.Series) -> bool:
    if column not in cells:
        return False
    if reason == "missing_id":
        return bool(cells[column] == "")
    return reason != "impossible_number" or bool(cells[column] < 0 or np.isinf(cells[column]))


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)
