"""Instacart: `orders.csv`, `order_products__*.csv`, `products.csv`, aisles and departments.

Layout: https://www.kaggle.com/c/instacart-market-basket-analysis. Orders have no dates, only their
number in a user's sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from shared.errors import DataError
from shared.interactions.readers.layouts.by_header import HeaderLayout, Headers, tables_with
from shared.interactions.readers.parsed_tables import (
    COLUMNS,
    ParsedTables,
    events_tables,
    merge,
    text_table,
)
from shared.interactions.readers.raw_table import RawTable
from shared.interactions.readers.table_files import read_table
from shared.settings.run_settings import DataSettings

_COLUMNS = COLUMNS | {
    "item_id": "product_id",
    "session_id": "order_id",
    "datetime": "order_number",
}
_HEADER = frozenset({"order_id", "product_id", "add_to_cart_order"})


def _read(files: Sequence[Path], headers: Headers, settings: DataSettings) -> ParsedTables:
    drop = settings.drops_malformed
    orders = tables_with(headers, "order_id", "user_id", "order_number")
    if not orders:
        raise DataError(
            f"{files[0]}: products of orders without the orders, expected orders.csv with "
            "order_id, user_id and order_number beside it",
            remedy="add it",
        )
    of_order = _orders(read_table(orders[0], drop=drop))
    ranked = settings.model_copy(update={"order_column": "order_number"})
    parts = []
    for path in files:
        raw = read_table(path, drop=drop)
        joined = _joined(raw, of_order)
        parts.append(events_tables(joined, ranked, layout="instacart", columns=_COLUMNS))
    tables = merge(parts, layout="instacart")
    products = tables_with(headers, "product_id", "product_name", stem="products")[:1]
    return replace(
        tables,
        items=_items(products[0], headers) if products else None,
        files=(*tables.files, orders[0], *products),
    )


def _orders(raw: RawTable) -> pd.DataFrame:
    raw.require(("order_id", "user_id", "order_number"), "use the files of Instacart")
    raw.numbers("order_number")  # names a word for a number in its own file
    names = ("user_id", "order_number")
    return (
        pd.DataFrame({"order_id": raw.ids("order_id"), **{n: raw.texts(n) for n in names}})
        .drop_duplicates("order_id")
        .set_index("order_id")
    )


def _joined(raw: RawTable, orders: pd.DataFrame) -> RawTable:
    """Gives each product of an order the order's user and number; none where it is not known."""
    rows = orders.index.get_indexer(pd.Index(raw.ids("order_id")))
    columns = {
        name: orders[name].reset_index(drop=True).reindex(rows).reset_index(drop=True)
        for name in orders.columns
    }
    return replace(raw, frame=raw.frame.assign(**columns))


def _items(path: Path, headers: Headers) -> pd.DataFrame:
    raw = read_table(path)
    raw.require(("product_id", "product_name"), "use the files of Instacart")
    products = text_table(raw, "item_id", {"item_id": "product_id"})
    items = pd.DataFrame({"item_id": products["item_id"], "title": products["product_name"]})
    for name, key, column in (
        ("category", "aisle_id", "aisle"),
        ("department", "department_id", "department"),
    ):
        tables = tables_with(headers, key, column)
        if tables and key in products:
            raw = read_table(tables[0])
            words = dict(zip(raw.ids(key), raw.words(column), strict=True))
            items[name] = products[key].map(words).fillna("")
    return items


INSTACART = HeaderLayout(_HEADER, _read)
