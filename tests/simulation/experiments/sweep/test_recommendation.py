"""The words of a sweep: each follows from its figures."""

from __future__ import annotations

import pytest

from simulation.experiments.sweep.schema import Recommendation, SweepReport
from simulation.reporting.records import p_text, percent
from simulation.runs.variants import Sweep, Variant
from tests.simulation.experiments.sweep.sample_sweeps import sample_sweep

BOTH = Sweep((1.0, 3.0, 8.0), ("shop", "shared"), seeds=2)


def of(sweep: SweepReport, noise: str | None) -> Recommendation:
    (one,) = (r for r in sweep.recommendations if r.noise == noise)
    return one


def helps_from_3(surface: str, variant: Variant, _: int) -> float:
    paid = variant.epsilon or 9.0
    return 0.02 if surface == "discover" and paid >= 3 and variant.noise != "shop" else 0.0


def test_the_smallest_helpful_epsilon_is_named_with_its_figures() -> None:
    sweep = sample_sweep(BOTH, helps_from_3)
    shared, shop = of(sweep, "shared"), of(sweep, "shop")
    c = next(
        c for c in sweep.surfaces["discover"].comparisons if (c.epsilon, c.noise) == (3.0, "shared")
    )
    assert (shared.join, shared.epsilon) == (True, 3.0)
    assert shared.sentences == (
        f"With noise shared by the shops, at epsilon 3 joining helps {len(c.helped)} of 5 shops on "
        f"Discover: NDCG@10 rises by {c.gain.mean:.4f} ({c.gain_percent.mean:+.1f}%, adjusted p "
        f"{p_text(c.p_adjusted)}).",
        "At epsilon 1 no significant gain is left.",
    )
    assert (shop.join, shop.epsilon) == (False, None)
    assert shop.sentences[0].startswith(
        "Do not join for this data at these budgets: with noise in each shop, no surface is "
        "significantly better than the best local system at epsilon 1, 3 or 8"
    )
    assert sweep.title == (
        "Joining helps on Discover from epsilon 3 with noise shared by the shops; with noise in "
        "each shop it does not"
    )


def test_where_nothing_helps_it_says_so_plainly() -> None:
    sweep = sample_sweep(BOTH, lambda *_: 0.0)
    assert sweep.title.startswith("Do not join for this data at these budgets")
    assert not any(r.join for r in sweep.recommendations)


def test_harm_is_said_and_is_no_reason_to_join() -> None:
    sweep = sample_sweep(Sweep((8.0,)), lambda s, *_: -0.02 if s == "tail" else 0.0)
    (words,) = sweep.recommendations
    assert not words.join
    assert words.sentences[0].startswith("Do not join")
    assert words.sentences[1].startswith("It does harm on Tail at epsilon 8: NDCG@10 falls by 0.02")


def test_a_larger_epsilon_that_does_not_bear_it_out_is_named() -> None:
    sweep = sample_sweep(
        Sweep((1.0, 8.0)), lambda s, v, _: 0.02 if v.epsilon == 1.0 and s == "tail" else 0.0
    )
    (words,) = sweep.recommendations
    assert "No smaller epsilon was tried." in words.sentences
    assert words.sentences[-1] == "On Tail epsilon 8 did not bear this out: take it with care."


def test_a_sweep_without_privacy_recommends_nothing_private() -> None:
    sweep = sample_sweep(Sweep((None,), seeds=2), lambda *_: 0.02)
    (words,) = sweep.recommendations
    assert (words.noise, words.epsilon) == (None, None)
    assert words.sentences[0].startswith("No privacy: joining helps 5 of 5 shops on Discover")
    assert "nothing of these runs may be released" in words.trust


def test_shared_noise_names_what_it_assumes() -> None:
    sweep = sample_sweep(BOTH, helps_from_3)
    for words in ("secure aggregation", "help the server", "so many shops in each sum"):
        assert words in of(sweep, "shared").trust
        assert words not in of(sweep, "shop").trust


@pytest.mark.parametrize(
    ("p", "text"), [(1.0, "1.00"), (0.0499, "0.05"), (0.0061, "0.006"), (0.0002, "below 0.001")]
)
def test_p_values_are_short(p: float, text: str) -> None:
    assert p_text(p) == text


def test_a_percentage_has_a_real_minus_and_no_negative_zero() -> None:
    assert percent(-0.04) == "+0.0%"
    assert percent(-3.52) == "\N{MINUS SIGN}3.5%"
