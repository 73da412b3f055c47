"""The A/B switch, and what it shows: impressions, clicks and purchases with their intervals."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from client.serving.analytics.intervals import newcombe_difference, wilson_interval
from client.serving.analytics.outcomes import Amount, Outcomes, amount_of_event, this_week
from client.serving.ranking.signals import SIGNAL_NAMES
from client.store.schema import Event
from shared.interactions.events import EVENT_TYPES


def variant_of(user_id: str | None, *, local_share: float) -> str:
    """Returns `local` for a share of the users, by hash, else `fused`.

    Args:
        user_id: None for a visitor without a name, who gets `fused`.
        local_share: 0 to 1. A larger share keeps the users of a smaller one.
    """
    if not local_share or user_id is None:
        return "fused"
    # The prefix keeps the split independent of any other test that hashes the same ids.
    digest = hashlib.sha256(f"fedprofile-ab-1\x1f{user_id}".encode()).digest()
    return "local" if int.from_bytes(digest[:8], "big") / 2**64 < local_share else "fused"


MAX_SHOWN = 1_000_000
"""Shown items that are remembered; users not seen for longest are forgotten first."""
MAX_SHOWN_OF_USER = 200
"""Shown items of one user that are remembered, the latest."""
_COUNTED = {"click": "clicks", "purchase": "purchases"}
Cell = tuple[str, str, str]
"""Surface, variant and signal."""
Showing = tuple[Cell, int]
"""Where an item was shown, and in which week."""


class OnlineCounters:
    """Counters in memory; `state` and `load` carry them over a restart.

    A click or purchase counts for the surface that showed the item to this user last, and for the
    signal that added most to its score there; each showing counts one click and one purchase at
    most. What was shown is forgotten with a restart, the counts are not.

    Args:
        amount_of: What a purchase brought; None where that is not known.
    """

    def __init__(self, amount_of: Callable[[Event], Amount | None] = amount_of_event) -> None:
        self._lock = threading.Lock()
        self._amount_of = amount_of
        self._outcomes = Outcomes()
        self._shown: OrderedDict[str, dict[str, Showing]] = OrderedDict()
        self._clicked: dict[str, set[str]] = {}
        self._n_shown = 0
        self._counts: dict[str, Counter[Cell]] = {
            name: Counter() for name in ("impressions", *_COUNTED.values())
        }
        self.changed = False

    def show(
        self,
        user_id: str,
        leading: list[int],
        item_ids: list[str],
        where: tuple[str, str],
    ) -> None:
        """Counts the items of an answer that a user gets.

        Args:
            user_id: The user.
            leading: The signal that adds most to each item's score, by its place in `SIGNAL_NAMES`.
            item_ids: The items.
            where: Surface and variant.
        """
        if not item_ids:
            return
        week = this_week()
        with self._lock:
            shown = self._shown.setdefault(user_id, {})
            self._shown.move_to_end(user_id)
            before = len(shown)
            for item_id, signal in zip(item_ids, leading, strict=True):
                cell = (*where, SIGNAL_NAMES[signal])
                self._counts["impressions"][cell] += 1
                shown.pop(item_id, None)  # so that the latest come last
                shown[item_id] = cell, week
            self._outcomes.show(item_ids, week)
            clicked = self._clicked.get(user_id, set())
            clicked.difference_update(item_ids)
            while len(shown) > MAX_SHOWN_OF_USER:
                oldest = next(iter(shown))
                del shown[oldest]
                clicked.discard(oldest)
            self._n_shown += len(shown) - before
            while self._n_shown > MAX_SHOWN:
                self._drop(next(iter(self._shown)))
            self.changed = True

    def learn(self, events: list[Event]) -> None:
        """Counts clicks on and purchases of what was shown."""
        with self._lock:
            for event in events:
                counted = _COUNTED.get(EVENT_TYPES[event.event_type])
                showing = self._shown.get(event.user_id, {}).get(event.item_id)
                if counted is not None and showing is not None:
                    self._learn(event, counted, showing)

    def _learn(self, event: Event, counted: str, showing: Showing) -> None:
        cell, week = showing
        if counted == "clicks":
            clicked = self._clicked.setdefault(event.user_id, set())
            if event.item_id in clicked:
                return
            clicked.add(event.item_id)
            self._outcomes.click(event.item_id, week)
        else:
            self._take_out(event.user_id, event.item_id)
            self._outcomes.purchase(event.item_id, week, self._amount_of(event))
        self._counts[counted][cell] += 1
        self.changed = True

    def _take_out(self, user_id: str, item_id: str) -> None:
        """Forgets an item that was bought, and the user with the last one: nothing bounds those."""
        shown = self._shown[user_id]
        del shown[item_id]
        self._n_shown -= 1
        self._clicked.get(user_id, set()).discard(item_id)
        if not shown:
            self._drop(user_id)

    def forget(self, user_id: str) -> None:
        """Drops what a user was shown; the counters name nobody."""
        with self._lock:
            self._drop(user_id)

    def _drop(self, user_id: str) -> None:
        self._n_shown -= len(self._shown.pop(user_id, {}))
        self._clicked.pop(user_id, None)

    def report(self) -> list[dict[str, Any]]:
        """Returns counts and rates with 95% intervals by surface and variant, and by signal."""
        with self._lock:
            counts = {name: dict(counter) for name, counter in self._counts.items()}
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in sorted(counts["impressions"]):
            groups.setdefault(cell[:2], []).append(cell)
        return [
            {
                "surface": surface,
                "variant": variant,
                **_rates(counts, members),
                "signals": {cell[2]: _rates(counts, [cell]) for cell in members},
            }
            for (surface, variant), members in groups.items()
        ]

    def state(self) -> dict[str, list[list[Any]]]:
        """Returns the counters as plain values."""
        with self._lock:
            self.changed = False
            counts = {n: [[*cell, k] for cell, k in c.items()] for n, c in self._counts.items()}
            return {**counts, **self._outcomes.state()}

    def outcomes(self) -> Outcomes:
        """Returns a copy of what weeks and items brought."""
        with self._lock:
            return self._outcomes.copy()

    def load(self, state: dict[str, list[list[Any]]]) -> None:
        """Takes over what `state` gave."""
        self._outcomes.load(state)
        for name, rows in state.items():
            if name in self._counts:
                self._counts[name] = Counter({(r[0], r[1], r[2]): int(r[3]) for r in rows})


def comparisons(report: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Says for each surface with both variants how far `fused` lies above `local`, with intervals.

    Args:
        report: From `OnlineCounters.report`.
    """
    by_cell = {(entry["surface"], entry["variant"]): entry for entry in report}
    return [
        {
            "surface": surface,
            **{
                rate: newcombe_difference(
                    by_cell[surface, "fused"][rate], by_cell[surface, "local"][rate]
                )
                for rate in ("click_rate", "purchase_rate")
            },
        }
        for surface in sorted({entry["surface"] for entry in report})
        if (surface, "fused") in by_cell and (surface, "local") in by_cell
    ]


def _rates(counts: dict[str, dict[Cell, int]], cells: list[Cell]) -> dict[str, Any]:
    sums = {name: sum(counter.get(cell, 0) for cell in cells) for name, counter in counts.items()}
    shown = sums["impressions"]
    return {
        **sums,
        "click_rate": wilson_interval(sums["clicks"], shown),
        "purchase_rate": wilson_interval(sums["purchases"], shown),
    }
