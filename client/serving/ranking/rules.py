"""Rules of the shop: items that are pinned, boosted, buried or capped, by surface and date.

A rule with dates is a campaign. What a rule does it does to the whole ranking before a page is cut
from it, so that pages stay slices of one ranking; it shows no item that may not be shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from client.serving.features.item_table import ItemTable, today

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
EFFECTS = ("pin", "boost", "bury", "cap")
Surface = Literal[
    "for-you",
    "discover",
    "buy-again",
    "session",
    "similar",
    "bought-together",
    "search",
    "popular",
    "latest",
]
SURFACES: tuple[str, ...] = get_args(Surface)
"""Where rules can count: the surfaces of recommendations, and the lists beside them."""


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: What the shop calls it.
        effect: Of `EFFECTS`.
        surfaces: Of `SURFACES`, where it counts.
        items: Ids that it is about; empty where it is about a category or label.
        category: All items of it; "" for none. A cap without one bounds each category.
        label: All items with it; "" for none.
        position: Place of the first pinned item, from 1; the next ones follow it.
        strength: What a boost adds to a score and bury takes off, in standard deviations of the
            scores of all items that may be shown.
        most: Items of a category that a cap lets through.
        valid_from: Days since 1970 UTC from which on it counts; None for always.
        valid_to: Days since 1970 UTC from which on it does not count; None for never.
    """

    name: str
    effect: str
    surfaces: tuple[str, ...]
    items: tuple[str, ...] = ()
    category: str = ""
    label: str = ""
    position: int = 1
    strength: float = 1.0
    most: int = 1
    valid_from: float | None = None
    valid_to: float | None = None

    def is_active(self, now: float) -> bool:
        """Says whether it counts at a moment in days since 1970 UTC."""
        return (self.valid_from is None or self.valid_from <= now) and (
            self.valid_to is None or now < self.valid_to
        )

    def rows(self, items: ItemTable) -> Rows:
        """Returns the rows of the items that it is about; of pinned ones in their order."""
        if self.category:
            return np.flatnonzero(items.in_category(self.category))
        if self.label:
            return items.with_label(self.label)
        return items.rows_of(self.items)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Rule:
        """Reads plain values."""
        lists = {name: tuple(values[name]) for name in ("surfaces", "items")}
        return cls(**{**values, **lists})


@dataclass(frozen=True, eq=False)
class SurfaceRules:
    """The rules that count on one surface at one moment, by the rows of the items.

    Attributes:
        pins: Place from 1 and row, by place.
        shift: What scores gain, in their standard deviations, `(n_items,)`; None for nothing.
        bounds: Items of a category at most, by its code.
        most: Items of any category at most; None for any number.
        names: Name and effect of the rules that speak of a row.
    """

    pins: tuple[tuple[int, int], ...] = ()
    shift: Floats | None = None
    bounds: Mapping[int, int] = field(default_factory=dict)
    most: int | None = None
    names: Mapping[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    @property
    def cap(self) -> bool:
        """Whether any category is bounded."""
        return self.most is not None or bool(self.bounds)

    def pinned(self, allowed: Bools) -> tuple[tuple[int, int], ...]:
        """Returns the pins whose items may be shown."""
        return tuple((place, row) for place, row in self.pins if allowed[row])

    def lowered(self, by: Floats) -> SurfaceRules:
        """Takes something off all scores, `(n_items,)` in standard deviations; never adds."""
        down = -np.maximum(by, np.float32(0)).astype(np.float32)
        return replace(self, shift=down if self.shift is None else self.shift + down)

    def moved(self, scores: Floats, allowed: Bools) -> Floats | None:
        """Returns what rules add to each score, `(n_items,)`; None for nothing."""
        if self.shift is None or not allowed.any():
            return None
        unit = float(scores[allowed].std())
        return (self.shift * np.float32(unit)).astype(np.float32)


NO_RULES = SurfaceRules()


@dataclass(frozen=True)
class RuleSet:
    """All rules of a shop, in the order in which they were made.

    Attributes:
        rules: With different names.
    """

    rules: tuple[Rule, ...] = ()

    def on(self, surface: str, items: ItemTable, now: float | None = None) -> SurfaceRules:
        """Returns what counts on a surface at a moment, now where None."""
        if not self.rules:
            return NO_RULES
        now = today() if now is None else now
        active = [rule for rule in self.rules if surface in rule.surfaces and rule.is_active(now)]
        if not active:
            return NO_RULES
        caps = [rule for rule in active if rule.effect == "cap"]
        general = [rule.most for rule in caps if not rule.category]
        bounds: dict[int, int] = {}
        for rule in caps:
            code = items.categories.get(rule.category, -1)
            if code >= 0:
                bounds[code] = min(rule.most, bounds.get(code, rule.most))
        names: dict[int, tuple[tuple[str, str], ...]] = {}
        shift, pins = np.zeros(len(items), dtype=np.float32), []
        for rule in active:
            if rule.effect == "cap":
                continue
            rows = rule.rows(items)
            for place, row in enumerate(rows.tolist()):
                names[row] = (*names.get(row, ()), (rule.name, rule.effect))
                if rule.effect == "pin":
                    pins.append((rule.position + place, row))
            if rule.effect != "pin":
                shift[rows] += rule.strength if rule.effect == "boost" else -rule.strength
        return SurfaceRules(
            pins=tuple(sorted(pins)),
            shift=shift if shift.any() else None,
            bounds=bounds,
            most=min(general, default=None),
            names=names,
        )


def places(pins: Sequence[int], n_others: int) -> Rows:
    """Puts pinned items at their places among others.

    Args:
        pins: Place of each pinned item from 1, ascending.
        n_others: How many others there are, best first.

    Returns:
        `(len(pins) + n_others,)`: which one stands at each place; pinned items come first in this
        count, others behind. A place beyond the end is the end.
    """
    order: list[int] = []
    pin = other = 0
    while pin < len(pins) or other < n_others:
        if pin < len(pins) and (pins[pin] <= len(order) + 1 or other == n_others):
            order.append(pin)
            pin += 1
        else:
            order.append(len(pins) + other)
            other += 1
    return np.array(order, dtype=np.int64)
