"""Bulk import of a cleaned data set into an open database, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from client.store.changes import keys_of, put_fact
from client.store.schema import events, imports, items, users
from shared.errors import DataError
from shared.interactions.events import Catalogue, Dataset, Events, Shop

_ROWS = 50_000
_COLUMNS = (
    *("user_key", "item_key", "time", "event_type", "weight", "quantity", "price", "session"),
)

_ATTRIBUTES = ("category", "brand")
Progress = Callable[[int, int], None]


def choose_shop(dataset: Dataset, name: str | None) -> Shop:
    """Returns the shop that a node serves.

    Raises:
        DataError: The name is None and the data has several shops, or it is unknown.
    """
    known = {shop.shop_id: shop for shop in dataset.shops}
    if name is None and len(known) == 1:
        return dataset.shops[0]
    if name not in known:
        listed = ", ".join(list(known)[:10])
        raise DataError(
            f"must be one of the data's {len(known)} shops ({listed})",
            name="shop",
            value=name,
            remedy="name one of them with --shop",
        )
    return known[name]


def import_shop(
    connection: sa.Connection,
    shop: Shop,
    catalogue: Catalogue,
    *,
    time_unit: str,
    progress: Progress | None = None,
) -> int:
    """Adds a shop's users, the whole catalogue and all events.

    Returns:
        Number of events added; 0 where this very import was done before.
    """
    digest = _digest(shop, catalogue)
    if connection.scalar(sa.select(imports.c.events).where(imports.c.digest == digest)) is not None:
        return 0
    item_rows = list(_item_rows(catalogue))
    item_keys = _ensure(connection, items, "item_id", item_rows)
    user_rows = [{"user_id": str(user_id), "segment": ""} for user_id in shop.user_ids]
    user_keys = _ensure(connection, users, "user_id", user_rows)
    keys_of_items = np.array([item_keys[str(item_id)] for item_id in catalogue.item_ids])
    keys_of_users = np.array([user_keys[str(user_id)] for user_id in shop.user_ids])
    _insert_events(connection, shop.events, keys_of_users, keys_of_items, progress)
    n = len(shop.events)
    row = {"digest": digest, "name": shop.shop_id, "events": n}
    connection.execute(sa.insert(imports), [row])
    put_fact(connection, "time_unit", json.dumps(time_unit))
    return n


def _insert_events(
    connection: sa.Connection,
    shop_events: Events,
    user_keys: npt.NDArray[np.int64],
    item_keys: npt.NDArray[np.int64],
    progress: Progress | None,
) -> None:
    order = np.argsort(shop_events.time, kind="stable")
    copy = connection.dialect.name == "postgresql"
    for start in range(0, len(order), _ROWS):
        part = shop_events.select(order[start : start + _ROWS])
        coded = (user_keys[part.user], item_keys[part.item], part.time, part.event_type)
        rows = _plain(*coded, part.weight, part.quantity, part.price, part.session)
        (_copy if copy else _execute)(connection, rows)
        if progress is not None:
            progress(min(start + _ROWS, len(order)), len(order))


def _plain(*columns: npt.NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    """Returns rows of Python values, None for NaN."""
    lists = [column.tolist() for column in columns]
    price = _COLUMNS.index("price")
    lists[price] = [None if value != value else value for value in lists[price]]
    return zip(*lists, strict=True)


def _execute(connection: sa.Connection, rows: Iterator[tuple[Any, ...]]) -> None:
    marks = ", ".join("?" * len(_COLUMNS))
    sql = f"INSERT INTO {events.name} ({', '.join(_COLUMNS)}) VALUES ({marks})"  # noqa: S608
    connection.exec_driver_sql(sql, list(rows))


def _copy(connection: sa.Connection, rows: Iterator[tuple[Any, ...]]) -> None:
    raw: Any = connection.connection.driver_connection
    sql = f"COPY {events.name} ({', '.join(_COLUMNS)}) FROM STDIN"
    with raw.cursor() as cursor, cursor.copy(sql) as copy:
        for row in rows:
            copy.write_row(row)


def _ensure(
    connection: sa.Connection, table: sa.Table, key: str, rows: Sequence[dict[str, Any]]
) -> dict[str, int]:
    """Adds the rows whose id is new and returns id -> key of all."""
    ids = [row[key] for row in rows]
    existing = keys_of(connection, table, ids)
    new = [row for row in rows if row[key] not in existing]
    for start in range(0, len(new), _ROWS):
        connection.execute(sa.insert(table), new[start : start + _ROWS])
    return keys_of(connection, table, ids) if new else existing


def _item_rows(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    table = catalogue.attributes
    empty = [""] * len(catalogue)
    values = {name: table[name].tolist() if name in table else empty for name in _ATTRIBUTES}
    prices = table["price"].tolist() if "price" in table else [None] * len(catalogue)
    for i, (item_id, text) in enumerate(zip(catalogue.item_ids, catalogue.texts, strict=True)):
        price = prices[i]
        yield {
            "item_id": str(item_id),
            "text": text,
            "category": str(values["category"][i] or ""),
            "brand": str(values["brand"][i] or ""),
            "price": None if price is None or price != price else float(price),
            "in_stock": True,
            "hidden": False,
        }


def _digest(shop: Shop, catalogue: Catalogue) -> str:
    state = hashlib.sha256(f"{shop.shop_id}\n{catalogue.digest()}\n".encode())
    for user_id in shop.user_ids:
        state.update(f"{user_id}\x1e".encode())
    for field in fields(Events):
        state.update(np.ascontiguousarray(getattr(shop.events, field.name)).tobytes())
    return state.hexdigest()
