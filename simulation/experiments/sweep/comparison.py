"""From the runs of a sweep and their common evaluation to the form of `sweep.json`.

Every epsilon and kind of noise against the best that shops do alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

import numpy as np
import numpy.typing as npt

from shared.settings.run_settings import RunSettings
from simulation.evaluation.evaluate import EvaluationResult
from simulation.evaluation.paired_bootstrap import (
    DRAWS,
    Drawn,
    MeanAndDraws,
    Values,
    bootstrap_by_shop,
    gain_p,
    interval_of,
    judge,
    judged_mean,
    methods_of,
    primary_name,
    ratio,
    user_values,
)
from simulation.experiments.single.schema import Report, RunLabel
from simulation.experiments.sweep.recommendation import recommend, title_of
from simulation.experiments.sweep.schema import (
    ComparisonRecord,
    SeedGain,
    SurfaceSweep,
    SweepReport,
    VariantRecord,
)
from simulation.reporting.records import SURFACES, Correction, Interval, report_head
from simulation.runs.variants import SeedGroup, Variant, groups_of

LOCAL, POOLED, PLACEBO = "best-local", "pooled", "placebo"


def compare(
    result: EvaluationResult,
    surface: str,
    groups: Sequence[SeedGroup],
    *,
    draws: int,
    rng: np.random.Generator,
) -> SurfaceSweep | None:
    """Compares `fused` of each group with `best-local` for the same users.

    Args:
        result: The evaluation of all models.
        surface: The surface.
        groups: Runs by epsilon and noise.
        draws: Bootstrap draws.
        rng: Source of the resampling.

    Returns:
        The surface with p-values that are not corrected yet (`p_adjusted` is `p`); None where no
        shop has both `fused` and `best-local` on it.
    """
    columns = {LOCAL: [LOCAL], POOLED: [POOLED]}
    for i, group in enumerate(groups):
        of_models = ("fused", "global", PLACEBO)
        columns |= {f"{m}-{i}": methods_of(group.models, m) for m in of_models}
    needed = {LOCAL, *(f"fused-{i}" for i in range(len(groups)))}
    values = user_values(result, surface, columns)
    values = {shop: by_column for shop, by_column in values.items() if needed <= set(by_column)}
    if not values:
        return None
    measured = [c for c in columns if all(c in by_column for by_column in values.values())]
    pairs = [(c, LOCAL) for c in measured]
    for i in range(len(groups)):
        if (bar := f"{PLACEBO}-{i}") in measured:
            pairs += [(c, bar) for c in (f"fused-{i}", POOLED) if c in measured]
    names = [*measured, *(f"{a} - {b}" for a, b in pairs)]
    stacked = [_with_differences(by_column, measured, pairs) for by_column in values.values()]
    unequal = np.sum([(rows != 0).sum(axis=0) for rows in stacked], axis=0)
    drawn = bootstrap_by_shop(stacked, draws=draws, rng=rng)
    table = _Columns(names, tuple(values), drawn, unequal)
    seeds = _seed_gains(result, surface, groups, shops=set(values))
    headroom = table.over_local(POOLED) if POOLED in measured else None
    room = headroom if headroom is not None and interval_of(headroom).low > 0 else None
    return SurfaceSweep(
        users=sum(len(rows) for rows in stacked),
        best_local=interval_of(table.mean(LOCAL)),
        pooled=interval_of(table.mean(POOLED)) if headroom else None,
        headroom=interval_of(headroom) if headroom else None,
        comparisons=tuple(
            _comparison(table, group, i, room=room, seeds=seeds) for i, group in enumerate(groups)
        ),
    )


def _with_differences(
    by_column: Mapping[str, Values], columns: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> Values:
    """Columns and differences of pairs, user by user: no difference is exactly 0."""
    differences = [by_column[a] - by_column[b] for a, b in pairs]
    return np.stack([*(by_column[c] for c in columns), *differences], axis=1)


@dataclass(frozen=True, eq=False)
class _Columns:
    """Draws with names for their columns and shops."""

    names: Sequence[str]
    shops: tuple[str, ...]
    drawn: Drawn
    unequal: npt.NDArray[np.int64]
    """Users whose value in a column is not 0."""

    def mean(self, name: str) -> MeanAndDraws:
        i = self.names.index(name)
        return float(self.drawn.means[i]), self.drawn.draws[:, i]

    def over_local(self, name: str) -> MeanAndDraws:
        return self.over(name, LOCAL)

    def over(self, name: str, bar: str) -> MeanAndDraws:
        return self.mean(f"{name} - {bar}")

    def unequal_to(self, name: str, bar: str) -> int:
        """Users to whom the two are not the same."""
        return int(self.unequal[self.names.index(f"{name} - {bar}")])

    def shops_over_local(self, name: str) -> dict[str, Interval]:
        i = self.names.index(f"{name} - {LOCAL}")
        means, draws = self.drawn.shop_means, self.drawn.shop_draws
        return {
            shop: interval_of((means[s, i], draws[s, :, i])) for s, shop in enumerate(self.shops)
        }


def _comparison(
    table: _Columns,
    group: SeedGroup,
    number: int,
    *,
    room: MeanAndDraws | None,
    seeds: Mapping[str, float],
) -> ComparisonRecord:
    fused, alone, placebo = (f"{m}-{number}" for m in ("fused", "global", PLACEBO))
    gain = table.over_local(fused)
    share_of_local, recovered = ratio(gain, table.mean(LOCAL)), room and ratio(gain, room)
    over_placebo = table.over(fused, placebo) if placebo in table.names else None
    if over_placebo is not None and over_placebo[0] < gain[0] and room is not None:
        recovered = ratio(over_placebo, table.over(POOLED, placebo))
    p = gain_p(
        gain,
        over_placebo,
        unequal=table.unequal_to(fused, LOCAL),
        unequal_to_placebo=0 if over_placebo is None else table.unequal_to(fused, placebo),
    )
    shops = table.shops_over_local(fused)
    gains = [SeedGain(seed=seed, gain=seeds[name]) for seed, name in group.seeds]
    return ComparisonRecord(
        epsilon=group.epsilon,
        noise=group.noise,
        fused=interval_of(table.mean(fused)),
        global_alone=interval_of(table.mean(alone)) if alone in table.names else None,
        placebo=None if over_placebo is None else interval_of(table.mean(placebo)),
        gain=interval_of(gain),
        over_placebo=None if over_placebo is None else interval_of(over_placebo),
        gain_percent=share_of_local and share_of_local.scaled(100.0),
        recovered=recovered,
        p=p,
        p_adjusted=p,
        verdict="no-better",
        seeds=tuple(gains),
        seed_deviation=stdev(g.gain for g in gains) if len(gains) > 1 else None,
        shops=shops,
        helped=tuple(shop for shop, own in shops.items() if own.low > 0),
        hurt=tuple(shop for shop, own in shops.items() if own.high < 0),
        undecided=tuple(shop for shop, own in shops.items() if own.contains_zero),
    )


def _seed_gains(
    result: EvaluationResult, surface: str, groups: Sequence[SeedGroup], *, shops: set[str]
) -> dict[str, float]:
    """Gain over all users of each single model."""
    columns = {name: methods_of([name], "fused") for group in groups for name in group.models}
    values = user_values(result, surface, {LOCAL: [LOCAL], **columns})
    return {
        name: float(
            np.concatenate([values[s][name] - values[s][LOCAL] for s in sorted(shops)]).mean()
        )
        for name in columns
    }


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
        comparison = compare(result, surface, groups, draws=draws, rng=rng)
        if comparison is not None:
            compared[surface] = comparison
    primary = settings.evaluation.primary if settings.evaluation.primary in compared else None
    surfaces = _corrected(compared, primary)
    recommendations = recommend(surfaces)
    return SweepReport(
        **report_head(name=name, settings=settings, environment=runs[0][1].environment),
        shops=tuple(runs[0][1].privacy),
        seeds=tuple(dict.fromkeys(variant.seed for variant, _ in runs)),
        variants=tuple(variant_record(variant, report) for variant, report in runs),
        surfaces=surfaces,
        correction=Correction(
            comparisons=sum(len(s.comparisons) for s in surfaces.values()) - (primary is not None),
            primary=primary and primary_name(primary, groups[0].epsilon, groups[0].noise),
            draws=draws,
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


def _corrected(
    uncorrected: Mapping[str, SurfaceSweep], primary: str | None
) -> dict[str, SurfaceSweep]:
    """Judges the primary surface's first comparison by itself, and corrects all others together."""
    comparisons = [c for surface in uncorrected.values() for c in surface.comparisons]
    place = None
    if primary is not None:
        before = list(uncorrected)[: list(uncorrected).index(primary)]
        place = sum(len(uncorrected[name].comparisons) for name in before)
        comparisons[place] = comparisons[place].model_copy(update={"primary": True})
    judgements = judge(
        [(judged_mean(c.gain, c.over_placebo), c.p) for c in comparisons], primary=place
    )
    judged = iter([c.model_copy(update=next(judgements)) for c in comparisons])
    return {
        name: surface.model_copy(
            update={"comparisons": tuple(next(judged) for _ in surface.comparisons)}
        )
        for name, surface in uncorrected.items()
    }
