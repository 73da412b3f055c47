"""H&M: `transactions_train.csv`, `articles.csv` and `customers.csv`.

Layout: https://www.kaggle.com/c/h-and-m-personalized-fashion-recommendations
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from shared.interactions.readers.layouts.by_header import HeaderLayout, Headers, tables_with
from shared.interactions.readers.parsed_tables import (
    COLUMNS,
    ParsedTables,
    events_tables,
    merge,
    text_table,
)
from shared.interactions.readers.table_files import read_table
from shared.settings.run_settings import DataSettings

_COLUMNS = COLUMNS | {"user_id": "customer_id", "item_id": "article_id", "datetime": "t_dat"}
_HEADER = frozenset({"t_dat", "customer_id", "article_id"})
_WORDS = {
    "title": "prod_name",
    "category": "product_type_name",
    "department": "department_name",
    "colour": "colour_group_name",
    "pattern": "graphical_appearance_name",
    "section": "section_name",
    "description": "detail_desc",
}


def _read(files: Sequence[Path], headers: Headers, settings: DataSettings) -> ParsedTables:
    drop = settings.drops_malformed
    parts = [
        events_tables(
            read_table(path, drop=drop, known=_HEADER), settings, layout="h-and-m", columns=_COLUMNS
        )
        for path in files
    ]
    tables = merge([_with_pieces(part) for part in parts], layout="h-and-m")
    articles = tables_with(headers, "article_id", "prod_name", stem="articles")[:1]
    customers = [path for path in tables_with(headers, "customer_id") if path not in files][:1]
    customers = [path for path in customers if not {"prediction"} & headers[path]]
    return replace(
        tables,
        items=_items(articles[0]) if articles else None,
        users=_users(customers[0], drop=drop) if customers else None,
        files=(*tables.files, *articles, *customers),
    )


def _with_pieces(part: ParsedTables) -> ParsedTables:
    """Each row is one piece: equal rows say how many, and cleaning keeps the first of them."""
    events = part.events
    again = events.duplicated(keep=False).to_numpy()
    quantity = pd.Series(1.0, index=events.index)
    if again.any():
        alike = events[again]
        sizes = alike.groupby(list(alike.columns), dropna=False, sort=False)["time"].transform(
            "size"
        )
        quantity[again] = sizes.to_numpy(dtype=float)
    return replace(part, events=events.assign(quantity=quantity))


def _items(path: Path) -> pd.DataFrame:
    raw = read_table(path, known=("article_id", "prod_name"))
    table = text_table(raw, "item_id", {"item_id": "article_id"})
    columns = {name: table[column] for name, column in _WORDS.items() if column in table}
    return pd.DataFrame({"item_id": table["item_id"], **columns})


def _users(path: Path, *, drop: bool) -> pd.DataFrame:
    raw = read_table(path, drop=drop, known=("customer_id",))
    return text_table(raw, "user_id", {"user_id": "customer_id"})


HM = HeaderLayout(_HEADER, _read)
