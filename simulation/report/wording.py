"""The sentences of a report: what privacy cost, what federation earned, what is not covered.

They are honest by construction: a gain is called one only when its 95% interval lies above zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from simulation.report.schema import Comparison, Interval, Report, ShopPrivacy

SURFACE_NAMES = {
    "for-you": "For you",
    "discover": "Discover",
    "tail": "Tail",
    "cold": "Cold items",
    "new-user": "New users",
    "basket": "Basket",
}
SURFACE_NOTES = {
    "for-you": "all items of the shop",
    "discover": "items new to the user",
    "tail": "new to the user and bought by fewer than 10 of the shop's users",
    "cold": "new to the user and with fewer than 5 events in all shops",
    "new-user": "items new to the user, of whom one event is known",
    "basket": "half a cart is given, the other half is asked for",
}
METHOD_NAMES = {
    "popularity": "Popularity",
    "frequency": "Own frequency",
    "item-knn": "ItemKNN",
    "ease": "EASE",
    "als": "ALS",
    "text": "Zero-shot text",
    "text-map": "Local text map",
    "ease-text": "EASE + text",
    "best-local": "Best local",
    "global": "Global model alone",
    "pairs": "EASE with others' pairs",
    "fused": "Fused: shared + local",
    "fused-non-private": "Fused, without privacy",
    "pooled": "All data pooled",
}
MINUS = "\N{MINUS SIGN}"
Verdict = Literal["better", "no-better", "worse"]


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
    verdicts = {s: verdict(report.comparison[s].difference) for s in measured}
    return Headline(
        title=_title(verdicts),
        privacy=privacy_line(report.privacy),
        surfaces={
            s: _surface_sentence(report, s, report.comparison[s], verdicts[s]) for s in measured
        },
    )


def verdict(difference: Interval) -> Verdict:
    """Judges fused minus best local by its 95% interval: zero inside means no better."""
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "no-better"


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
            f"For each of the {len(paid)} shops, everything that leaves the shop during the run is "
            f"({_range(s.epsilon for s in paid)}, {_deltas(paid)})-differentially private. "
            f"Protected is {_unit(first)}; neighbouring data sets differ as follows: "
            f"{first.adjacency}. What leaves: {_releases(first)}. {_noise_in_words(first)}",
            f"{_trust(first)} A user of several shops is covered by the "
            "composition of their guarantees, so epsilons and deltas add up at worst.",
            f"A simulation is not a release: its noise comes from seed {seed}, so that the run can "
            "be repeated, and whoever knows the seed can take the noise away. A release needs "
            "noise that is drawn from the operating system on each shop's own machine"
            f"{_aggregation(first)}.",
            "Not covered: the metrics, rankings and user counts of this report, which are computed "
            "on the raw data for the engineer who holds all of it; settings chosen by looking at "
            "such results; the item catalogue and its texts, which are public; timing; and the "
            "rounding of floating-point noise.",
        )
    )


def number(value: float, metric: str = "ndcg@10") -> str:
    """Formats a metric: four digits where differences are small, two where they are not."""
    coarse = metric.startswith(("novelty", "coverage", "diversity"))
    return f"{value:.2f}" if coarse else f"{value:.4f}"


def small(value: float) -> str:
    """Formats a small positive number: 1e-5 and not 1e-05."""
    return f"{value:g}".replace("e-0", "e-")


def signed(value: float) -> str:
    """Formats a difference with its sign, a real minus included."""
    return f"{round(value, 4) + 0.0:+.4f}".replace("-", MINUS)


def listing(names: list[str]) -> str:
    """Joins names as a sentence does: `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _title(verdicts: dict[str, Verdict]) -> str:
    if not verdicts:
        return "Nothing could be compared: no surface has both a fused and a best local system"
    better = [SURFACE_NAMES[s] for s, v in verdicts.items() if v == "better"]
    worse = [SURFACE_NAMES[s] for s, v in verdicts.items() if v == "worse"]
    if not better and not worse:
        return "Federation did not pay: fused is not better than the best local system"
    if not better:
        return f"Federation did harm on {listing(worse)} and helped nowhere"
    harm = f", but did harm on {listing(worse)}" if worse else ""
    return f"Federation paid on {len(better)} of {len(verdicts)} surfaces: {listing(better)}{harm}"


def _surface_sentence(report: Report, surface: str, comparison: Comparison, judged: Verdict) -> str:
    methods = report.metrics.surfaces[surface]
    local, fused = (methods[m]["ndcg@10"].mean for m in ("best-local", "fused"))
    d = comparison.difference
    share = f" or {d.mean / local:+.1%}".replace("-", MINUS) if local > 0 else ""
    interval = f"{signed(d.mean)}{share}, 95% interval {signed(d.low)} to {signed(d.high)}"
    words = {
        "better": "fused is better than the best local system",
        "no-better": "fused is not better than the best local system",
        "worse": "fused is worse than the best local system",
    }[judged]
    text = f"{words}: NDCG@10 {number(fused)} against {number(local)} ({interval})"
    pooled = methods.get("pooled", {}).get("ndcg@10")
    if judged == "better" and pooled is not None and pooled.mean > local:
        earned = d.mean / (pooled.mean - local)
        text += f"; that is {earned:.0%} of what pooling all data would add"
    return text


def _unit(shop: ShopPrivacy) -> str:
    """The unit inside a sentence: `user: the whole history of one user` without its short name."""
    return (shop.unit or "").removeprefix("user: ")


def _releases(shop: ShopPrivacy) -> str:
    names = {
        "dp-sgd": "training steps",
        "item-counts": "item counts",
        "pair-sums": "sums of co-purchase pairs",
    }
    found = [
        f"{names.get(m.name, m.name)} ({m.steps}, with noise of {m.noise_multiplier:.3g} times the "
        "largest contribution of a user)"
        for m in shop.mechanisms
    ]
    return listing(found)


def shared_by(shop: ShopPrivacy) -> int:
    """Returns how many shops add the noise together; 1 where each adds all of it."""
    return max((m.shared_by for m in shop.mechanisms), default=1)


def _noise_line(shop: ShopPrivacy) -> str:
    shops = shared_by(shop)
    if shops == 1:
        return "noise in each shop"
    return f"noise shared by {shops} shops: holds for their sum under secure aggregation alone"


def _noise_in_words(shop: ShopPrivacy) -> str:
    shops = shared_by(shop)
    if shops == 1:
        return "Each shop adds the full noise itself."
    text = (
        f"The {shops} shops add the noise together, each 1/{shops} of its variance: what one shop "
        "sends has too little noise to be seen alone."
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
    return "" if shared_by(shop) == 1 else ", and secure aggregation, which is only simulated here"


def _deltas(shops: list[ShopPrivacy]) -> str:
    found = sorted({shop.delta for shop in shops if shop.delta is not None})
    return " to ".join(small(delta) for delta in dict.fromkeys((found[0], found[-1])))


def _range(values: Iterable[float | None]) -> str:
    found = sorted(f"{v:.2f}" for v in values if v is not None)
    low, high = min(found, key=float), max(found, key=float)
    return low if low == high else f"{low} to {high}"
