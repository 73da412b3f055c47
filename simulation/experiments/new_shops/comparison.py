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
    gain_p,
    interval_of,
    judge,
    judged_mean,
    primary_name,
    ratio,
    user_values,
)
from simulation.evaluation.shop import OF_MODELS, named
from simulation.experiments.new_shops.federations import model_name
from simulation.experiments.new_shops.measurement import LOCAL, TEXT
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
PLACEBO = "placebo"


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

    def unequal_in(self, name: str) -> int:
        return int(self.unequal[self.columns.index(name)])


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
    pairs += [(named("fused", model), named(PLACEBO, model)) for model in models]
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
    placebo = f"{named('fused', model)} - {named(PLACEBO, model)}"
    gains = {
        name: _gain(
            table, f"{named(a, model)} - {b}", over=b, placebo=placebo if b == LOCAL else None
        )
        for name, (a, b) in GAINS.items()
    }
    return GroupRecord(
        epsilon=group.epsilon,
        noise=group.noise,
        methods={m: _interval(table, named(m, model)) for m in present},
        gains=gains,
    )


def _gain(table: _Table, name: str, *, over: str, placebo: str | None) -> GainRecord:
    difference, base = table.get(name), table.get(over)
    over_placebo = None if placebo is None else table.get(placebo)
    share = ratio(difference, base)
    p = gain_p(
        difference,
        over_placebo,
        unequal=table.unequal_in(name),
        unequal_to_placebo=0 if placebo is None else table.unequal_in(placebo),
    )
    return GainRecord(
        difference=interval_of(difference),
        over_placebo=None if over_placebo is None else interval_of(over_placebo),
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
    primary = settings.evaluation.primary if compared.get(settings.evaluation.primary) else None
    compared = corrected(compared, primary)
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
        correction=Correction(
            comparisons=_comparisons(compared) - (primary is not None),
            primary=primary
            and f"{primary_name(primary, groups[0].epsilon, groups[0].noise)}, with "
            f"{next(iter(compared[primary]))} own users",
            draws=draws,
        ),
        title=title_of(advice, sizes),
        advice=advice,
    )


def _facts(group: SeedGroup, seed: int, n_shops: int) -> GroupFacts:
    seeds = tuple(range(seed, seed + n_shops))
    return GroupFacts(epsilon=group.epsilon, noise=group.noise, seeds=seeds)


def _comparisons(compared: Mapping[str, Mapping[int, SurfaceRecord]]) -> int:
    surfaces = [surface for sizes in compared.values() for surface in sizes.values()]
    return sum(len(group.gains) for surface in surfaces for group in surface.groups)


def corrected(
    compared: Mapping[str, Mapping[int, SurfaceRecord]], primary: str | None = None
) -> dict[str, dict[int, SurfaceRecord]]:
    """Judges what joining adds at the first size and federation of the primary surface by itself.

    The p-values of all other surfaces, sizes, groups and gains are corrected together.

    Returns:
        The same with adjusted p-values and verdicts.
    """
    places = [
        (name, size, i, gain)
        for name, sizes in compared.items()
        for size, surface in sizes.items()
        for i, group in enumerate(surface.groups)
        for gain in group.gains
    ]
    gains = [compared[name][size].groups[i].gains[gain] for name, size, i, gain in places]
    first = next((i for i, place in enumerate(places) if place[0] == primary), None)
    if first is not None:
        gains[first] = gains[first].model_copy(update={"primary": True})
    judgements = judge(
        [(judged_mean(gain.difference, gain.over_placebo), gain.p) for gain in gains],
        primary=first,
    )
    judged = iter([gain.model_copy(update=next(judgements)) for gain in gains])

    def of(record: GroupRecord) -> GroupRecord:
        return record.model_copy(update={"gains": {name: next(judged) for name in record.gains}})

    return {
        name: {
            size: surface.model_copy(update={"groups": tuple(map(of, surface.groups))})
            for size, surface in sizes.items()
        }
        for name, sizes in compared.items()
    }
