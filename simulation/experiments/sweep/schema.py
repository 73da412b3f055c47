"""The form of `sweep.json`, version 1; `docs/sweeps.md` explains the statistics."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.settings.run_settings import RunSettings
from simulation.reporting.records import (
    Correction,
    ExperimentReport,
    Interval,
    Noise,
    Record,
    Share,
    Verdict,
)


class VariantRecord(Record):
    """One run of the sweep: where it is and what it cost."""

    name: str
    """Name of its folder."""
    epsilon: float | None
    """The epsilon that was asked for; null without privacy."""
    noise: Noise | None
    """Who adds the noise; null without privacy."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of its training."""
    epsilon_paid: float | None
    """Largest total epsilon of a shop by the accountant; null without privacy."""
    train_seconds: Annotated[float, Field(ge=0)]
    """Wall time of its rounds; runs that trained side by side slowed each other down."""
    bytes_up: Annotated[float, Field(ge=0)]
    """Bytes that a shop sent, mean over shops."""
    bytes_down: Annotated[float, Field(ge=0)]
    """Bytes that a shop received, mean over shops."""
    refused: Annotated[int, Field(ge=0)]
    """Replies that did not count."""
    report: str
    """Path of its `report.json`, relative to the sweep's folder."""


class SeedGain(Record):
    """One seed's gain, users averaged."""

    seed: Annotated[int, Field(ge=0)]
    """The seed."""
    gain: float
    """NDCG@10, fused minus best local."""


class ComparisonRecord(Record):
    """`fused` against `best-local` at one epsilon and kind of noise, on one surface.

    Every user's value of `fused` is first averaged over the seeds. Intervals are 95% percentile
    intervals of a bootstrap that draws users within their shops.
    """

    epsilon: float | None
    """Total epsilon of a shop; null without privacy."""
    noise: Noise | None
    """Who adds the noise; null without privacy."""
    fused: Interval
    """NDCG@10 of the fused system."""
    global_alone: Interval | None
    """NDCG@10 of the global model alone; null where it was not measured."""
    placebo: Interval | None = None
    """NDCG@10 of the placebo: as many signals, made of what the shop has itself; null where it was
    not measured."""
    gain: Interval
    """NDCG@10, fused minus best local, of the same users."""
    over_placebo: Interval | None = None
    """NDCG@10, fused minus placebo, of the same users; null where it was not measured."""
    gain_percent: Interval | None
    """The gain in percent of best local; null where best local's interval includes 0."""
    recovered: Interval | None
    """Gain / headroom over the harder of best local and placebo, a ratio of means; null where the
    headroom's interval is not above 0."""
    p: Share
    """Two-sided bootstrap p-value of no gain; of a gain, the larger of those over best local and
    over the placebo."""
    p_adjusted: Share
    """The same after Holm's correction over all comparisons of the sweep but the primary one."""
    primary: bool = False
    """Whether it was named beforehand and is judged by `p` itself."""
    verdict: Verdict
    """`better` or `worse` where `p_adjusted` is below .05; better than best local and placebo."""
    seeds: tuple[SeedGain, ...]
    """The gain of each seed by itself."""
    seed_deviation: float | None
    """Standard deviation of the seeds' gains; null with one seed."""
    shops: dict[str, Interval]
    """Shop -> gain over its own users, not corrected for there being several shops."""
    helped: tuple[str, ...]
    """Shops whose own interval lies above 0."""
    hurt: tuple[str, ...]
    """Shops whose own interval lies below 0."""
    undecided: tuple[str, ...]
    """All other shops."""


class SurfaceSweep(Record):
    """One surface over the whole sweep."""

    users: Annotated[int, Field(ge=1)]
    """Users with something to predict, over all shops."""
    best_local: Interval
    """NDCG@10 of the best that a shop reaches alone."""
    pooled: Interval | None
    """NDCG@10 of all data pooled, not private; null where it was not measured."""
    headroom: Interval | None
    """Pooled minus best local: what there is to earn; null without `pooled`."""
    comparisons: tuple[ComparisonRecord, ...]
    """In order of noise and epsilon, without privacy last."""

    @property
    def lacks_headroom(self) -> bool:
        """Whether pooling all data is not surely better than the best local system."""
        return self.headroom is not None and self.headroom.low <= 0


class Recommendation(Record):
    """What follows from the figures for one kind of noise, in words."""

    noise: Noise | None
    """Who adds the noise; null for the runs without privacy."""
    join: bool
    """Whether joining helps somewhere at some epsilon of the sweep."""
    epsilon: float | None
    """The smallest such epsilon; null where there is none or no privacy."""
    sentences: tuple[str, ...]
    """The recommendation."""
    trust: str
    """What the figures assume of the others."""


class SweepReport(ExperimentReport):
    """A finished sweep."""

    settings: RunSettings
    """What all runs share; epsilon, noise and seed are those of the first."""
    shops: tuple[str, ...]
    """Names of the shops."""
    seeds: tuple[int, ...]
    """Seeds of every epsilon and kind of noise."""
    variants: tuple[VariantRecord, ...]
    """All runs."""
    surfaces: dict[str, SurfaceSweep]
    """Surface -> what was found."""
    correction: Correction
    """How many comparisons there are, and how their p-values are corrected."""
    title: str
    """The result in one sentence."""
    recommendations: tuple[Recommendation, ...]
    """One for each kind of noise."""
