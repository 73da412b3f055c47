"""From the measured new shops to the form of `new-shops.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata

import numpy as np

from shared.device import describe_device
from shared.environment import capture
from simulation.evaluation.evaluate import EvaluationResult
from simulation.new_shops.advice import advise, title_of
from simulation.new_shops.compare import GAINS, compare_sizes
from simulation.new_shops.schema import (
    GainRecord,
    GroupFacts,
    GroupRecord,
    NewShopsReport,
    SizeRecord,
    SurfaceRecord,
)
from simulation.preparation import Prepared
from simulation.report.schema import SURFACES
from simulation.sweep.build import judge
from simulation.sweep.compare import Group
from simulation.sweep.schema import Correction
from simulation.sweep.statistics import DRAWS, holm

DRAWS_PER_COMPARISON = 100
"""With so many, the smallest p that draws can show stays below .05 after Holm's correction."""


def build_new_shops(
    prepared: Prepared,
    results: Mapping[int, EvaluationResult],
    groups: Sequence[Group],
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
            surfaces={s: found[size] for s, found in compared.items() if size in found},
        )
        for size, result in results.items()
    }
    advice = advise(sizes)
    return NewShopsReport(
        name=name,
        created=datetime.now(UTC),
        fedprofile_version=metadata.version("fedprofile"),
        settings=settings,
        environment=capture(device=describe_device(prepared.device)),
        shops={shop.shop_id: shop.n_users for shop in shops},
        shops_share_items=prepared.dataset.shops_share_items,
        groups=tuple(_facts(group, settings.seed, len(shops)) for group in groups),
        sizes=sizes,
        correction=Correction(comparisons=comparisons, draws=draws),
        title=title_of(advice, sizes),
        advice=advice,
    )


def _facts(group: Group, seed: int, n_shops: int) -> GroupFacts:
    seeds = tuple(range(seed, seed + n_shops))
    return GroupFacts(epsilon=group.epsilon, noise=group.noise, seeds=seeds)


def corrected(
    compared: Mapping[str, Mapping[int, SurfaceRecord]],
) -> tuple[dict[str, dict[int, SurfaceRecord]], int]:
    """Corrects the p-values of all surfaces, sizes and groups together and judges by them.

    Returns:
        The same with adjusted p-values and verdicts, and how many comparisons these are.
    """
    p_values = [
        gain.p
        for sizes in compared.values()
        for surface in sizes.values()
        for group in surface.groups
        for gain in group.gains.values()
    ]
    adjusted = iter(holm(p_values))

    def judged(gain: GainRecord) -> GainRecord:
        p = next(adjusted)
        return gain.model_copy(update={"p_adjusted": p, "verdict": judge(gain.difference.mean, p)})

    def group(record: GroupRecord) -> GroupRecord:
        gains = {name: judged(gain) for name, gain in record.gains.items()}
        return record.model_copy(update={"gains": gains})

    done = {
        name: {
            size: surface.model_copy(update={"groups": tuple(map(group, surface.groups))})
            for size, surface in sizes.items()
        }
        for name, sizes in compared.items()
    }
    return done, len(p_values)
