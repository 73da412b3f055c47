"""Amazon Reviews 2023: reviews and `meta_*` items as JSON lines, plain or gzip.

Layout: https://amazon-reviews-2023.github.io/
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shared.errors import DataError
from shared.interactions.readers.parsed_tables import COLUMNS, ParsedTables, events_tables, merge
from shared.interactions.readers.raw_table import RawTable
from shared.interactions.readers.row_faults import MAX_LINE, RowFaults
from shared.settings.run_settings import DataSettings

REVIEW_FIELDS = ("user_id", "parent_asin", "timestamp")
"""Fields read from a review; `timestamp` is in milliseconds."""

_COLUMNS = COLUMNS | {"item_id": "parent_asin", "datetime": "timestamp"}


def is_amazon(path: Path) -> bool:
    """Whether a file is JSON lines by its name."""
    return path.name.endswith((".jsonl", ".jsonl.gz"))


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
            _reviews(path, (*REVIEW_FIELDS, *extra), drop=settings.drops_malformed),
            settings,
            layout="amazon-reviews-2023",
            columns=_COLUMNS,
            event_type="review",
        )
        for path in reviews
    ]
    items = pd.concat([_items(path) for path in metas], ignore_index=True) if metas else None
    tables = merge(parts, layout="amazon-reviews-2023", items=items)
    return replace(tables, files=(*tables.files, *metas))


def _lines(path: Path, faults: RowFaults | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    row = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            for row, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                record = _parse(line) if faults is None else _parse_or_drop(row, line, faults)
                if record is not None:
                    yield row, record
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: row {row}: expected UTF-8", remedy="save the file as UTF-8"
        ) from None
    except (json.JSONDecodeError, TypeError) as error:
        raise DataError(
            f"{path}: row {row}, column 1: expected a JSON object on one line ({error})",
            remedy="download the file again or remove the line",
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: row {row + 1}: cannot be read ({error})", remedy="download the file again"
        ) from None


def _parse(line: bytes) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise TypeError(f"found {type(record).__name__}")
    return record


def _parse_or_drop(row: int, line: bytes, faults: RowFaults) -> dict[str, Any] | None:
    """Returns a line's record with plain cells; None where it is dropped."""
    try:
        if len(line) > MAX_LINE:
            raise ValueError("too long")
        record = _parse(line)
        stamp = record.get("timestamp")
        # Each cell is given its type alone: in a column, one user's null turns the numbers of all
        # others into floats.
        cells = {name: None if value is None else str(value) for name, value in record.items()}
        "".join(filter(None, cells.values())).encode()  # half of a surrogate pair is no text
        return cells | {"timestamp": None if stamp is None else float(stamp)}
    except (ValueError, TypeError, OverflowError, RecursionError):
        faults.leave_out(row, line)
        return None


def _reviews(path: Path, fields: tuple[str, ...], *, drop: bool) -> RawTable:
    rows = []
    faults = RowFaults() if drop else None
    for row, record in _lines(path, faults):
        stamp = record.get("timestamp")
        if stamp is not None and not isinstance(stamp, int | float):
            raise DataError(
                f"{path}: row {row}, column timestamp: found {str(stamp)[:40]!r}, expected "
                "milliseconds since 1970",
                remedy="correct the line",
            )
        # Colours and sizes are separate asins of one parent, and `meta_*` is keyed by the parent.
        if "parent_asin" not in record and "asin" in record:
            record["parent_asin"] = record["asin"]
        rows.append([record.get(name) for name in fields])
    frame = pd.DataFrame(rows, columns=list(fields))
    if faults is not None:  # a field that no line has is missing in each: those are dropped
        return RawTable(path, frame.astype({"timestamp": np.float64}), 1, faults)
    absent = [name for name in fields if frame[name].isna().all()]
    if absent:
        raise DataError(
            f"{path}: row 1, column {absent[0]}: in no line, expected {', '.join(fields)}",
            remedy="use the reviews files of Amazon Reviews 2023",
        )
    return RawTable(path, frame, first_row=1)


def _items(path: Path) -> pd.DataFrame:
    items = [
        {
            "item_id": _text(record.get("parent_asin") or record.get("asin")),
            "title": _text(record.get("title")),
            "category": _text(record.get("categories")) or _text(record.get("main_category")),
            "brand": _text(record.get("store")),
            "description": _text(record.get("description")),
            "features": _text(record.get("features")),
            "price": _price(record.get("price")),
        }
        for _, record in _lines(path)
    ]
    return pd.DataFrame(items, dtype="str")


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(part).strip() for part in value if part)
    return "" if value is None else str(value).strip()


def _price(value: object) -> str:
    """Prices are numbers, "None", or words such as "from 12.99", which give no price."""
    try:
        return str(float(str(value)))
    except ValueError:
        return ""
