"""What shown items brought, counted as it happens: by week of the showing, and by item."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from client.serving.features.item_table import ItemTable, today
from client.store.schema import Event

Amount = tuple[float, str]
"""A sum of money and its currency, "" where the shop names none."""
MAX_WEEKS = 104
"""Weeks that are kept, the latest."""
MAX_ITEMS = 100_000
"""Items that are counted one by one, those that were shown first; all count in their week."""
SHOWN, CLICKED, BOUGHT = range(3)


def this_week() -> int:
    """Returns the number of this week; weeks begin on Monday, UTC."""
    return int((today() + 3) // 7)


def amount_of_event(event: Event) -> Amount | None:
    """Returns what an event alone says of its amount."""
    return None if event.price is None else (event.price * event.quantity, "")


def amount_in_shop(items: ItemTable, event: Event) -> Amount | None:
    """Returns the amount at the price of the event, else at the price of the item today."""
    row = items.rows.get(event.item_id)
    item = None if row is None else items.items[row]
    price = event.price if event.price is not None or item is None else item.price
    if price is None:
        return None
    return price * event.quantity, "" if item is None else item.currency


class Outcomes:
    """Counts of weeks and items; whoever calls holds the lock. Names no user.

    Attributes:
        weeks: Week -> shown, clicked, bought.
        items: item_id -> shown, clicked, bought.
        revenue: Week and currency -> sum of amounts, sum of their squares, purchases.
    """

    def __init__(self) -> None:
        self.weeks: dict[int, list[int]] = {}
        self.items: dict[str, list[int]] = {}
        self.revenue: dict[tuple[int, str], list[float]] = {}

    def copy(self) -> Outcomes:
        """Returns a copy that no later count changes."""
        # Answers wait for the lock meanwhile; deepcopy takes many times as long.
        other = Outcomes()
        other.weeks = {week: counts.copy() for week, counts in self.weeks.items()}
        other.items = {item_id: counts.copy() for item_id, counts in self.items.items()}
        other.revenue = {cell: sums.copy() for cell, sums in self.revenue.items()}
        return other

    def show(self, item_ids: Iterable[str], week: int) -> None:
        """Counts items that somebody got to see."""
        for item_id in item_ids:
            self._count(item_id, week, SHOWN)
        while len(self.weeks) > MAX_WEEKS:
            oldest = min(self.weeks)
            del self.weeks[oldest]
            self.revenue = {cell: sums for cell, sums in self.revenue.items() if cell[0] != oldest}

    def click(self, item_id: str, week: int) -> None:
        """Counts a click for the week in which the item was shown."""
        self._count(item_id, week, CLICKED)

    def purchase(self, item_id: str, week: int, amount: Amount | None) -> None:
        """Counts a purchase for the week in which the item was shown; None is not known."""
        self._count(item_id, week, BOUGHT)
        if amount is not None:
            sums = self.revenue.setdefault((week, amount[1]), [0.0, 0.0, 0])
            for place, more in enumerate((amount[0], amount[0] ** 2, 1)):
                sums[place] += more

    def _count(self, item_id: str, week: int, what: int) -> None:
        self.weeks.setdefault(week, [0, 0, 0])[what] += 1
        if item_id in self.items or len(self.items) < MAX_ITEMS:
            self.items.setdefault(item_id, [0, 0, 0])[what] += 1

    def state(self) -> dict[str, list[list[Any]]]:
        """Returns the counts as plain values."""
        return {
            "weeks": [[week, *counts] for week, counts in self.weeks.items()],
            "items": [[item_id, *counts] for item_id, counts in self.items.items()],
            "revenue": [[*cell, *sums] for cell, sums in self.revenue.items()],
        }

    def load(self, state: dict[str, list[list[Any]]]) -> None:
        """Takes over what `state` gave; the state of an older version has none."""
        self.weeks = {row[0]: row[1:] for row in state.get("weeks", [])}
        self.items = {row[0]: row[1:] for row in state.get("items", [])}
        self.revenue = {(row[0], row[1]): row[2:] for row in state.get("revenue", [])}
