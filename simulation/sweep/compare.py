"""One surface of a sweep: every epsilon and kind of noise against the best that shops do alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

import numpy as np
import numpy.typing as npt

from simulation.evaluation.evaluate import EvaluationResult
from simulation.report.schema import Interval
from simulation.sweep.schema import ComparisonRecord, SeedGain, SurfaceSweep
from simulation.sweep.statistics import (
    Drawn,
    Estimate,
    bootstrap_by_shop,
    estimate,
    least_p,
    ratio,
    two_sided_p,
)
from simulation.sweep.user_values import methods_of, user_values
from simulation.sweep.variants import Noise

LOCAL, POOLED = "best-local", "pooled"
Values = npt.NDArray[np.float64]
Pair = tuple[float, Values]
"""A mean and its draws `(draws,)`."""


@dataclass(frozen=True)
class Group:
    """The runs that differ in nothing but their seed.

    Attributes:
        epsilon: Total epsilon of a shop; None without privacy.
        noise: Who adds the noise; None without privacy.
        seeds: (seed, name of the model) of each run.
    """

    epsilon: float | None
    noise: Noise | None
    seeds: tuple[tuple[int, str], ...]

    @property
    def models(self) -> list[str]:
        """Names of the models."""
        return [name for _, name in self.seeds]


def compare(
    result: EvaluationResult,
    surface: str,
    groups: Sequence[Group],
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
        columns |= {f"{m}-{i}": methods_of(group.models, m) for m in ("fused", "global")}
    needed = {LOCAL, *(f"fused-{i}" for i in range(len(groups)))}
    values = user_values(result, surface, columns)
    values = {shop: found for shop, found in values.items() if needed <= set(found)}
    if not values:
        return None
    measured = [c for c in columns if all(c in found for found in values.values())]
    names = [*measured, *(f"{c} - {LOCAL}" for c in measured)]
    stacked = [_with_differences(found, measured) for found in values.values()]
    unequal = np.sum([(rows != 0).sum(axis=0) for rows in stacked], axis=0)
    drawn = bootstrap_by_shop(stacked, draws=draws, rng=rng)
    table = _Columns(names, tuple(values), drawn, unequal)
    seeds = _seed_gains(result, surface, groups, shops=set(values))
    headroom = table.over_local(POOLED) if POOLED in measured else None
    room = headroom if headroom is not None and estimate(*headroom).low > 0 else None
    return SurfaceSweep(
        users=sum(len(rows) for rows in stacked),
        best_local=_interval(table.mean(LOCAL)),
        pooled=_interval(table.mean(POOLED)) if headroom else None,
        headroom=_interval(headroom) if headroom else None,
        comparisons=tuple(
            _comparison(table, group, i, room=room, seeds=seeds) for i, group in enumerate(groups)
        ),
    )


def _with_differences(found: Mapping[str, Values], columns: Sequence[str]) -> Values:
    """Columns and their differences to best local, user by user: no difference is exactly 0."""
    values = np.stack([found[c] for c in columns], axis=1)
    return np.concatenate([values, values - found[LOCAL][:, None]], axis=1)


@dataclass(frozen=True, eq=False)
class _Columns:
    """Draws with names for their columns and shops."""

    names: Sequence[str]
    shops: tuple[str, ...]
    drawn: Drawn
    unequal: npt.NDArray[np.int64]
    """Users whose value in a column is not 0."""

    def mean(self, name: str) -> Pair:
        i = self.names.index(name)
        return float(self.drawn.means[i]), self.drawn.draws[:, i]

    def over_local(self, name: str) -> Pair:
        return self.mean(f"{name} - {LOCAL}")

    def shops_over_local(self, name: str) -> dict[str, Interval]:
        i = self.names.index(f"{name} - {LOCAL}")
        means, draws = self.drawn.shop_means, self.drawn.shop_draws
        return {shop: _interval((means[s, i], draws[s, :, i])) for s, shop in enumerate(self.shops)}


def _comparison(
    table: _Columns,
    group: Group,
    number: int,
    *,
    room: Pair | None,
    seeds: Mapping[str, float],
) -> ComparisonRecord:
    fused, alone = f"fused-{number}", f"global-{number}"
    gain = table.over_local(fused)
    percent, recovered = ratio(gain, table.mean(LOCAL)), room and ratio(gain, room)
    unequal = int(table.unequal[table.names.index(f"{fused} - {LOCAL}")])
    p = max(two_sided_p(gain[1]), least_p(unequal))
    shops = table.shops_over_local(fused)
    gains = [SeedGain(seed=seed, gain=seeds[name]) for seed, name in group.seeds]
    return ComparisonRecord(
        epsilon=group.epsilon,
        noise=group.noise,
        fused=_interval(table.mean(fused)),
        global_alone=_interval(table.mean(alone)) if alone in table.names else None,
        gain=_interval(gain),
        gain_percent=_of(percent, factor=100.0) if percent else None,
        recovered=_of(recovered) if recovered else None,
        p=p,
        p_adjusted=p,
        verdict="no-better",
        seeds=tuple(gains),
        seed_deviation=stdev(g.gain for g in gains) if len(gains) > 1 else None,
        shops=shops,
        helped=tuple(shop for shop, found in shops.items() if found.low > 0),
        hurt=tuple(shop for shop, found in shops.items() if found.high < 0),
        undecided=tuple(shop for shop, found in shops.items() if found.low <= 0 <= found.high),
    )


def _seed_gains(
    result: EvaluationResult, surface: str, groups: Sequence[Group], *, shops: set[str]
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


def _interval(pair: Pair) -> Interval:
    return _of(estimate(*pair))


def _of(found: Estimate, *, factor: float = 1.0) -> Interval:
    return Interval(mean=factor * found.mean, low=factor * found.low, high=factor * found.high)
