"""A small data set with something to learn, and the options that fit it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tests.shared.model.tiny_encoders import WORDS, build_encoder

N_ITEMS = 40


def write_tiny_shops(folder: Path, *, shops: int = 3, users: int = 14, seed: int = 0) -> Path:
    """Writes `interactions.csv` (columns `position`, `shop_id`) and `items.csv`, and an encoder.

    Users favour every third item, so that there is something for each recommender to find.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(shops * users):
        taste = [item for item in range(N_ITEMS) if item % 3 == user % 3]
        bought = rng.choice(taste, 8, replace=False)
        rows += [(f"u{user}", f"i{i}", p, f"shop{user % shops}") for p, i in enumerate(bought)]
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "position", "shop_id"])
    table.to_csv(folder / "interactions.csv", index=False)
    titles = [f"{WORDS[i % 3]} {WORDS[3 + i // 3 % 7]} {WORDS[i % 10]}" for i in range(N_ITEMS)]
    items = pd.DataFrame({"item_id": [f"i{i}" for i in range(N_ITEMS)], "title": titles})
    items.to_csv(folder / "items.csv", index=False)
    if not (folder.parent / "encoder").exists():
        build_encoder(folder.parent / "encoder")
    return folder


def options(data: Path) -> list[str]:
    """The command-line options of a run that takes a second or two."""
    sets = {
        "model.dim": 6,
        "model.rank": 4,
        "model.alpha": 4,
        "training.divisor": 10,
        "training.candidates": 16,
        "evaluation.bootstrap": 100,
    }
    return [
        "--data",
        str(data),
        "--shop-column",
        "shop_id",
        "--split",
        "leave-last-out",
        "--encoder",
        str(data.parent / "encoder"),
        "--rounds",
        "3",
        *(word for name, value in sets.items() for word in ("--set", f"{name}={value}")),
    ]
