"""What an items table says of an item beside its text, by usual names of its columns.

A cell that cannot be read is left out and counted; it never keeps its row out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from shared.interactions.times import days_of_texts

ITEM_COLUMNS = {
    "title": ("title", "name", "product_name"),
    "url": ("url", "link", "product_url"),
    "image": ("image", "image_url", "img", "image_link", "images"),
    "categories": ("categories",),
    "labels": ("labels", "tags"),
    "currency": ("currency",),
    "stock": ("stock", "quantity", "stock_quantity"),
    "in_stock": ("in_stock", "availability"),
    "valid_from": ("valid_from", "available_from"),
    "valid_to": ("valid_to", "valid_until", "available_until"),
}
"""Our names, and how files spell them, the first that is there."""
NEVER_TEXT = frozenset(
    spelled
    for name in ("url", "image", "currency", "in_stock", "valid_from", "valid_to")
    for spelled in ITEM_COLUMNS[name]
)
"""Columns that say nothing of what an item is."""
MAX_TITLE, MAX_ADDRESS, MAX_NAMES, MAX_NAME = 500, 2000, 50, 200
"""Characters of a title and an address, names of one item, characters of a name at most."""
EXPECTED_ADDRESS = "an http or https address with a host, such as https://shop.example/1.jpg"
_DAY = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}|[0-9]{8}")
_YES = ("in stock", "instock", "true", "1", "yes", "available", "preorder", "backorder")
_NO = ("out of stock", "outofstock", "false", "0", "no", "unavailable", "sold out", "discontinued")


def web_address(text: str) -> str:
    """Returns an address that a page may link to, or "" for none.

    Raises:
        ValueError: It is no http or https address; a script, for example.
    """
    address = text.strip()
    if not address:
        return ""
    try:
        parts = urlsplit(address)
        # `port` is read for its check. A browser takes white space and backslashes in its own way.
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or len(address) > MAX_ADDRESS or any(c <= " " or c in '\\"<>' for c in address):
        raise ValueError(f"must be {EXPECTED_ADDRESS}")
    return address


def names_of(text: str) -> tuple[str, ...]:
    """Returns the names of a cell: a JSON list, or parts between |, ; or commas, in this order."""
    if text.startswith("["):
        try:
            parts: Iterable[Any] = json.loads(text)
        except ValueError:
            parts = text.strip("[]").split(",")
    else:
        mark = next((mark for mark in "|;" if mark in text), ",")
        parts = text.split(mark)
    names = (str(part).strip().strip("'\"")[:MAX_NAME] for part in parts)
    return tuple(dict.fromkeys(name for name in names if name))[:MAX_NAMES]


def is_whole_day(text: str) -> bool:
    """Says whether a time is a date alone, which as an end counts to the end of that day."""
    return bool(_DAY.fullmatch(text.strip()))


def item_columns(items: pd.DataFrame) -> tuple[dict[str, pd.Series[Any]], dict[str, int]]:
    """Reads what a table of text says of its items.

    Args:
        items: Further columns as text, "" where empty.

    Returns:
        Columns by our names: text, tuples of names for categories and labels, days since 1970
        and pieces as numbers (NaN where unknown), a mask for `in_stock`; and by name how many
        cells could not be read.
    """
    spelled = {str(name).lower(): str(name) for name in reversed(list(items.columns))}
    columns: dict[str, pd.Series[Any]] = {}
    unreadable: dict[str, int] = {}
    for name, spellings in ITEM_COLUMNS.items():
        source = next((spelled[one] for one in spellings if one in spelled), None)
        if source is not None:
            values, wrong = _READERS[name](items[source].astype("str"))
            columns[name] = values
            if wrong:
                unreadable[name] = wrong
    return columns, unreadable


def _titles(cells: pd.Series[str]) -> tuple[pd.Series[Any], int]:
    return cells.map(lambda cell: " ".join(cell.split())[:MAX_TITLE]), 0


def _addresses(cells: pd.Series[str]) -> tuple[pd.Series[Any], int]:
    return _each(cells, web_address, "")


def _first_addresses(cells: pd.Series[str]) -> tuple[pd.Series[Any], int]:
    """Several images stand in one cell, the first of them is the item's."""
    return _each(cells, lambda cell: web_address(_first_of(cell)), "")


def _first_of(cell: str) -> str:
    if cell.startswith("["):
        return next(iter(names_of(cell)), "")
    return cell.replace("|", " ").replace(", ", " ").split(" ")[0]


def _names(cells: pd.Series[str]) -> tuple[pd.Series[Any], int]:
    return cells.map(names_of).astype(object), 0


def _currencies(cells: pd.Series[str]) -> tuple[pd.Series[Any], int]:
    return _each(cells, currency_code, "")


def currency_code(text: str) -> str:
    """Returns a code of ISO 4217 in capitals, "" for none.

    Raises:
        ValueError: It has not three letters.
    """
    code = text.strip().upper()
    if code and not (len(code) == 3 and code.isascii() and code.isalpha()):
        raise ValueError("must be a code of three letters such as EUR")
    return code


def _stocks(cells: pd.Series[str]) -> tuple[pd.Series[Any], int]:
    pieces = pd.to_numeric(cells.mask(cells == ""), errors="coerce").astype(np.float64)
    pieces = pieces.where(np.isfinite(pieces))
    return pieces.clip(lower=0.0, upper=1e9), int((pieces.isna() & (cells != "")).sum())


def _availability(cells: pd.Series[str]) -> tuple[pd.Series[Any], int]:
    return _each(cells, _is_available, True)


def _is_available(text: str) -> bool:
    word = text.strip().rstrip("/").rpartition("/")[2].lower().replace("_", " ")
    if word in ("", *_YES):
        return True
    if word in _NO:
        return False
    return float(word) > 0


def _days(cells: pd.Series[str]) -> tuple[pd.Series[Any], int]:
    trimmed = cells.str.strip()
    missing = (trimmed == "").to_numpy(dtype=bool)
    days, _ = days_of_texts(trimmed, missing)
    return pd.Series(days, index=cells.index), int((np.isnan(days) & ~missing).sum())


def _ends(cells: pd.Series[str]) -> tuple[pd.Series[Any], int]:
    days, wrong = _days(cells)
    return days + cells.map(is_whole_day).to_numpy(dtype=np.float64), wrong


def _each(
    cells: pd.Series[str], read: Callable[[str], Any], default: Any
) -> tuple[pd.Series[Any], int]:
    values, wrong = [], 0
    for cell in cells.tolist():
        try:
            values.append(read(cell))
        except ValueError:
            values.append(default)
            wrong += 1
    return pd.Series(values, index=cells.index, dtype=object), wrong


_READERS: dict[str, Callable[[pd.Series[str]], tuple[pd.Series[Any], int]]] = {
    "title": _titles,
    "url": _addresses,
    "image": _first_addresses,
    "categories": _names,
    "labels": _names,
    "currency": _currencies,
    "stock": _stocks,
    "in_stock": _availability,
    "valid_from": _days,
    "valid_to": _ends,
}
