"""A roster in the words of an operations person, the same on a server and on a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.secure_aggregation.roster import Roster

_GROUP = 4
_KEY_DIGITS = 16


def spoken(fingerprint: str) -> str:
    """Writes a fingerprint in groups of four digits, to be read out: `1a2b-3c4d-...`."""
    groups = range(0, len(fingerprint), _GROUP)
    return "-".join(fingerprint[start : start + _GROUP] for start in groups)


def roster_values(roster: Roster) -> dict[str, Any]:
    """Returns plain values: fingerprint, key by shop, and the four numbers."""
    return {
        "fingerprint": roster.digest(),
        "shops": dict(sorted(roster.keys.items())),
        "max_missing": roster.max_missing,
        "max_colluding": roster.max_colluding,
        "min_shops": roster.threshold,
        "noise_shops": roster.noise_shops,
    }


def roster_lines(values: Mapping[str, Any], *, marks: Mapping[str, str]) -> Iterator[str]:
    """Yields lines that say what a roster means.

    Args:
        values: Of `roster_values`.
        marks: What is said beside a shop, by name; "" for nothing.
    """
    shops: Mapping[str, str] = values["shops"]
    width, size = max(map(len, shops)), len(shops)
    yield f"fingerprint {spoken(values['fingerprint'])}"
    for shop, key in shops.items():
        mark = f"  {marks[shop]}" if marks.get(shop) else ""
        yield f"  {shop:<{width}}  key {spoken(key[:_KEY_DIGITS])}{mark}"
    missing, colluding = values["max_missing"], values["max_colluding"]
    yield f"  {missing} of {size} shops may be missing from a sum (d)"
    yield f"  {colluding} of {size} may be dishonest: help the server, or add no noise (t)"
    yield f"  {values['min_shops']} shops at least are in every sum; fewer cannot be seen (m)"
    yield f"  1/{values['noise_shops']} of the noise's variance comes from each shop (n = m - t)"
