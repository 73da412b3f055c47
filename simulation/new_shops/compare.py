"""One surface of all new shops: means and paired differences at every size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulation.evaluation.evaluate import EvaluationResult
from simulation.evaluation.shop import named
from simulation.new_shops.folds import model_name
from simulation.new_shops.measure import LOCAL, OF_MODELS, TEXT
from simulation.new_shops.schema import GainName, GainRecord, GroupRecord, SurfaceRecord
from simulation.report.schema import Interval
from simulation.sweep.compare import Group
from simulation.sweep.statistics import (
    bootstrap_by_shop,
    estimate,
    least_p,
    ratio,
    two_sided_p,
)
from simulation.sweep.user_values import user_values

Values = npt.NDArray[np.float64]
GAINS: dict[GainName, tuple[str, str]] = {
    "fused-over-best-local": ("fused", LOCAL),
    "global-over-text": ("global", TEXT),
    "fused-over-text": ("fused", TEXT),
}
"""Method of a model, and what it is compared with."""


def compare_sizes(
    results: Mapping[int, EvaluationResult],
    surface: str,
    groups: Sequence[Group],
    *,
    draws: int,
    rng: np.random.Generator,
) -> dict[int, SurfaceRecord]:
    """Compares on one surface, with the same draws of users at every size.

    Args:
        results: Size -> rankings of the shops.
        surface: The surface.
        groups: Kinds of federations.
        draws: Bootstrap draws.
        rng: Source of the resampling.

    Returns:
        Size -> figures with p-values that are not corrected yet; sizes without a shop are absent.
    """
    names = [model_name(group) for group in groups]
    columns = {TEXT: [TEXT], LOCAL: [LOCAL]}
    columns |= {named(m, name): [named(m, name)] for name in names for m in OF_MODELS}
    found = {size: user_values(result, surface, columns) for size, result in results.items()}
    tables = _drawn({size: shops for size, shops in found.items() if shops}, names, draws, rng)
    return {
        size: SurfaceRecord(
            users=table.users,
            methods={m: _interval(table, m) for m in (TEXT, LOCAL)},
            groups=tuple(
                _group(table, group, name) for group, name in zip(groups, names, strict=True)
            ),
        )
        for size, table in tables.items()
    }


@dataclass(eq=False)
class _Table:
    """Means over all users of a size, and in every draw, by the names of the columns.

    `unequal` counts the users whose value is not 0: of a difference, those whom it concerns.
    """

    columns: tuple[str, ...]
    users: int
    means: Values
    draws: Values
    unequal: npt.NDArray[np.int64]

    def get(self, name: str) -> tuple[float, Values]:
        i = self.columns.index(name)
        return float(self.means[i]), self.draws[:, i]


def _drawn(
    found: Mapping[int, Mapping[str, Mapping[str, Values]]],
    models: Sequence[str],
    draws: int,
    rng: np.random.Generator,
) -> dict[int, _Table]:
    """Draws each shop's users once for all sizes, and adds the shops up."""
    columns = {size: _columns(list(shops.values()), models) for size, shops in found.items()}
    tables: dict[int, _Table] = {}
    for shop in dict.fromkeys(shop for shops in found.values() for shop in shops):
        sizes = [size for size in found if shop in found[size]]
        stacked = np.concatenate([_stack(found[s][shop], columns[s]) for s in sizes], axis=1)
        drawn = bootstrap_by_shop([stacked], draws=draws, rng=rng)
        start = 0
        for size in sizes:
            own = slice(start, start := start + len(columns[size]))
            one = _Table(
                columns[size],
                len(stacked),
                drawn.means[own],
                drawn.draws[:, own],
                np.count_nonzero(stacked[:, own], axis=0),
            )
            tables[size] = _added(tables[size], one) if size in tables else one
    return {size: tables[size] for size in found}


def _columns(shops: Sequence[Mapping[str, Values]], models: Sequence[str]) -> tuple[str, ...]:
    """Names methods that every shop has, and differences as `a - b`."""
    methods = [name for name in shops[0] if all(name in shop for shop in shops)]
    pairs = [(named(a, model), b) for model in models for a, b in GAINS.values()]
    return (*methods, *(f"{a} - {b}" for a, b in pairs))


def _stack(values: Mapping[str, Values], columns: Sequence[str]) -> Values:
    """One column a name; differences are taken user by user: no difference is exactly 0."""
    parts = [name.split(" - ") for name in columns]
    return np.stack([values[a] - values[b[0]] if b else values[a] for a, *b in parts], axis=1)


def _added(mine: _Table, other: _Table) -> _Table:
    """Puts the users of two tables together; each shop keeps its number of users."""
    users = mine.users + other.users
    share = other.users / users
    means = mine.means + share * (other.means - mine.means)
    draws = mine.draws + share * (other.draws - mine.draws)
    return _Table(mine.columns, users, means, draws, mine.unequal + other.unequal)


def _group(table: _Table, group: Group, model: str) -> GroupRecord:
    present = [m for m in OF_MODELS if named(m, model) in table.columns]
    gains = {
        name: _gain(table, f"{named(a, model)} - {b}", over=b) for name, (a, b) in GAINS.items()
    }
    return GroupRecord(
        epsilon=group.epsilon,
        noise=group.noise,
        methods={m: _interval(table, named(m, model)) for m in present},
        gains=gains,
    )


def _gain(table: _Table, name: str, *, over: str) -> GainRecord:
    difference, base = table.get(name), table.get(over)
    found, share = estimate(*difference), ratio(difference, base)
    unequal = int(table.unequal[table.columns.index(name)])
    p = max(two_sided_p(difference[1]), least_p(unequal))
    return GainRecord(
        difference=Interval(mean=found.mean, low=found.low, high=found.high),
        percent=share
        and Interval(mean=100 * share.mean, low=100 * share.low, high=100 * share.high),
        p=p,
        p_adjusted=p,
        verdict="no-better",
    )


def _interval(table: _Table, name: str) -> Interval:
    found = estimate(*table.get(name))
    return Interval(mean=found.mean, low=found.low, high=found.high)
