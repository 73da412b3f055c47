"""Amazon reviews of 2018 and 2023: reviews and `meta_*` items as JSON lines.

Layouts: https://amazon-reviews-2023.github.io/ and https://nijianmo.github.io/amazon/
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from shared.errors import DataError
from shared.interactions.readers.json_lines import JSON_SUFFIXES, read_json, records_of
from shared.interactions.readers.packed_files import first_bytes, plain_suffix
from shared.interactions.readers.parsed_tables import COLUMNS, ParsedTables, events_tables, merge
from shared.interactions.readers.raw_table import RawTable, cell_text
from shared.settings.run_settings import DataSettings

FIELDS = {
    "user_id": ("user_id", "reviewerID"),
    # Colours and sizes are separate asins of one parent, and `meta_*` is keyed by the parent.
    "parent_asin": ("parent_asin", "asin"),
    "timestamp": ("timestamp", "unixReviewTime"),
}
"""Fields read from a review, by their names in 2023; of several names the first that a line has."""

_COLUMNS = COLUMNS | {"item_id": "parent_asin", "datetime": "timestamp"}
_PRICE = re.compile(r"\$?\s*(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)")


def is_amazon(path: Path) -> bool:
    """Whether a file holds reviews or their items: JSON lines, or JSON with an `asin`."""
    suffix = plain_suffix(path)
    if suffix == ".json":
        return b'"asin"' in first_bytes(path)
    return suffix in JSON_SUFFIXES


def read_amazon(files: list[Path], settings: DataSettings) -> ParsedTables:
    """Reads review files, and the items of the `meta_*` files among them.

    A review counts as one event of type `review` with weight 1; its words and stars are not read.

    Raises:
        DataError: A line is not a JSON object, or no line has a field that is needed.
    """
    reviews = [path for path in files if not path.name.startswith("meta_")]
    metas = [path for path in files if path.name.startswith("meta_")]
    if not reviews:
        raise DataError(
            f"{files[0].parent}: found {', '.join(path.name for path in files)}, expected a "
            "reviews file such as Office_Products.jsonl",
            remedy="add it",
        )
    extra = [name for name in (settings.shop_column, settings.order_column) if name]
    parts = [
        events_tables(
            _reviews(path, extra, drop=settings.drops_malformed),
            settings,
            layout="amazon-reviews",
            columns=_COLUMNS,
            event_type="review",
        )
        for path in reviews
    ]
    items = pd.concat([_items(path) for path in metas], ignore_index=True) if metas else None
    tables = merge(parts, layout="amazon-reviews", items=items)
    return replace(tables, files=(*tables.files, *metas))


def _reviews(path: Path, extra: list[str], *, drop: bool) -> RawTable:
    names = [*dict.fromkeys(name for names in FIELDS.values() for name in names), *extra]
    raw = read_json(path, fields=names, drop=drop)
    frame = raw.frame[extra].copy()
    for field, (first, second) in FIELDS.items():
        cells = raw.frame[first]
        empty = cells.isna() | (cells == "")
        frame[field] = cells.mask(empty, raw.frame[second]) if empty.any() else cells
    if drop:  # a field that no line has is missing in each: those are dropped
        return replace(raw, frame=frame)
    absent = [name for name in (*FIELDS, *extra) if _is_empty(frame[name])]
    if absent:
        raise DataError(
            f"{path}: row 1, column {absent[0]}: in no line, expected "
            f"{', '.join((*FIELDS, *extra))}",
            remedy="use the reviews files of Amazon Reviews 2018 or 2023",
        )
    return replace(raw, frame=frame)


def _is_empty(cells: pd.Series[Any]) -> bool:
    return bool((cells.isna() | (cells == "")).all())


def _items(path: Path) -> pd.DataFrame:
    rows = []
    for _, record in records_of(path, mend=True):
        rows.append(
            {
                "item_id": _text(record.get("parent_asin") or record.get("asin")),
                "title": _text(record.get("title")),
                "category": _text(
                    record.get("categories") or record.get("category") or record.get("main_cat")
                )
                or _text(record.get("main_category")),
                "brand": _text(record.get("store") or record.get("brand")),
                "description": _text(record.get("description")),
                "features": _text(record.get("features") or record.get("feature")),
                "price": _price(record.get("price")),
            }
        )
    items = pd.DataFrame(rows, dtype="str")
    return items.assign(item_id=RawTable(path, items, 1).ids("item_id")) if rows else items


def _text(value: object) -> str:
    return cell_text(value, joined=True).strip()


def _price(value: object) -> str:
    """Prices are numbers, "$1,234.50", "None", or words such as "from 12.99", which give none."""
    match = _PRICE.fullmatch(_text(value))
    return match[1].replace(",", "") if match else ""
