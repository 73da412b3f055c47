"""What is said of new shops: figures against slow versions, words, page and terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from rich.console import Console

from shared.runtime.environment import capture
from simulation.evaluation.evaluate import EvaluationResult
from simulation.evaluation.paired_bootstrap import holm, least_p
from simulation.evaluation.shop import ShopResult
from simulation.experiments.new_shops.comparison import compare_sizes, corrected
from simulation.experiments.new_shops.console import print_new_shops
from simulation.experiments.new_shops.page import new_shops_page
from simulation.experiments.new_shops.recommendation import recommend_to_new_shops, title_of
from simulation.experiments.new_shops.schema import (
    GroupFacts,
    NewShopsReport,
    SizeRecord,
    SurfaceRecord,
)
from simulation.reporting.records import Correction
from simulation.runs.variants import SeedGroup
from tests.simulation.experiments.sweep.sample_sweeps import SETTINGS, ranking

GROUPS = (SeedGroup(8.0, "shared", ((3, "a"),)), SeedGroup(None, None, ((3, "control"),)))
NAMES = ("epsilon-8-shared", "epsilon-none")
USERS = {"north": 80, "south": 50, "east": 30}


def measured(
    gains: Mapping[int, Mapping[str, float]],
    *,
    users: Mapping[str, int] = USERS,
    surfaces: Sequence[str] = ("discover", "tail"),
    pairs: bool = True,
    placebo: float = 0.0,
) -> dict[int, EvaluationResult]:
    """Rankings in which `fused` on discover is so much above best local, on tail nothing."""
    found = {}
    for size, by_model in gains.items():
        shops = []
        for number, (shop, n) in enumerate(users.items()):
            if n < size:
                continue
            rng = np.random.default_rng(number)
            text = rng.beta(2.0, 5.0, n)
            local = text + 0.001 * size
            rankings = {}
            for surface in surfaces:
                values = {"text": text, "best-local": local}
                for model in NAMES:
                    gain = by_model[model] if surface == "discover" else 0.0
                    values[f"fused-{model}"] = local + gain * rng.uniform(0.5, 1.5, n)
                    values[f"global-{model}"] = text + gain / 2
                    values[f"placebo-{model}"] = local + placebo
                    values |= {f"pairs-{model}": text} if pairs else {}
                rankings[surface] = {name: ranking(column) for name, column in values.items()}
            shops.append(ShopResult(shop, rankings, {}, {}, {}))
        found[size] = EvaluationResult({}, {}, tuple(shops))
    return found


def records(
    results: Mapping[int, EvaluationResult], draws: int = 2000
) -> tuple[dict[int, SizeRecord], int]:
    rng = np.random.default_rng(0)
    compared: dict[str, dict[int, SurfaceRecord]] = {
        surface: compare_sizes(results, surface, GROUPS, draws=draws, rng=rng)
        for surface in ("discover", "tail")
    }
    judged = corrected(compared, "discover")
    comparisons = len(results) * 2 * len(GROUPS) * 3 - 1
    return {
        size: SizeRecord(
            shops=tuple(s.shop_id for s in result.shops),
            left_out=tuple(s for s, n in USERS.items() if n < size),
            surfaces={s: found[size] for s, found in judged.items() if size in found},
        )
        for size, result in results.items()
    }, comparisons


GAINS = {
    0: {"epsilon-8-shared": 0.12, "epsilon-none": 0.2},
    40: {"epsilon-8-shared": 0.04, "epsilon-none": 0.1},
    60: {"epsilon-8-shared": 0.0, "epsilon-none": -0.05},
}


@pytest.fixture(scope="module")
def report() -> NewShopsReport:
    sizes, comparisons = records(measured(GAINS))
    advice = recommend_to_new_shops(sizes)
    return NewShopsReport(
        name="sample",
        created=datetime.now(UTC),
        fedprofile_version="0",
        settings=SETTINGS,
        environment=capture(device="cpu"),
        shops=USERS,
        shops_share_items=False,
        groups=tuple(GroupFacts(epsilon=g.epsilon, noise=g.noise, seeds=(3, 4, 5)) for g in GROUPS),
        sizes=sizes,
        correction=Correction(comparisons=comparisons, draws=2000),
        title=title_of(advice, sizes),
        advice=advice,
    )


def test_means_and_intervals_are_those_of_a_slow_bootstrap() -> None:
    results = measured(GAINS)
    found = compare_sizes(results, "discover", GROUPS, draws=4000, rng=np.random.default_rng(0))
    for size, result in results.items():
        values = [
            {name: r.values[:, 0] for name, r in shop.rankings["discover"].items()}
            for shop in result.shops
        ]
        columns = {name: np.concatenate([v[name] for v in values]) for name in values[0]}
        surface = found[size]
        assert surface.users == len(columns["text"])
        assert surface.methods["text"].mean == pytest.approx(columns["text"].mean())
        for group, model in zip(surface.groups, NAMES, strict=True):
            for method in ("global", "pairs", "fused"):
                expected = columns[f"{method}-{model}"].mean()
                assert group.methods[method].mean == pytest.approx(expected)
            gain = group.gains["fused-over-best-local"]
            difference = columns[f"fused-{model}"] - columns["best-local"]
            assert gain.difference.mean == pytest.approx(difference.mean())
            if gain.percent is not None:
                share = 100 * difference.mean() / columns["best-local"].mean()
                assert gain.percent.mean == pytest.approx(share)
            other = group.gains["fused-over-text"].difference.mean
            assert other == pytest.approx((columns[f"fused-{model}"] - columns["text"]).mean())
            apart = [v[f"fused-{model}"] - v["best-local"] for v in values]
            rng, slow = np.random.default_rng(9), []
            for _ in range(1500):
                drawn = [rng.choice(each, len(each)) for each in apart]
                slow.append(np.concatenate(drawn).mean())
            low, high = np.percentile(slow, [2.5, 97.5])
            width = max(high - low, 1e-9)
            assert abs(gain.difference.low - low) < 0.15 * width
            assert abs(gain.difference.high - high) < 0.15 * width


def test_a_size_takes_the_shops_that_have_the_users(report: NewShopsReport) -> None:
    assert [r.surfaces["discover"].users for r in report.sizes.values()] == [160, 130, 80]
    assert report.sizes[40].left_out == ("east",)
    assert report.sizes[60].shops == ("north",)


def test_holm_runs_over_every_comparison_of_the_page(report: NewShopsReport) -> None:
    gains = [
        gain
        for surface in ("discover", "tail")
        for record in report.sizes.values()
        for group in record.surfaces[surface].groups
        for gain in group.gains.values()
    ]
    assert report.correction.comparisons == len(gains) - 1 == 3 * 3 * 2 * 2 - 1
    primary, *others = gains
    assert [gain.primary for gain in gains] == [True, *(False for _ in others)]
    assert primary.p_adjusted == primary.p
    assert [g.p_adjusted for g in others] == holm([g.p for g in others])
    for gain in gains:
        assert (gain.verdict == "no-better") == (gain.p_adjusted >= 0.05)


def test_few_users_prove_nothing_however_alike_they_are() -> None:
    assert [least_p(n) for n in (0, 1, 2, 6)] == [1.0, 1.0, 0.5, 1 / 32]
    few = measured(GAINS, users={"north": 3, "south": 2})
    found = compare_sizes({0: few[0]}, "discover", GROUPS, draws=2000, rng=np.random.default_rng(0))
    gain = found[0].groups[0].gains["fused-over-best-local"]
    assert gain.difference.low > 0
    assert gain.p == 1 / 16


def test_the_words_say_gain_loss_and_nothing(report: NewShopsReport) -> None:
    private, free = report.advice
    sizes = report.sizes
    shares = {
        (n, i): r.surfaces["discover"].groups[i].gains["fused-over-best-local"].percent
        for n, r in sizes.items()
        for i in (0, 1)
    }

    def shown(size: int, group: int) -> str:
        found = shares[size, group]
        assert found is not None
        value = abs(found.mean)
        return f"{value:.0f}%" if value >= 9.95 else f"{value:.1f}%"

    at = "at epsilon 8 with noise shared by the shops"
    assert private.sentences == (
        f"A new shop with no users of its own gains {shown(0, 0)} over zero-shot text on Discover "
        f"{at}; with 40 users {shown(40, 0)} over the best that it reaches alone, with 60 users "
        "nothing significant.",
        f"On Tail a new shop gains nothing significant {at}, at any size.",
    )
    assert (private.join, free.join) == (True, True)
    assert f"with 60 users it loses {shown(60, 1)}" in free.sentences[0]
    assert report.title == (
        f"New shops gain by joining: {shown(0, 0)} on Discover with no users of their own, {at}"
    )


def test_the_title_owns_up_where_only_no_privacy_helps() -> None:
    gains = {0: {"epsilon-8-shared": 0.0, "epsilon-none": 0.2}}
    sizes, _ = records(measured(gains))
    title = title_of(recommend_to_new_shops(sizes), sizes)
    assert title.endswith("without privacy; with privacy nothing significant")
    none, _ = records(measured({0: dict.fromkeys(NAMES, 0.0)}))
    assert title_of(recommend_to_new_shops(none), none) == (
        "Joining adds nothing significant to new shops in this data"
    )


def test_the_file_reads_back_and_the_page_shows_every_row(report: NewShopsReport) -> None:
    assert NewShopsReport.model_validate_json(report.to_json()) == report
    assert list(json.loads(report.to_json())["sizes"]) == ["0", "40", "60"]
    page = new_shops_page(report)
    assert page.count("<svg") == page.count("data-surface=") == 2
    assert page.count('<th scope="row">') == 3 * 2 * 2
    assert "http" not in page.replace("http-equiv", "")
    for words in (report.title, "share no item", "secure aggregation", "east has fewer"):
        assert words in page
    assert "nan" not in page.lower()


def test_methods_that_were_not_released_are_left_out() -> None:
    sizes, _ = records(measured({0: GAINS[0]}, pairs=False))
    group = sizes[0].surfaces["discover"].groups[0]
    assert set(group.methods) == {"global", "placebo", "fused"}


def test_what_a_placebo_gives_as_well_is_no_gain() -> None:
    sizes, _ = records(measured({0: GAINS[0]}, placebo=0.15))
    shared, free = sizes[0].surfaces["discover"].groups
    gain = shared.gains["fused-over-best-local"]
    assert gain.difference.low > 0 > gain.over_placebo.high  # type: ignore[union-attr]
    assert (gain.p, gain.verdict) == (1.0, "no-better")
    assert free.gains["fused-over-best-local"].verdict == "better"


def test_the_terminal_shows_tables_words_and_files(report: NewShopsReport, tmp_path) -> None:  # type: ignore[no-untyped-def]
    stream = io.StringIO()
    print_new_shops(report, folder=tmp_path, console=Console(file=stream, width=100))
    text = stream.getvalue()
    assert "New shops gain by joining" in text
    assert str(tmp_path / "new-shops.html") in text
    rows = [line.split() for line in text.splitlines() if line.split()[1:3] == ["8", "shared"]]
    assert [row[0] for row in rows] == ["0", "40", "60"] * 2
    gain = report.sizes[0].surfaces["discover"].groups[0].methods["fused"]
    assert rows[0][7] == f"{gain.mean:.4f}"
