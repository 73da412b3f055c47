"""Sweeps on made-up users: evaluations with known gains, and the reports that go with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shared.settings.run_settings import RunSettings
from simulation.evaluation.evaluate import EvaluationResult
from simulation.evaluation.measures import METRICS, Ranking
from simulation.evaluation.shop import ShopResult
from simulation.experiments.sweep.comparison import build_sweep
from simulation.experiments.sweep.schema import SweepReport
from simulation.runs.variants import Sweep, Variant
from tests.simulation.experiments.single.sample_reports import sample_report

Gain = Callable[[str, Variant, int], float]
"""Surface, variant and number of the shop -> true gain of fused over best local."""
SETTINGS = RunSettings(seed=3)


def ranking(values: np.ndarray, users: Sequence[int] | None = None) -> Ranking:
    """A ranking whose NDCG@10 is `values`, one a query."""
    n = len(values)
    table = np.zeros((n, len(METRICS)))
    table[:, METRICS.index("ndcg@10")] = values
    codes = np.arange(n) if users is None else np.array(users)
    return Ranking(codes, np.zeros((n, 1), int), np.zeros((n, 1)), table, 1)


def evaluation(
    variants: Sequence[Variant],
    gain: Gain,
    *,
    surfaces: Sequence[str] = ("discover", "tail"),
    shops: int = 5,
    users: int = 60,
    headroom: float = 0.05,
    spread: float = 0.02,
    placebo: float = 0.0,
    seed: int = 0,
) -> EvaluationResult:
    """An evaluation in which best local is random, and all others are so much above it."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(shops):
        rankings: dict[str, dict[str, Ranking]] = {}
        for surface in surfaces:
            n = users + 10 * number
            local = rng.beta(1.0, 5.0, n)
            methods = {"best-local": local, "pooled": local + rng.normal(headroom, spread, n)}
            for variant in variants:
                true = gain(surface, variant, number)
                noise = rng.normal(0.0, spread, n) if true else 0.0
                methods[f"fused-{variant.name}"] = local + true + noise
                methods[f"global-{variant.name}"] = local / 2
                methods[f"placebo-{variant.name}"] = local + placebo
            rankings[surface] = {name: ranking(values) for name, values in methods.items()}
        found.append(ShopResult(f"shop-{number}", rankings, {}, {}, {}))
    return EvaluationResult({}, {s: {} for s in surfaces}, tuple(found))


def sample_sweep(sweep: Sweep, gain: Gain, *, draws: int = 2000, **options: object) -> SweepReport:
    """The finished sweep of `evaluation`."""
    variants = sweep.variants(SETTINGS)
    reports = [sample_report(epsilon=v.epsilon, seed=v.seed, shops=5) for v in variants]
    return build_sweep(
        list(zip(variants, reports, strict=True)),
        evaluation(variants, gain, **options),  # type: ignore[arg-type]
        settings=SETTINGS,
        name="sample",
        draws=draws,
    )
