"""From the runs of a sweep and their common evaluation to the form of `sweep.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata

import numpy as np

from shared.config import RunSettings
from simulation.evaluation.evaluate import EvaluationResult
from simulation.report.schema import SURFACES, Report, RunLabel
from simulation.sweep.compare import Group, compare
from simulation.sweep.recommendation import recommend, title_of
from simulation.sweep.schema import (
    ComparisonRecord,
    Correction,
    SurfaceSweep,
    SweepReport,
    VariantRecord,
    Verdict,
)
from simulation.sweep.statistics import DRAWS, holm
from simulation.sweep.variants import Variant

LEVEL = 0.05


def build_sweep(
    runs: Sequence[tuple[Variant, Report]],
    result: EvaluationResult,
    *,
    settings: RunSettings,
    name: str,
    draws: int = DRAWS,
) -> SweepReport:
    """Compares all variants with the best that shops reach alone.

    Args:
        runs: Variants and their reports, at least one.
        result: The evaluation of all variants, under their names.
        settings: What all runs share; its seed is that of the bootstrap.
        name: Name of the sweep.
        draws: Bootstrap draws.
    """
    groups = groups_of([variant for variant, _ in runs])
    order = [*SURFACES, *(s for s in result.surfaces if s not in SURFACES)]
    compared = {}
    for surface in order:
        rng = np.random.default_rng(settings.seed)
        found = compare(result, surface, groups, draws=draws, rng=rng)
        if found is not None:
            compared[surface] = found
    surfaces = _corrected(compared)
    recommendations = recommend(surfaces)
    first = runs[0][1]
    return SweepReport(
        name=name,
        created=datetime.now(UTC),
        fedprofile_version=metadata.version("fedprofile"),
        settings=settings,
        environment=first.environment,
        shops=tuple(first.privacy),
        seeds=tuple(dict.fromkeys(variant.seed for variant, _ in runs)),
        variants=tuple(variant_record(variant, report) for variant, report in runs),
        surfaces=surfaces,
        correction=Correction(
            comparisons=sum(len(s.comparisons) for s in surfaces.values()), draws=draws
        ),
        title=title_of(recommendations, surfaces),
        recommendations=recommendations,
    )


def variant_record(variant: Variant, report: Report) -> VariantRecord:
    """Says what a run cost, from its report."""
    label: RunLabel = "non-private" if variant.epsilon is None else "private"
    rounds, n_shops = report.training.get(label, ()), max(1, len(report.privacy))
    paid = [p.epsilon for p in report.privacy.values() if p.epsilon is not None]
    return VariantRecord(
        name=variant.name,
        epsilon=variant.epsilon,
        noise=variant.noise,
        seed=variant.seed,
        epsilon_paid=max(paid, default=None),
        train_seconds=sum(r.seconds for r in rounds),
        bytes_up=sum(r.bytes_up for r in rounds) / n_shops,
        bytes_down=sum(r.bytes_down for r in rounds) / n_shops,
        refused=sum(len(r.refused) for r in rounds),
        report=f"{variant.name}/report.json",
    )


def judge(gain: float, p_adjusted: float) -> Verdict:
    """Calls a gain better or worse only where its adjusted p is below the level."""
    if p_adjusted >= LEVEL:
        return "no-better"
    return "better" if gain > 0 else "worse"


def groups_of(variants: Sequence[Variant]) -> list[Group]:
    """Groups seeds, in order of noise and epsilon; without privacy last."""
    found: dict[Group, None] = {}
    for variant in variants:
        seeds = tuple(
            (v.seed, v.name)
            for v in variants
            if (v.epsilon, v.noise) == (variant.epsilon, variant.noise)
        )
        found[Group(variant.epsilon, variant.noise, seeds)] = None
    kinds = list(dict.fromkeys(v.noise for v in variants))
    return sorted(found, key=lambda g: (g.epsilon is None, kinds.index(g.noise), g.epsilon or 0.0))


def _corrected(found: Mapping[str, SurfaceSweep]) -> dict[str, SurfaceSweep]:
    """Corrects the p-values of all surfaces together and judges by them."""
    adjusted = iter(holm([c.p for surface in found.values() for c in surface.comparisons]))
    return {
        name: surface.model_copy(
            update={"comparisons": tuple(_judged(c, next(adjusted)) for c in surface.comparisons)}
        )
        for name, surface in found.items()
    }


def _judged(comparison: ComparisonRecord, p_adjusted: float) -> ComparisonRecord:
    verdict = judge(comparison.gain.mean, p_adjusted)
    return comparison.model_copy(update={"p_adjusted": p_adjusted, "verdict": verdict})
