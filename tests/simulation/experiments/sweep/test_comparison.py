"""What a sweep says of one epsilon and kind of noise, against plain loops over users."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from simulation.evaluation.evaluate import EvaluationResult
from simulation.evaluation.paired_bootstrap import user_values, verdict_of
from simulation.evaluation.shop import ShopResult
from simulation.experiments.sweep.comparison import compare
from simulation.experiments.sweep.schema import ComparisonRecord, SweepReport
from simulation.runs.variants import SeedGroup, Sweep, Variant
from tests.simulation.experiments.sweep.sample_sweeps import (
    SETTINGS,
    evaluation,
    ranking,
    sample_sweep,
)

BOTH = Sweep((1.0, 8.0, None), ("shop", "shared"), seeds=3)


def gain(surface: str, variant: Variant, shop: int) -> float:
    """Nothing at epsilon 1; at 8 all shops gain, but the first loses on tail; shared gains more."""
    if variant.epsilon == 1.0:
        return 0.0
    if surface == "tail" and shop == 0:
        return -0.03
    return 0.03 if variant.noise == "shared" else 0.02


@pytest.fixture(scope="module")
def sweep() -> SweepReport:
    return sample_sweep(BOTH, gain)


def found(sweep: SweepReport, surface: str, epsilon: float | None, noise: str | None):  # type: ignore[no-untyped-def]
    (one,) = (
        c for c in sweep.surfaces[surface].comparisons if (c.epsilon, c.noise) == (epsilon, noise)
    )
    return one


def test_figures_agree_with_loops_over_users(sweep: SweepReport) -> None:
    variants = BOTH.variants(SETTINGS)
    result = evaluation(variants, gain)
    models = [f"fused-{v.name}" for v in variants if (v.epsilon, v.noise) == (8.0, "shop")]
    fused, local, pooled, seeds = [], [], [], {m: [] for m in models}
    for shop in result.shops:
        methods = shop.rankings["tail"]
        for row in range(len(methods["best-local"].users)):
            values = [methods[m].values[row, 0] for m in models]
            fused.append(sum(values) / 3)
            local.append(methods["best-local"].values[row, 0])
            pooled.append(methods["pooled"].values[row, 0])
            for m, value in zip(models, values, strict=True):
                seeds[m].append(value - local[-1])
    c = found(sweep, "tail", 8.0, "shop")
    earned, room = np.mean(fused) - np.mean(local), np.mean(pooled) - np.mean(local)
    assert c.fused.mean == pytest.approx(np.mean(fused))
    assert c.gain.mean == pytest.approx(earned)
    assert c.gain_percent.mean == pytest.approx(100 * earned / np.mean(local))
    assert c.recovered.mean == pytest.approx(earned / room)
    assert sweep.surfaces["tail"].headroom.mean == pytest.approx(room)
    each = [np.mean(seeds[m]) for m in models]
    assert [s.gain for s in c.seeds] == pytest.approx(each)
    assert c.seed_deviation == pytest.approx(np.std(each, ddof=1))
    assert c.seed_deviation < 0.01


def test_seeds_are_averaged_before_users_are_drawn(sweep: SweepReport) -> None:
    """Independent noise of three seeds leaves a third of its variance in a user's mean."""
    one = sample_sweep(Sweep((8.0,), ("shop",), seeds=1), gain)
    mine, single = found(sweep, "discover", 8.0, "shop").gain, one.surfaces["discover"].comparisons
    width = single[0].gain.high - single[0].gain.low
    assert (mine.high - mine.low) / width == pytest.approx(1 / np.sqrt(3), rel=0.2)
    assert single[0].seed_deviation is None


def test_shops_are_helped_hurt_or_undecided_by_their_own_interval(sweep: SweepReport) -> None:
    tail = found(sweep, "tail", 8.0, "shop")
    assert tail.hurt == ("shop-0",)
    assert tail.helped == ("shop-1", "shop-2", "shop-3", "shop-4")
    assert found(sweep, "tail", 1.0, "shop").undecided == tuple(f"shop-{i}" for i in range(5))


def test_every_comparison_of_the_page_is_corrected_together(sweep: SweepReport) -> None:
    every = [c for s in sweep.surfaces.values() for c in s.comparisons]
    (primary,) = (c for c in every if c.primary)
    others = [c for c in every if not c.primary]
    assert sweep.correction.comparisons == len(others) == 2 * 5 - 1
    least = min(c.p for c in every)
    assert least == pytest.approx(2 / 2001)
    # Six comparisons share the least p; Holm multiplies it by all nine.
    assert min(c.p_adjusted for c in others) == pytest.approx(9 * least)
    assert primary.p_adjusted == primary.p
    assert primary == sweep.surfaces["discover"].comparisons[0]
    assert sweep.correction.primary == "Discover at epsilon 1, noise in each shop"
    assert {c.verdict for c in every if c.epsilon == 1.0} == {"no-better"}
    assert {c.verdict for c in every if c.epsilon == 8.0} == {"better"}


def test_words_follow_the_adjusted_p() -> None:
    assert verdict_of(0.1, 0.049) == "better"
    assert verdict_of(-0.1, 0.049) == "worse"
    assert verdict_of(0.1, 0.05) == "no-better"


def test_equal_systems_differ_by_exactly_nothing(sweep: SweepReport) -> None:
    same = found(sweep, "discover", 1.0, "shared")
    assert same.gain.model_dump() == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert (same.p, same.p_adjusted, same.verdict) == (1.0, 1.0, "no-better")


def p_of(differences: Sequence[float]) -> float:
    """The p of one shop whose users differ so much from best local."""
    local = np.full(len(differences), 0.25)
    fused = local + np.array(differences)
    methods = {"best-local": local, "placebo-one": local, "fused-one": fused}
    rankings = {"tail": {name: ranking(values) for name, values in methods.items()}}
    result = EvaluationResult({}, {}, (ShopResult("a", rankings, {}, {}, {}),))
    group = SeedGroup(8.0, "shop", ((3, "one"),))
    compared = compare(result, "tail", [group], draws=400, rng=np.random.default_rng(0))
    assert compared is not None
    return compared.comparisons[0].p


def test_p_is_never_below_what_so_few_users_can_show() -> None:
    # Every draw of the two is above 0, so that the bootstrap alone would say 2 / 401.
    assert p_of([0.5, 0.25]) == 0.5
    assert p_of([0.25] * 6) == 2 / 64


def test_users_without_a_difference_show_nothing() -> None:
    # About a tenth of the draws holds neither of the two: the bootstrap alone would say 0.2.
    assert p_of([0.5, 0.25] + [0.0] * 8) == 0.5


def test_a_gain_that_the_placebo_has_too_is_no_better() -> None:
    same, more = (
        sample_sweep(Sweep((8.0,), ("shared",)), gain, placebo=placebo).surfaces["discover"]
        for placebo in (0.03, 0.01)
    )
    (c,) = same.comparisons
    assert c.gain.low > 0
    assert c.over_placebo.mean == pytest.approx(c.gain.mean - 0.03)
    assert c.verdict == "no-better"
    (c,) = more.comparisons
    assert c.verdict == "better"
    # Of what is to be had above the placebo, not above best local.
    room = more.pooled.mean - c.placebo.mean
    assert c.recovered.mean == pytest.approx(c.over_placebo.mean / room)


def test_a_loss_is_a_loss_whatever_the_placebo_does() -> None:
    swept = sample_sweep(Sweep((8.0,)), lambda *_: -0.03, placebo=-0.06)
    assert {c.verdict for s in swept.surfaces.values() for c in s.comparisons} == {"worse"}


def test_no_ratio_is_given_where_there_may_be_no_headroom() -> None:
    for headroom in (0.0, -0.05):
        surfaces = sample_sweep(Sweep((8.0, None)), gain, headroom=headroom).surfaces
        for surface in surfaces.values():
            assert surface.lacks_headroom
            assert all(c.recovered is None for c in surface.comparisons)


def test_surfaces_and_references_may_be_missing_and_new_ones_are_taken() -> None:
    variants = Sweep((8.0,)).variants(SETTINGS)
    groups = [SeedGroup(8.0, "shop", ((3, variants[0].name),))]
    full = evaluation(variants, gain, surfaces=("unheard-of",))
    first, second, *rest = full.shops
    del first.rankings["unheard-of"]["pooled"]
    del second.rankings["unheard-of"]["best-local"]
    rng = np.random.default_rng
    one = compare(full, "unheard-of", groups, draws=200, rng=rng(0))
    assert one is not None
    assert (one.pooled, one.headroom, one.comparisons[0].recovered) == (None, None, None)
    assert set(one.comparisons[0].shops) == {first.shop_id, *(shop.shop_id for shop in rest)}
    assert compare(full, "tail", groups, draws=200, rng=rng(0)) is None


def test_a_users_queries_count_as_one_user() -> None:
    values = np.array([0.0, 1.0, 0.5])
    rankings = {"basket": {"ease": ranking(values, users=[7, 7, 9])}}
    result = EvaluationResult({}, {}, (ShopResult("a", rankings, {}, {}, {}),))
    read = user_values(result, "basket", {"x": ["ease"], "y": ["absent"]})
    assert list(read) == ["a"]
    assert read["a"]["x"].tolist() == [0.5, 0.5]
    assert "y" not in read["a"]


def test_costs_are_per_run_and_shop(sweep: SweepReport) -> None:
    names = [v.name for v in sweep.variants]
    assert names[0] == "epsilon-1-shop-seed-3"
    assert len(names) == 3 * 5
    private, free = sweep.variants[0], sweep.variants[-1]
    assert private.train_seconds == pytest.approx(10 * 0.9)  # counts, pairs and eight rounds
    assert private.bytes_up == pytest.approx(8 * 125_000)
    assert private.bytes_down == pytest.approx(8 * 250_000)
    assert (private.epsilon_paid, free.epsilon_paid) == (1.0, None)
    assert private.report == "epsilon-1-shop-seed-3/report.json"


def test_the_file_reads_back_as_it_was(sweep: SweepReport) -> None:
    read = SweepReport.model_validate(json.loads(sweep.to_json()))
    assert read == sweep
    assert all(isinstance(c, ComparisonRecord) for c in read.surfaces["tail"].comparisons)
