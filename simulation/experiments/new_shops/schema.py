"""The form of `new-shops.json`, version 1; `docs/sweeps.md` explains it."""

from __future__ import annotations

from typing import Annotated, Literal

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

GainName = Literal["fused-over-best-local", "global-over-text", "fused-over-text"]


class GainRecord(Record):
    """NDCG@10 of one method minus that of another, of the same users."""

    difference: Interval
    """Mean difference; users are drawn within their shops."""
    over_placebo: Interval | None = None
    """Of `fused-over-best-local`: `fused` minus `placebo`, as many signals made of what the shop
    has itself; null for the others."""
    percent: Interval | None
    """The same in percent of the other method; null where that one's interval includes 0."""
    p: Share
    """Two-sided bootstrap p-value of no difference; no less than a sign test of the users who
    differ could show. Of `fused-over-best-local`, the larger of those over best local and over the
    placebo."""
    p_adjusted: Share
    """The same after Holm's correction over all comparisons of this file but the primary one."""
    primary: bool = False
    """Whether it was named beforehand and is judged by `p` itself."""
    verdict: Verdict
    """`better` or `worse` where `p_adjusted` is below .05."""


class GroupRecord(Record):
    """What one kind of federation gives on one surface."""

    epsilon: float | None
    """Total epsilon of a shop; null without privacy."""
    noise: Noise | None
    """Who adds the noise; null without privacy."""
    methods: dict[str, Interval]
    """`global`, `placebo`, `fused` and, where pairs were released, `pairs` -> NDCG@10."""
    gains: dict[GainName, GainRecord]
    """`fused-over-best-local`: what joining adds; `global-over-text`: what training alone adds;
    `fused-over-text`: both together."""


class SurfaceRecord(Record):
    """One surface at one size."""

    users: Annotated[int, Field(ge=1)]
    """Users with something to predict, over all shops."""
    methods: dict[str, Interval]
    """`text` and `best-local` -> NDCG@10: what the new shops reach alone."""
    groups: tuple[GroupRecord, ...]
    """In the order of `groups` of the file."""


class SizeRecord(Record):
    """New shops with so many users of their own."""

    shops: tuple[str, ...]
    """Shops that were measured, each as the new one."""
    left_out: tuple[str, ...]
    """Shops with fewer users than that."""
    surfaces: dict[str, SurfaceRecord]
    """Surface -> what was found."""


class GroupFacts(Record):
    """One kind of federation: as many models as there are shops."""

    epsilon: float | None
    """Total epsilon of a shop; null without privacy."""
    noise: Noise | None
    """Who adds the noise; null without privacy."""
    seeds: tuple[int, ...]
    """Seed of the federation that the i-th shop is left out of."""


class GroupAdvice(Record):
    """What follows for one kind of federation, in words."""

    epsilon: float | None
    """Total epsilon of a shop; null without privacy."""
    noise: Noise | None
    """Who adds the noise; null without privacy."""
    join: bool
    """Whether joining adds something significant to a new shop on some surface at some size."""
    sentences: tuple[str, ...]
    """The recommendation, one sentence a surface."""


class NewShopsReport(ExperimentReport):
    """What joining a finished federation gives to a new shop."""

    settings: RunSettings
    """What all federations share; epsilon, noise and seed are those of the first run."""
    shops: dict[str, Annotated[int, Field(ge=0)]]
    """Shop -> its users, all of whom are asked at every size."""
    shops_share_items: bool
    """False where every shop has a catalogue of its own, so that only text carries over."""
    groups: tuple[GroupFacts, ...]
    """Kinds of federations."""
    sizes: dict[int, SizeRecord]
    """Own users of a new shop -> what was found."""
    correction: Correction
    """How many comparisons there are, and how their p-values are corrected."""
    title: str
    """The result in one sentence."""
    advice: tuple[GroupAdvice, ...]
    """One for each kind of federation."""
