"""From the measured new shops to the form of `new-shops.json`.

Means and paired differences at every size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.runtime.environment import capture, describe_device
from simulation.evaluation.evaluate import EvaluationResult
from simulation.evaluation.paired_bootstrap import (
    DRAWS,
    MeanAndDraws,
    Values,
    bootstrap_by_shop,
    difference_p,
    interval_of,
    judge_by_holm,
    ratio,
    user_values,
)
from simulation.evaluation.shop import named
from simulation.experiments.new_shops.federations import model_name
from simulation.experiments.new_shops.measurement import LOCAL, OF_MODELS, TEXT
from simulation.experiments.new_shops.recommendation import recommend_to_new_shops, title_of
from simulation.experiments.new_shops.schema import (
    GainName,
    GainRecord,
    GroupFacts,
    GroupRecord,
    NewShopsReport,
    SizeRecord,
    SurfaceRecord,
)
from simulation.reporting.records import SURFACES, Correction, Interval, report_head
from simulation.runs.preparation import Prepared
from simulation.runs.variants import SeedGroup

GAINS: dict[GainName, tuple[str, str]] = {
    "fused-over-best-local": ("fused", LOCAL),
    "global-over-text": ("global", TEXT),
    "fused-over-text": ("fused", TEXT),
}
"""Method of a model, and what it is compared with."""


def compare_sizes(
    results: Mapping[int, EvaluationResult],
    surface: str,
    groups: Sequence[SeedGroup],
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
    values = {size: user_values(result, surface, columns) for size, result in results.items()}
    tables = _drawn({size: shops for size, shops in values.items() if shops}, names, draws, rng)
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

    def get(self, name: str) -> MeanAndDraws:
        i = self.columns.index(name)
        return float(self.means[i]), self.draws[:, i]


def _drawn(
    values: Mapping[int, Mapping[str, Mapping[str, Values]]],
    models: Sequence[str],
    draws: int,
    rng: np.random.Generator,
) -> dict[int, _Table]:
    """Draws each shop's users once for all sizes, and adds the shops up."""
    columns = {size: _columns(list(shops.values()), models) for size, shops in values.items()}
    tables: dict[int, _Table] = {}
    for shop in dict.fromkeys(shop for shops in values.values() for shop in shops):
        sizes = [size for size in values if shop in values[size]]
        stacked = np.concatenate([_stack(values[s][shop], columns[s]) for s in sizes], axis=1)
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
    return {size: tables[size] for size in values}


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


def _group(table: _Table, group: SeedGroup, model: str) -> GroupRecord:
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
    share = ratio(difference, base)
    unequal = int(table.unequal[table.columns.index(name)])
    p = difference_p(difference[1], unequal=unequal)
    return GainRecord(
        difference=interval_of(difference),
        percent=share and share.scaled(100),
        p=p,
        p_adjusted=p,
        verdict="no-better",
    )


def _interval(table: _Table, name: str) -> Interval:
    return interval_of(table.get(name))


DRAWS_PER_COMPARISON = 100
"""With so many, the smallest p that draws can show stays below .05 after Holm's correction."""


def build_new_shops(
    prepared: Prepared,
    results: Mapping[int, EvaluationResult],
    groups: Sequence[SeedGroup],
    *,
    name: str,
    draws: int = DRAWS,
) -> NewShopsReport:
    """Compares what new shops reach alone with what joining adds.

    Args:
        prepared: Data and settings; their seed is that of the bootstrap.
        results: Size -> the shops' rankings.
        groups: Kinds of federations, in order.
        name: Name of the run.
        draws: Bootstrap draws at least; more are taken where there are many comparisons.
    """
    settings, shops = prepared.settings, prepared.dataset.shops
    surfaces = {s: None for r in results.values() for shop in r.shops for s in shop.rankings}
    most = len(surfaces) * len(results) * len(groups) * len(GAINS)
    draws = max(draws, DRAWS_PER_COMPARISON * most)
    compared: dict[str, dict[int, SurfaceRecord]] = {}
    for surface in (s for s in SURFACES if s in surfaces):
        rng = np.random.default_rng(settings.seed)
        compared[surface] = compare_sizes(results, surface, groups, draws=draws, rng=rng)
    compared, comparisons = corrected(compared)
    sizes = {
        size: SizeRecord(
            shops=tuple(shop.shop_id for shop in result.shops),
            left_out=tuple(shop.shop_id for shop in shops if shop.n_users < size),
            surfaces={s: by_size[size] for s, by_size in compared.items() if size in by_size},
        )
        for size, result in results.items()
    }
    advice = recommend_to_new_shops(sizes)
    return NewShopsReport(
        **report_head(
            name=name,
            settings=settings,
            environment=capture(device=describe_device(prepared.device)),
        ),
        shops={shop.shop_id: shop.n_users for shop in shops},
        shops_share_items=prepared.dataset.shops_share_items,
        groups=tuple(_facts(group, settings.seed, len(shops)) for group in groups),
        sizes=sizes,
        correction=Correction(comparisons=comparisons, draws=draws),
        title=title_of(advice, sizes),
        advice=advice,
    )


def _facts(group: SeedGroup, seed: int, n_shops: int) -> GroupFacts:
    seeds = tuple(range(seed, seed + n_shops))
    return GroupFacts(epsilon=group.epsilon, noise=group.noise, seeds=seeds)


def corrected(
    compared: Mapping[str, Mapping[int, SurfaceRecord]],
) -> tuple[dict[str, dict[int, SurfaceRecord]], int]:
    """Corrects the p-values of all surfaces, sizes and groups together and judges by them.

    Returns:
        The same with adjusted p-values and verdicts, and how many comparisons these are.
    """
    gains = [
        gain
        for sizes in compared.values()
        for surface in sizes.values()
        for group in surface.groups
        for gain in group.gains.values()
    ]
    judgements = judge_by_holm([(gain.difference.mean, gain.p) for gain in gains])

    def judged(record: GroupRecord) -> GroupRecord:
        update = {
            name: gain.model_copy(update=next(judgements)) for name, gain in record.gains.items()
        }
        return record.model_copy(update={"gains": update})

    judged_surfaces = {
        name: {
            size: surface.model_copy(update={"groups": tuple(map(judged, surface.groups))})
            for size, surface in sizes.items()
        }
        for name, sizes in compared.items()
    }
    return judged_surfaces, len(gains)
