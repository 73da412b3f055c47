from __future__ import annotations

import pytest

from simulation.experiments.single.findings import guarantee_text, headline, privacy_line
from simulation.experiments.single.schema import ShopPrivacy
from simulation.reporting.records import Interval, listing, number, signed, small
from tests.simulation.experiments.single.sample_reports import paid, sample_report

NONE = ShopPrivacy.none(sample_rate=1.0, steps=8)


def test_a_release_that_is_noise_is_said_to_be_noise() -> None:
    report = sample_report(epsilon=9.0, shops=2).model_copy(update={"reliability": 0.0})
    assert headline(report).title == (
        "Federation did not pay: what was released cannot be told from noise, and shops use "
        "nothing of it"
    )


def test_a_gain_that_is_not_above_the_placebo_says_so() -> None:
    report = sample_report(epsilon=9.0, gains=gains(discover=(0.0022, 0.0006)), shops=2)
    compared = report.comparison["discover"].model_copy(
        update={
            "over_placebo": Interval(mean=0.0, low=-0.001, high=0.001),
            "verdict": "no-better",
        }
    )
    report = report.model_copy(update={"comparison": {"discover": compared}})
    assert (
        headline(report)
        .surfaces["discover"]
        .startswith(
            "fused is not better than a placebo made of the shop's own data: NDCG@10 0.0618 against"
        )
    )


def gains(**changes: tuple[float, float]) -> dict[str, tuple[float, float]]:
    flat = dict.fromkeys(("for-you", "discover", "tail", "basket"), (0.0, 0.001))
    return flat | {name.replace("_", "-"): value for name, value in changes.items()}


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ({}, "Federation did not pay: fused is not better than the best local system"),
        ({"tail": (0.002, 0.001)}, "Federation paid on 1 of 4 surfaces: Tail"),
        (
            {"tail": (0.002, 0.001), "for_you": (-0.002, 0.001)},
            "Federation paid on 1 of 4 surfaces: Tail, but did harm on For you",
        ),
        ({"basket": (-0.002, 0.001)}, "Federation did harm on Basket and helped nowhere"),
        ({"basket": (0.001, 0.001)}, "Federation did not pay: fused is not better than the best "
         "local system"),
    ],
)  # fmt: skip
def test_the_title_is_honest(given: dict, title: str) -> None:
    report = sample_report(epsilon=9.0, gains=gains(**given), shops=2)
    assert headline(report).title == title


def test_a_finding_states_levels_difference_and_share_of_the_headroom() -> None:
    report = sample_report(epsilon=9.0, gains=gains(discover=(0.0022, 0.0006)), shops=2)
    found = headline(report).surfaces
    # (0.0618 - 0.0596) / 0.0596 = 3.7 %; 0.0022 / (0.0640 - 0.0596) = 50 %
    assert found["discover"] == (
        "fused is better than the best local system: NDCG@10 0.0618 against 0.0596 "
        "(+0.0022 or +3.7%, 95% interval +0.0016 to +0.0028), placebo 0.0596; p 0.006, named "
        "beforehand; that is 50% of what pooling all data would add"
    )
    assert found["tail"].startswith("fused is not better than the best local system")
    assert "pooling" not in found["tail"]


def test_the_privacy_line_says_everything_that_belongs_to_an_epsilon() -> None:
    assert privacy_line({"a": paid(8.0), "b": paid(8.0)}) == (
        "epsilon 8.00 by exact Gaussian (Balle and Wang 2018, dp-accounting), 8.00 by "
        "dp-accounting PLD; delta 1e-5; unit: the whole history of one user, whose part "
        "in each release is bounded, "
        "add or remove one user; noise in each shop"
    )


def test_shops_that_differ_are_a_range_in_numeric_order() -> None:
    line = privacy_line({"a": paid(10.0), "b": paid(9.5), "c": paid(2.0)})
    assert line.startswith("epsilon 2.00 to 10.00 by ")


def test_missing_privacy_is_said_loudly() -> None:
    assert privacy_line({"a": NONE}).startswith("no privacy")
    assert privacy_line({"a": NONE, "b": paid(1.0)}).endswith("1 of 2 shops WITHOUT privacy")
    for shops in ({"a": NONE}, {"a": NONE, "b": paid(1.0)}):
        assert guarantee_text(shops, seed=1).startswith("There is no guarantee")


def test_the_guarantee_says_what_it_covers_and_what_not() -> None:
    text = guarantee_text({"a": paid(3.0)}, seed=42)
    for part in (
        "(3.00, 1e-5)-differentially private",
        "Protected is the whole history of one user, whose part in each release is bounded;",
        "add or remove one user",
        "item counts (1, with noise of",
        "training steps (8, with noise of",
        "and sums of co-purchase pairs (1, with noise of",
        "Each shop adds the full noise itself",
        "the shop's own machine is trusted",
        "not a release",
        "seed 42",
        "Not covered",
    ):
        assert part in text


def test_numbers_read_well() -> None:
    assert signed(-0.00123) == "\N{MINUS SIGN}0.0012"
    assert signed(-0.00001) == "+0.0000"
    assert (small(1e-5), small(0.001), small(1.5e-12)) == ("1e-5", "0.001", "1.5e-12")
    assert (number(0.04567), number(0.4567, "coverage@20")) == ("0.0457", "0.46")
    assert (listing(["a"]), listing(["a", "b", "c"])) == ("a", "a, b and c")
