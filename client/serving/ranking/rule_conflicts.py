"""Which rules of a shop contradict each other, said in one line before they count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from client.serving.features.item_table import ItemTable, today
from client.serving.ranking.rules import Rule
from client.store.database import UnknownError
from shared.errors import DataError

MAX_RULES = 200
"""Rules of one shop."""


class RuleConflictError(DataError):
    """A rule contradicts another one, or the list of denied items."""


def check_rule(rule: Rule, others: Sequence[Rule], items: ItemTable) -> None:
    """Refuses a rule that cannot hold beside the others.

    Args:
        rule: The new one.
        others: Those that stay, without the one that it takes the place of.
        items: The catalogue, with the denied items.

    Raises:
        UnknownError: It names an item, category or label that nothing has.
        RuleConflictError: What it asks for cannot be done together with another rule.
        DataError: There are too many rules.
    """
    if len(others) >= MAX_RULES:
        raise DataError(
            f"would be rule {len(others) + 1}, at most {MAX_RULES}",
            name="rule",
            value=f"{rule.name!r}",
            remedy="delete one with DELETE /api/rules/NAME",
        )
    _check_known(rule, items)
    denied = [item_id for item_id in rule.items if item_id in items.denied]
    if rule.effect == "pin" and denied:
        raise _conflict(
            rule, f"pins {denied[0]!r}, which is denied", "take it off PUT /api/settings/deny"
        )
    for other in others:
        if _meet(rule, other):
            _check_pair(rule, other, items)
    _check_caps([rule, *(other for other in others if _meet(rule, other))], rule, items)


def _check_known(rule: Rule, items: ItemTable) -> None:
    unknown = [item_id for item_id in rule.items if item_id not in items.rows]
    if unknown:
        raise UnknownError(
            "is not in the catalogue",
            name="item_id",
            value=f"{unknown[0]!r}",
            remedy=f"check the spelling of {len(unknown)} ids, or add the items first",
        )
    for name, value in (("category", rule.category), ("label", rule.label)):
        if value and not len(rule.rows(items)):
            raise UnknownError(
                "is of no item",
                name=name,
                value=f"{value!r}",
                remedy="check its spelling, or give it to an item first",
            )


def _meet(one: Rule, other: Rule) -> bool:
    """Says whether two rules count on the same surface at the same time, from now on."""
    begins = [-np.inf if r.valid_from is None else r.valid_from for r in (one, other)]
    begin = max(*begins, today())
    end = min(np.inf if r.valid_to is None else r.valid_to for r in (one, other))
    return begin < end and bool(set(one.surfaces) & set(other.surfaces))


def _check_pair(rule: Rule, other: Rule, items: ItemTable) -> None:
    effects = {rule.effect, other.effect}
    if effects == {"pin"}:
        _check_pins(rule, other)
    elif effects == {"pin", "bury"}:
        both = np.intersect1d(rule.rows(items), other.rows(items))
        if len(both):
            item_id = items.item_at(int(both[0])).item_id
            pins, buries = (rule, other) if rule.effect == "pin" else (other, rule)
            raise _conflict(
                rule,
                f"contradicts {other.name!r}: {pins.name!r} pins {item_id!r}, {buries.name!r} "
                "buries it",
            )
    elif effects == {"boost", "bury"}:
        same = set(rule.items) & set(other.items)
        whole = (rule.category, rule.label) == (other.category, other.label) and not rule.items
        if same or (whole and not other.items):
            what = repr(min(same)) if same else repr(rule.category or rule.label)
            raise _conflict(rule, f"contradicts {other.name!r}: one boosts {what}, one buries it")


def _check_pins(rule: Rule, other: Rule) -> None:
    same = set(rule.items) & set(other.items)
    if same:
        raise _conflict(rule, f"contradicts {other.name!r}: both pin {min(same)!r}")
    end, other_end = rule.position + len(rule.items), other.position + len(other.items)
    if rule.position < other_end and other.position < end:
        place = max(rule.position, other.position)
        raise _conflict(
            rule,
            f"contradicts {other.name!r}: both pin an item to place {place}",
            f"choose position={other_end}, change the dates or surfaces, or delete one of both",
        )


def _check_caps(meeting: Sequence[Rule], rule: Rule, items: ItemTable) -> None:
    """Refuses more pinned items of a category than a cap lets through."""
    pins = [one for one in meeting if one.effect == "pin"]
    for cap in (one for one in meeting if one.effect == "cap"):
        if rule not in (cap, *pins):
            continue
        for group in [[rule]] if rule.effect == "pin" else [[pin] for pin in pins]:
            joined = [*group, *(pin for pin in pins if pin not in group and _meet(pin, group[0]))]
            named = {name for pin in joined if _meet(pin, cap) for name in pin.items}
            counts = Counter(items.item_at(int(row)).category for row in items.rows_of(named))
            for category, n in sorted(counts.items()):
                if category and cap.category in ("", category) and n > cap.most:
                    raise _conflict(
                        rule,
                        f"contradicts: {n} items of {category!r} are pinned, and {cap.name!r} lets "
                        f"{cap.most} through",
                        f"raise most={cap.most} to {n}, or pin fewer",
                    )


def _conflict(
    rule: Rule,
    what: str,
    remedy: str = "change items, dates or surfaces of one of them, or delete it with "
    "DELETE /api/rules/NAME",
) -> RuleConflictError:
    return RuleConflictError(what, name="rule", value=f"{rule.name!r}", remedy=remedy)
