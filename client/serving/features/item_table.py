"""The shop's items in memory: ids, attributes, and which of them may be shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from client.serving.features.word_index import WordIndex
from client.store.schema import Item

Rows = npt.NDArray[np.int64]
_DAY = 86_400.0


def today() -> float:
    """Returns this moment in days since 1970 UTC."""
    return time.time() / _DAY


class ItemTable:
    """Items by row; a deleted item keeps its row and is never shown.

    Args:
        items: By row, None for a deleted one.
        clock: Gives this moment in days since 1970 UTC.

    Attributes:
        items: By row; None for a deleted one.
        rows: item_id -> row.
        denied: Ids of items that the shop shows nowhere, whatever else is said of them.
        category: Code of the main category, -1 for none, `(n_items,)`.
        brand: Code of the brand, -1 for none, `(n_items,)`.
        price: NaN where not known, `(n_items,)`.
        words: Rows by the words of their texts.
    """

    def __init__(self, items: Sequence[Item | None], *, clock: Callable[[], float] = today) -> None:
        self._clock = clock
        self.items: list[Item | None] = list(items)
        self.rows = {item.item_id: row for row, item in enumerate(items) if item is not None}
        self.denied: frozenset[str] = frozenset()
        self.categories: dict[str, int] = {}
        self.brands: dict[str, int] = {}
        self.words = WordIndex()
        self._shown = np.zeros(0, dtype=np.bool_)
        self._dated: dict[int, tuple[float, float]] = {}
        self._next_date = np.inf
        self._also: dict[str, set[int]] = {}
        self._labels: dict[str, set[int]] = {}
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
            else:
                self._leave_sets(row)
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
            self._leave_sets(row)
            self.items[row] = None
            self._dated.pop(row, None)
            self._shown[row] = False
            self.words.delete(row)

    @property
    def shown(self) -> npt.NDArray[np.bool_]:
        """Whether an item is in stock, valid now, not hidden and not denied, `(n_items,)`."""
        now = self._clock()
        if now >= self._next_date:  # something begins or ends, which no request said
            self._follow_dates(now)
        return self._shown

    def _follow_dates(self, now: float) -> None:
        for row in self._dated:
            self._shown[row] = self._may_be_shown(row, now)
        ahead = [date for dates in self._dated.values() for date in dates if date > now]
        self._next_date = min(ahead, default=np.inf)

    def deny(self, item_ids: Collection[str]) -> None:
        """Shows these items nowhere, and those that were denied before again as they are."""
        before, self.denied = self.denied, frozenset(item_ids)
        for row in self.rows_of(before | self.denied):
            self._shown[row] = self._may_be_shown(int(row), self._clock())

    def _may_be_shown(self, row: int, now: float) -> bool:
        item = self.item_at(row)
        begin, end = self._dated.get(row, (-np.inf, np.inf))
        return item.on_sale and begin <= now < end and item.item_id not in self.denied

    def rows_of(self, item_ids: Iterable[str]) -> Rows:
        """Returns the rows of those ids that are known."""
        rows_known = [self.rows[item_id] for item_id in item_ids if item_id in self.rows]
        return np.array(rows_known, dtype=np.int64)

    def in_category(self, category: str) -> npt.NDArray[np.bool_]:
        """Marks the items of a category, the main one or another, `(n_items,)`."""
        mask: npt.NDArray[np.bool_] = self.category == self.categories.get(category, -2)
        mask[list(self._also.get(category, ()))] = True
        return mask

    def _leave_sets(self, row: int) -> None:
        for name in self.item_at(row).all_categories:
            self._also.get(name, set()).discard(row)
        for name in self.item_at(row).labels:
            self._labels.get(name, set()).discard(row)

    def with_label(self, label: str) -> Rows:
        """Returns the rows of the items with a label, ascending."""
        return np.array(sorted(self._labels.get(label, ())), dtype=np.int64)

    def item_at(self, row: int) -> Item:
        """Returns the item of a row that is not deleted."""
        item = self.items[row]
        if item is None:
            raise LookupError(f"row {row} is deleted")
        return item

    def _grow(self) -> None:
        more = len(self.items) - len(self._shown)
        if more:
            self._shown = np.append(self._shown, np.zeros(more, dtype=np.bool_))
            self.category = np.append(self.category, np.full(more, -1, dtype=np.int32))
            self.brand = np.append(self.brand, np.full(more, -1, dtype=np.int32))
            self.price = np.append(self.price, np.full(more, np.nan, dtype=np.float32))

    def _describe(self, row: int) -> None:
        item, now = self.item_at(row), self._clock()
        self.words.put(row, item.encoded_text)
        self._dated.pop(row, None)
        if item.valid_from is not None or item.valid_to is not None:
            begin = -np.inf if item.valid_from is None else item.valid_from
            end = np.inf if item.valid_to is None else item.valid_to
            self._dated[row] = begin, end
            ahead = (date for date in (begin, end) if date > now)
            self._next_date = min(self._next_date, *ahead, np.inf)
        self._shown[row] = self._may_be_shown(row, now)
        self.category[row] = _code(self.categories, item.category)
        for name in item.all_categories:
            self._also.setdefault(name, set()).add(row)
        for name in item.labels:
            self._labels.setdefault(name, set()).add(row)
        self.brand[row] = _code(self.brands, item.brand)
        self.price[row] = np.nan if item.price is None else item.price


def _code(known: dict[str, int], name: str) -> int:
    return known.setdefault(name, len(known)) if name else -1
