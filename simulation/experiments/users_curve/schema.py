"""The form of `users-curve.json`, version 1; `docs/sweeps.md` explains it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.settings.run_settings import RunSettings
from simulation.reporting.records import ExperimentReport, Interval, Noise, Record, Share, Verdict


class CurveGain(Record):
    """What one kind of federation earns at one size."""

    epsilon: float | None
    """Total epsilon of a shop; null without privacy."""
    noise: Noise | None
    """Who adds the noise; null without privacy."""
    fused: float
    """NDCG@10 of the fused system."""
    gain: Interval
    """NDCG@10, fused minus best local."""
    over_placebo: Interval | None
    """NDCG@10, fused minus placebo; null where it was not measured."""
    recovered: Interval | None
    """Share of the headroom over the harder of best local and placebo; null where the headroom's
    interval is not above 0."""
    p_adjusted: Share
    """After Holm's correction over the comparisons of this size."""
    verdict: Verdict
    """`better` or `worse` where `p_adjusted` is below .05."""


class CurveSurface(Record):
    """One surface at one size."""

    asked: Annotated[int, Field(ge=1)]
    """Users with something to predict."""
    best_local: float
    """NDCG@10 of the best that a shop reaches alone."""
    pooled: float | None
    """NDCG@10 of all data pooled; null where it was not measured."""
    gains: tuple[CurveGain, ...]
    """In order of noise and epsilon, without privacy last."""


class CurvePoint(Record):
    """One size."""

    users: Annotated[int, Field(ge=1)]
    """Users of all shops together."""
    shops: Annotated[int, Field(ge=1)]
    """Shops among which they are."""
    folder: str
    """Folder of its sweep, relative to that of the curve."""
    surfaces: dict[str, CurveSurface]
    """Surface -> what was found."""


class UsersCurve(ExperimentReport):
    """What a federation earns against the number of its users."""

    settings: RunSettings
    """What all sizes share; those of the first."""
    primary: str
    """Surface that the page begins with."""
    points: tuple[CurvePoint, ...]
    """In order of shops and users."""
