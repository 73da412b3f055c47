"""The evaluation of a sweep on disk, for an interruption while its reports are written.

One folder: `evaluation.json` with all that is plain, and `rankings.npz` with the arrays.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from shared.storage import writing
from simulation.evaluation.evaluate import EvaluationResult
from simulation.evaluation.measures import Ranking
from simulation.evaluation.shop import ShopResult
from simulation.report.write import write_file

PLAIN, ARRAYS = "evaluation.json", "rankings.npz"


def keep_evaluation(folder: Path, result: EvaluationResult) -> None:
    """Writes an evaluation; `evaluation.json` comes last and says that all is there.

    Raises:
        StorageError: It cannot be written. What was there is gone.
    """
    shutil.rmtree(folder, ignore_errors=True)
    arrays: dict[str, Any] = {}
    shops = [_plain_shop(shop, f"{i}", arrays) for i, shop in enumerate(result.shops)]
    plain = {"metrics": result.metrics, "surfaces": result.surfaces, "shops": shops}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / ARRAYS, **arrays)
    write_file(folder / PLAIN, json.dumps(plain).encode())


def kept_evaluation(folder: Path) -> EvaluationResult | None:
    """Reads what `keep_evaluation` wrote; None where it did not come to its end."""
    if not (folder / PLAIN).exists():
        return None
    plain = json.loads((folder / PLAIN).read_text(encoding="utf-8"))
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        shops = [_shop(shop, arrays) for shop in plain["shops"]]
    return EvaluationResult(plain["metrics"], plain["surfaces"], tuple(shops))


def _plain_shop(shop: ShopResult, prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Returns a shop's plain values, and moves its arrays to `arrays`."""
    rankings: dict[str, dict[str, str]] = {}
    for surface, methods in shop.rankings.items():
        rankings[surface] = {}
        for method, ranking in methods.items():
            key = f"{prefix}/{surface}/{method}"
            rankings[surface][method] = key
            arrays |= {f"{key}/{f.name}": getattr(ranking, f.name) for f in fields(Ranking)}
    plain = {f.name: getattr(shop, f.name) for f in fields(ShopResult)}
    return {**plain, "rankings": rankings}


def _shop(plain: dict[str, Any], arrays: Any) -> ShopResult:
    rankings = {
        surface: {method: _ranking(key, arrays) for method, key in methods.items()}
        for surface, methods in plain["rankings"].items()
    }
    return ShopResult(**{**plain, "rankings": rankings})


def _ranking(key: str, arrays: Any) -> Ranking:
    """Arrays stay arrays; what was a number is one again."""
    found = {f.name: arrays[f"{key}/{f.name}"] for f in fields(Ranking)}
    return Ranking(**{k: v if v.ndim else v.item() for k, v in found.items()})
