"""The sentences of a report: what privacy cost, what federation earned, what is not covered.

They are honest by construction: a gain is called one only where it is significantly above what a
shop reaches alone and above a placebo, signals that hold nothing but the shop's own data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from simulation.experiments.single.schema import COMPARED, Comparison, Report, ShopPrivacy
from simulation.reporting.records import (
    MINUS,
    SURFACE_NAMES,
    Verdict,
    listing,
    number,
    p_text,
    signed,
    small,
)


@dataclass(frozen=True)
class Headline:
    """The result in words.

    Attributes:
        title: One sentence: on how many surfaces federation helped.
        privacy: What privacy cost.
        surfaces: One sentence a surface, in the order of the report.
    """

    title: str
    privacy: str
    surfaces: dict[str, str]


def headline(report: Report) -> Headline:
    """Says what a run found."""
    measured = [s for s in report.metrics.surfaces if s in report.comparison]
    verdicts = {s: report.comparison[s].verdict for s in measured}
    return Headline(
        title=_title(verdicts, all_noise=report.reliability == 0),
        privacy=privacy_line(report.privacy),
        surfaces={s: _surface_sentence(report, s, report.comparison[s]) for s in measured},
    )


def privacy_line(privacy: dict[str, ShopPrivacy]) -> str:
    """States the guarantee in one line; shops that differ are given as a range."""
    shops = list(privacy.values())
    paid = [shop for shop in shops if shop.epsilon is not None]
    if not paid:
        return "no privacy: this run is for comparison only and nothing of it may be released"
    first = paid[0]
    text = (
        f"epsilon {_range(s.epsilon for s in paid)} by {first.accountant}, "
        f"{_range(s.epsilon_check for s in paid)} by {first.accountant_check}; "
        f"delta {_deltas(paid)}; unit: {_unit(first)}, {first.adjacency}; {_noise_line(first)}"
    )
    absent = len(shops) - len(paid)
    return text + (f"; {absent} of {len(shops)} shops WITHOUT privacy" if absent else "")


def guarantee_text(privacy: dict[str, ShopPrivacy], *, seed: int) -> str:
    """Writes the guarantee in words, for `Report.guarantee_text` and the adapter's card."""
    paid = [shop for shop in privacy.values() if shop.epsilon is not None]
    if not paid or len(paid) < len(privacy):
        return (
            f"There is no guarantee: {len(privacy) - len(paid)} of {len(privacy)} shops trained "
            "without privacy. The run is for comparison; neither its adapter nor its rankings may "
            "be released."
        )
    first = paid[0]
    return "\n\n".join(
        (
            f"For each of the {len(paid)} shops, all noisy sums that leave the shop during the run "
            f"are, together, ({_range(s.epsilon for s in paid)}, {_deltas(paid)})-differentially "
            f"private. "
            f"Protected is {_unit(first)}; neighbouring data sets differ as follows: "
            f"{first.adjacency}. What leaves: {_releases(first)}. {_noise_in_words(first)}",
            f"{_trust(first)} {_several(first)} A person with several ids in one shop is as "
            "often in each sum, and mu grows with the number of ids.",
            f"A simulation is not a release: its noise comes from seed {seed}, so that the run can "
            "be repeated, and whoever knows the seed can take the noise away. A release needs "
            "noise that is drawn from the operating system on each shop's own machine"
            f"{_aggregation(first)}.",
            "Not covered: the metrics, rankings and user counts of this report, which are computed "
            "on the raw data for the engineer who holds all of it; settings chosen by looking at "
            "such results; the item catalogue and its texts, which are public; timing, and that a "
            "shop answers; and the rounding of gradients inside a batch (docs/privacy.md). All of "
            "it rests on honest machines of the shops, on the accountants' libraries and on AES.",
        )
    )


def _title(verdicts: dict[str, Verdict], *, all_noise: bool) -> str:
    if not verdicts:
        return "Nothing could be compared: no surface has both a fused and a best local system"
    if all_noise:
        return (
            "Federation did not pay: what was released cannot be told from noise, and shops use "
            "nothing of it"
        )
    better = [SURFACE_NAMES[s] for s, v in verdicts.items() if v == "better"]
    worse = [SURFACE_NAMES[s] for s, v in verdicts.items() if v == "worse"]
    if not better and not worse:
        return "Federation did not pay: fused is not better than the best local system"
    if not better:
        return f"Federation did harm on {listing(worse)} and helped nowhere"
    harm = f", but did harm on {listing(worse)}" if worse else ""
    return f"Federation paid on {len(better)} of {len(verdicts)} surfaces: {listing(better)}{harm}"


def _surface_sentence(report: Report, surface: str, comparison: Comparison) -> str:
    methods = report.metrics.surfaces[surface]
    local, placebo, fused = (methods[m]["ndcg@10"].mean for m in COMPARED)
    d, bar = comparison.difference, max(local, placebo)
    share = f" or {d.mean / local:+.1%}".replace("-", MINUS) if local > 0 else ""
    interval = f"{signed(d.mean)}{share}, 95% interval {signed(d.low)} to {signed(d.high)}"
    text = (
        f"{_words(comparison)}: NDCG@10 {number(fused)} against {number(local)} ({interval}), "
        f"placebo {number(placebo)}; p {p_text(comparison.p_adjusted)}"
    )
    text += ", named beforehand" if comparison.primary else ", corrected"
    pooled = methods.get("pooled", {}).get("ndcg@10")
    if comparison.verdict == "better" and pooled is not None and pooled.mean > bar:
        earned = (fused - bar) / (pooled.mean - bar)
        text += f"; that is {earned:.0%} of what pooling all data would add"
    return text


def _words(comparison: Comparison) -> str:
    if comparison.verdict == "better":
        return "fused is better than the best local system"
    if comparison.verdict == "worse":
        return "fused is worse than the best local system"
    if comparison.difference.low > 0 and not comparison.over_placebo.low > 0:
        return "fused is not better than a placebo made of the shop's own data"
    return "fused is not better than the best local system"


def _unit(shop: ShopPrivacy) -> str:
    """The unit inside a sentence: `user: the whole history of one user` without its short name."""
    return (shop.unit or "").removeprefix("user: ")


def _releases(shop: ShopPrivacy) -> str:
    names = {
        "dp-sgd": "training steps",
        "item-counts": "item counts",
        "pair-sums": "sums of co-purchase pairs",
    }
    releases = [
        f"{names.get(m.name, m.name)} ({m.steps}, with noise of {m.noise_multiplier:.3g} times the "
        "largest contribution of a user)"
        for m in shop.mechanisms
    ]
    return listing(releases)


def shared_by(shop: ShopPrivacy) -> int:
    """Returns how many shops add the noise together; 1 where each adds all of it."""
    return max((m.shared_by for m in shop.mechanisms), default=1)


def _noise_line(shop: ShopPrivacy) -> str:
    shops = shared_by(shop)
    if shops == 1:
        return "noise in each shop"
    return f"noise shared, 1/{shops} in each shop: holds for sums by secure aggregation alone"


def _several(shop: ShopPrivacy) -> str:
    """Says what covers a person who is a user of several shops."""
    if shared_by(shop) == 1:
        return (
            "A person who is a user of several shops is covered by the composition of their "
            "guarantees, at worst the sum of epsilons and deltas."
        )
    return (
        "A person who is a user of several shops is in one sum once for each, which multiplies "
        "mu by their number and can be more than the sum of their epsilons."
    )


def _noise_in_words(shop: ShopPrivacy) -> str:
    shops = shared_by(shop)
    if shops == 1:
        return "Each shop adds the full noise itself."
    text = (
        f"The shops add the noise together, each 1/{shops} of its variance, which leaves enough "
        "where as many are missing or dishonest as are allowed for. What one shop sends has too "
        "little noise to be seen alone."
    )
    rows = [row for row in shop.collusion if row.shops > 0 and row.epsilon is not None]
    if not rows:
        return text
    worse = listing([f"{row.epsilon:.2f} with {row.shops}" for row in rows])
    return f"{text} If shops tell the server the noise that they added, epsilon is {worse}."


def _trust(shop: ShopPrivacy) -> str:
    if shared_by(shop) == 1:
        return f"It holds against: {shop.trust}."
    return f"The guarantee {shop.trust}."


def _aggregation(shop: ShopPrivacy) -> str:
    return "" if shared_by(shop) == 1 else ", and secure aggregation under a roster of all shops"


def _deltas(shops: list[ShopPrivacy]) -> str:
    deltas = sorted({shop.delta for shop in shops if shop.delta is not None})
    return " to ".join(small(delta) for delta in dict.fromkeys((deltas[0], deltas[-1])))


def _range(values: Iterable[float | None]) -> str:
    formatted = sorted(f"{v:.2f}" for v in values if v is not None)
    low, high = min(formatted, key=float), max(formatted, key=float)
    return low if low == high else f"{low} to {high}"
