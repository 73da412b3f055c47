"""The items of a source: those that are new are added, those that changed are changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from client.store.changes import keys_of
from client.store.schema import Item, events, items
from client.store.suppression import deleted_among
from shared.interactions.datasets.shop_rows import ShopRows
from shared.interactions.events import Catalogue

_ROWS = 50_000


def import_items(
    connection: sa.Connection, rows: ShopRows
) -> tuple[npt.NDArray[np.int64], dict[str, int]]:
    """Stores what a source says of its items; a column that it lacks stays as it is.

    Returns:
        The key of each of the source's item codes, `(n_items,)`, 0 for an item that stays deleted;
        and how many were added, changed and left out because they were deleted.
    """
    gone = deleted_among(connection, rows.item_ids.tolist())
    described = [row for row in _described(rows.catalogue) if row["item_id"] not in gone]
    described += [{"item_id": name} for name in rows.from_events if name not in gone]
    stored = {str(row.item_id): dict(row._mapping) for row in connection.execute(sa.select(items))}
    new = [_NEW | row for row in described if row["item_id"] not in stored]
    changed = [
        row
        for row in described
        if (old := stored.get(row["item_id"])) is not None
        and any(old[name] != value for name, value in row.items())
    ]
    for start in range(0, len(new), _ROWS):
        connection.execute(sa.insert(items), new[start : start + _ROWS])
    _update(connection, changed)
    keys = {name: int(row["item_key"]) for name, row in stored.items()}
    if new:
        keys = keys_of(connection, items, rows.item_ids.tolist())
    coded = np.array([keys.get(str(name), 0) for name in rows.item_ids], np.int64)
    return coded, {"added": len(new), "changed": len(changed), "deleted": len(gone)}


_NEW = {name: value for name, value in asdict(Item("")).items() if name != "item_id"}
_TEXTS = ("category", "brand", "title", "url", "image", "currency")
_NUMBERS = ("price", "stock", "valid_from", "valid_to")
_OTHERS = ("in_stock", "categories", "labels")


def _described(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    table = catalogue.attributes
    texts = {name: table[name].tolist() for name in _TEXTS if name in table}
    numbers = {name: table[name].tolist() for name in _NUMBERS if name in table}
    others = {name: table[name].tolist() for name in _OTHERS if name in table}
    for place, (item_id, text) in enumerate(zip(catalogue.item_ids, catalogue.texts, strict=True)):
        row: dict[str, Any] = {"item_id": str(item_id), "text": text}
        row |= {name: str(values[place] or "") for name, values in texts.items()}
        row |= {name: _number(values[place]) for name, values in numbers.items()}
        row |= {name: values[place] for name, values in others.items()}
        if row.get("categories") and "category" not in row:
            row["category"] = row["categories"][0]
        yield row


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def _update(connection: sa.Connection, changed: list[dict[str, Any]]) -> None:
    if not changed:
        return
    names = [name for name in changed[0] if name != "item_id"]
    statement = (
        sa.update(items)
        .where(items.c.item_id == sa.bindparam("which"))
        .values({name: sa.bindparam(name) for name in names})
    )
    rows = [
        {("which" if name == "item_id" else name): row[name] for name in row} for row in changed
    ]
    connection.execute(statement, rows)


def remove_missing_items(connection: sa.Connection, rows: ShopRows) -> tuple[int, int]:
    """Removes the items that a source with items lacks, with their events.

    Returns:
        How many items, and how many events of theirs.
    """
    if not len(rows.catalogue):
        return 0, 0
    named = set(rows.item_ids[: len(rows.catalogue)])
    missing = [
        int(key)
        for key, name in connection.execute(sa.select(items.c.item_key, items.c.item_id))
        if name not in named
    ]
    removed = 0
    for key in missing:
        removed += connection.execute(sa.delete(events).where(events.c.item_key == key)).rowcount
        connection.execute(sa.delete(items).where(items.c.item_key == key))
    return len(missing), removed
