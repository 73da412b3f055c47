"""Whether recommendations help: impressions, clicks, purchases by surface, variant and signal."""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from client.serving.asking import Answer
from client.serving.signals import NAMES
from client.store.records import Event
from shared.interactions.events import EVENT_TYPES

MAX_USERS = 100_000
"""Users whose last shown items are remembered; the ones not seen for longest are forgotten."""
_COUNTED = {"click": "clicks", "purchase": "purchases"}
Cell = tuple[str, str, str]
"""Surface, variant and signal."""


@dataclass(frozen=True)
class _Shown:
    surface: str
    variant: str
    signals: dict[str, str]


class Online:
    """Counters in memory; `state` and `load` carry them over a restart.

    An event counts once for an item that its user was shown last, on the surface where it was
    shown; an item's signal is the one that added most to its score.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: OrderedDict[str, _Shown] = OrderedDict()
        self._counts: dict[str, Counter[Cell]] = {
            name: Counter() for name in ("impressions", *_COUNTED.values())
        }
        self.changed = False

    def show(
        self, user_id: str, answer: Answer, item_ids: list[str], where: tuple[str, str]
    ) -> None:
        """Counts the items of an answer that a user gets."""
        surface, variant = where
        leading = np.argmax(answer.ranking.parts, axis=1).tolist() if item_ids else []
        signals = {i: NAMES[s] for i, s in zip(item_ids, leading, strict=True)}
        with self._lock:
            for name in signals.values():
                self._counts["impressions"][surface, variant, name] += 1
            self._last[user_id] = _Shown(surface, variant, signals)
            self._last.move_to_end(user_id)
            if len(self._last) > MAX_USERS:
                self._last.popitem(last=False)
            self.changed = True

    def learn(self, events: list[Event]) -> None:
        """Counts clicks on and purchases of what was shown."""
        with self._lock:
            for event in events:
                counted = _COUNTED.get(EVENT_TYPES[event.event_type])
                shown = self._last.get(event.user_id)
                if counted is None or shown is None or event.item_id not in shown.signals:
                    continue
                cell = (shown.surface, shown.variant, shown.signals[event.item_id])
                self._counts[counted][cell] += 1
                if counted == "purchases":
                    del shown.signals[event.item_id]
                self.changed = True

    def forget(self, user_id: str) -> None:
        """Drops what a user was shown; the counters name nobody."""
        with self._lock:
            self._last.pop(user_id, None)

    def report(self) -> list[dict[str, Any]]:
        """Returns counts and rates with 95% intervals by surface and variant, and by signal."""
        with self._lock:
            counts = {name: dict(counter) for name, counter in self._counts.items()}
        cells = sorted(counts["impressions"])
        groups: dict[tuple[str, str], list[Cell]] = {}
        for cell in cells:
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
            return {n: [[*cell, k] for cell, k in c.items()] for n, c in self._counts.items()}

    def load(self, state: dict[str, list[list[Any]]]) -> None:
        """Takes over what `state` gave."""
        for name, rows in state.items():
            self._counts[name] = Counter({(r[0], r[1], r[2]): int(r[3]) for r in rows})


def _rates(counts: dict[str, dict[Cell, int]], cells: list[Cell]) -> dict[str, Any]:
    sums = {name: sum(found.get(cell, 0) for cell in cells) for name, found in counts.items()}
    shown = sums["impressions"]
    return {
        **sums,
        "click_rate": interval(sums["clicks"], shown),
        "purchase_rate": interval(sums["purchases"], shown),
    }


def interval(successes: int, trials: int) -> dict[str, float] | None:
    """Returns a share with Wilson's 95% interval (https://doi.org/10.2307/2276774).

    Items of one list are not independent, so the interval is somewhat too narrow.
    """
    if trials == 0:
        return None
    z, share = 1.959964, min(successes / trials, 1.0)
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    half /= 1 + z**2 / trials
    return {"value": share, "low": max(centre - half, 0.0), "high": min(centre + half, 1.0)}
