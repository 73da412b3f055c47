"""Small data sets of three kinds, another one for each seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tests.shared.model.tiny_encoders import WORDS

KINDS = ("order", "days", "mixed")
"""Purchases in order, baskets with dates, and dated baskets of which half are only looked at."""
SHOPS, USERS, N_ITEMS = 3, 99, 60
_START = pd.Timestamp("2024-01-01T12:00")


def write_world(folder: Path, kind: str, *, seed: int, groups: int = 3) -> Path:
    """Writes `interactions.csv` and `items.csv` of 99 users in three shops.

    Users favour the items of their group and popular ones. Three groups local recommenders find; of
    ten a shop of 33 users knows little.

    Args:
        folder: Is made.
        kind: One of `KINDS`.
        seed: Of who buys what.
        groups: Groups of items, by their number's remainder.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    rows = [row for user in range(USERS) for row in _events(rng, user, kind, groups)]
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "interactions.csv", index=False)
    titles = [f"{WORDS[i % 3]} {WORDS[3 + i // 3 % 7]} {WORDS[i % 10]}" for i in range(N_ITEMS)]
    ids = [f"i{i}" for i in range(N_ITEMS)]
    pd.DataFrame({"item_id": ids, "title": titles}).to_csv(folder / "items.csv", index=False)
    return folder


def options(data: Path, encoder: Path, kind: str) -> list[str]:
    """The command-line options of a run that takes a second."""
    sets = {
        "model.dim": 6,
        "model.rank": 4,
        "model.alpha": 4,
        "training.divisor": 10,
        "training.candidates": 16,
        "evaluation.bootstrap": 1000,
        "evaluation.newcomers": 0,
    }
    return [
        *("--data", str(data), "--shop-column", "shop_id", "--encoder", str(encoder)),
        *("--split", "leave-last-out" if kind == "order" else "time", "--rounds", "2"),
        *(word for name, value in sets.items() for word in ("--set", f"{name}={value}")),
    ]


def _events(rng: np.random.Generator, user: int, kind: str, groups: int) -> list[dict[str, object]]:
    taste = 1.0 / (1.0 + np.arange(N_ITEMS) // groups)
    favour = 2.0 * groups
    taste = taste * np.where(np.arange(N_ITEMS) % groups == user // SHOPS % groups, favour, 1.0)
    names = {"user_id": f"u{user}", "shop_id": f"shop{user % SHOPS}"}
    if kind == "order":
        items = rng.choice(N_ITEMS, 8, replace=False, p=taste / taste.sum())
        return [names | {"item_id": f"i{item}", "position": p} for p, item in enumerate(items)]
    rows: list[dict[str, object]] = []
    for visit in range(8):
        day = _START + pd.Timedelta(days=7 * visit + int(rng.integers(7)))
        at = {"datetime": day.isoformat(), "session_id": f"u{user}-{visit}"}
        items = rng.choice(N_ITEMS, 5, replace=False, p=taste / taste.sum())
        for item in items:
            looked = kind == "mixed" and rng.random() < 0.5
            event = {"event_type": "view" if looked else "purchase"}
            rows.append(names | at | event | {"item_id": f"i{item}"})
    return rows
