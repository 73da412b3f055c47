"""One text for each item, from its columns in a fixed order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from shared.errors import DataError
from shared.interactions.events import Catalogue
from shared.interactions.item_columns import ITEM_COLUMNS, NEVER_TEXT, item_columns

TEXT_ORDER = ("title", "text", "category", "type", "brand", "description")
"""Columns that lead an item's text; other text columns follow in the file's order."""

ATTRIBUTES = ("category", "brand", "price", "department", "type", "size")
"""Columns kept beside the text."""

MAX_TEXT = 10_000
"""Characters of an item's text at most; longer ones are cut and counted."""

_NEVER_TEXT = {"item_id", "price", *NEVER_TEXT}


def build_catalogue(items: pd.DataFrame, *, least: int = 2) -> tuple[Catalogue, dict[str, Any]]:
    """Builds the catalogue, in the order of the rows, the first of repeated ids.

    Args:
        items: `item_id` ("" where missing) and further columns, all text.
        least: Items that must be left.

    Returns:
        The catalogue, and counts of what was dropped or changed.

    Raises:
        DataError: Fewer than `least` items are left.
    """
    named = items[items["item_id"] != ""]
    unique = named.drop_duplicates("item_id").reset_index(drop=True)
    if len(unique) < least:
        raise DataError(
            f"items: the catalogue has {len(unique)} items, needs at least {least}",
            remedy="add items",
        )
    columns = text_columns(unique)
    texts, truncated = join_texts(unique[columns])
    attribute_columns = {name: unique[name] for name in ATTRIBUTES if name in unique.columns}
    attributes = pd.DataFrame(attribute_columns, index=unique.index)
    described, unreadable = item_columns(unique)
    spelled = {one for name in described for one in ITEM_COLUMNS[name]}
    unread = {
        str(name)
        for name in set(unique.columns) - set(columns) - set(attribute_columns) - {"item_id"}
        if str(name).lower() not in spelled
    }
    counts = {
        "read": len(items),
        "kept": len(unique),
        "missing_id": len(items) - len(named),
        "repeated_id": len(named) - len(unique),
        "without_text": sum(not text for text in texts),
        "truncated_text": truncated,
        "text_columns": columns,
        "ignored_columns": sorted(unread),
    }
    if "price" in attribute_columns:
        prices = pd.to_numeric(attribute_columns["price"], errors="coerce")
        counts["unreadable_price"] = int((prices.isna() & (attribute_columns["price"] != "")).sum())
        attributes["price"] = prices.astype(np.float64)
    counts |= {f"unreadable_{name}": wrong for name, wrong in unreadable.items()}
    for name, values in described.items():
        attributes[name] = values
    return Catalogue(unique["item_id"].to_numpy(dtype=object), texts, attributes), counts


def catalogue_of_events(item_ids: npt.NDArray[np.object_]) -> tuple[Catalogue, dict[str, Any]]:
    """Builds a catalogue without texts from the items that occur in events.

    Such a catalogue depends on what users did, so it is no public knowledge: the report says so.

    Args:
        item_ids: Ids of any events, "" where missing.

    Raises:
        DataError: Fewer than 2 items occur.
    """
    unique = pd.DataFrame({"item_id": np.unique(item_ids.astype(str))}, dtype="str")
    catalogue, counts = build_catalogue(unique[unique["item_id"] != ""])
    return catalogue, counts | {"taken_from_events": True}


def text_columns(items: pd.DataFrame) -> list[str]:
    """Returns the columns that make up the text: those in order, then others with words."""
    led = [name for name in TEXT_ORDER if name in items.columns]
    others = [
        name
        for name in map(str, items.columns)
        if name not in led and name.lower() not in _NEVER_TEXT and _has_words(items[name])
    ]
    return led + others


def join_texts(table: pd.DataFrame) -> tuple[list[str], int]:
    """Joins the cells of each row with ", ", without empty and repeated parts.

    Returns:
        The texts, white space made single, and how many were cut at `MAX_TEXT` characters.
    """
    texts, truncated = [], 0
    columns = [table[name].tolist() for name in table.columns]
    for cells in zip(*columns, strict=True) if columns else [()] * len(table):
        parts = dict.fromkeys(" ".join(cell.split()) for cell in cells)
        text = ", ".join(part for part in parts if part)
        truncated += len(text) > MAX_TEXT
        texts.append(text[:MAX_TEXT])
    return texts, truncated


def _has_words(column: pd.Series[str]) -> bool:
    filled = column[column != ""]
    return bool(len(filled)) and bool(pd.to_numeric(filled, errors="coerce").isna().any())
