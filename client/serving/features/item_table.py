"""The shop's items in memory: ids, attributes, and which of them may be shown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from client.store.schema import Item

Rows = npt.NDArray[np.int64]


class ItemTable:
    """Items by row; a deleted item keeps its row and is never shown.

    Args:
        items: By row, None for a deleted one.

    Attributes:
        items: By row; None for a deleted one.
        rows: item_id -> row.
        denied: Ids of items that the shop shows nowhere, whatever else is said of them.
        shown: Whether an item is in stock, not hidden and not denied, `(n_items,)`.
        category: Code of the category, -1 for none, `(n_items,)`.
        brand: Code of the brand, -1 for none, `(n_items,)`.
        price: NaN where not known, `(n_items,)`.
    """

    def __init__(self, items: Sequence[Item | None]) -> None:
        self.items: list[Item | None] = list(items)
        self.rows = {item.item_id: row for row, item in enumerate(items) if item is not None}
        self.denied: frozenset[str] = frozenset()
        self.categories: dict[str, int] = {}
        self.brands: dict[str, int] = {}
        self.shown = np.zeros(0, dtype=np.bool_)
        self.category = np.zeros(0, dtype=np.int32)
        self.brand = np.zeros(0, dtype=np.int32)
        self.price = np.zeros(0, dtype=np.float32)
        self.put([item for item in items if item is not None])

    def __len__(self) -> int:
        return len(self.items)

    def put(self, items: Iterable[Item]) -> Rows:
        """Adds or replaces items and returns their rows."""
        rows = []
        for item in items:
            row = self.rows.setdefault(item.item_id, len(self.items))
            if row == len(self.items):
                self.items.append(item)
            self.items[row] = item
            rows.append(row)
        self._grow()
        for row in rows:
            self._describe(row)
        return np.array(rows, dtype=np.int64)

    def delete(self, item_id: str) -> None:
        """Takes an item out; its row stays empty."""
        row = self.rows.pop(item_id, None)
        if row is not None:
            self.items[row] = None
            self.shown[row] = False

    def deny(self, item_ids: Collection[str]) -> None:
        """Shows these items nowhere, and those that were denied before again as they are."""
        before, self.denied = self.denied, frozenset(item_ids)
        for row in self.rows_of(before | self.denied):
            self.shown[row] = self._may_be_shown(self.item_at(row))

    def _may_be_shown(self, item: Item) -> bool:
        return item.in_stock and not item.hidden and item.item_id not in self.denied

    def rows_of(self, item_ids: Iterable[str]) -> Rows:
        """Returns the rows of those ids that are known."""
        rows_known = [self.rows[item_id] for item_id in item_ids if item_id in self.rows]
        return np.array(rows_known, dtype=np.int64)

    def in_category(self, category: str) -> npt.NDArray[np.bool_]:
        """Marks the items of a category, `(n_items,)`."""
        mask: npt.NDArray[np.bool_] = self.category == self.categories.get(category, -2)
        return mask

    def item_at(self, row: int) -> Item:
        """Returns the item of a row that is not deleted."""
        item = self.items[row]
        if item is None:
            raise LookupError(f"row {row} is deleted")
        return item

    def _grow(self) -> None:
        more = len(self.items) - len(self.shown)
        if more:
            self.shown = np.append(self.shown, np.zeros(more, dtype=np.bool_))
            self.category = np.append(self.category, np.full(more, -1, dtype=np.int32))
            self.brand = np.append(self.brand, np.full(more, -1, dtype=np.int32))
            self.price = np.append(self.price, np.full(more, np.nan, dtype=np.float32))

    def _describe(self, row: int) -> None:
        item = self.item_at(row)
        self.shown[row] = self._may_be_shown(item)
        self.category[row] = _code(self.categories, item.category)
        self.brand[row] = _code(self.brands, item.brand)
        self.price[row] = np.nan if item.price is None else item.price


def _code(known: dict[str, int], name: str) -> int:
    return known.setdefault(name, len(known)) if name else -1
