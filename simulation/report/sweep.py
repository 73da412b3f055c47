"""A sweep over epsilons and seeds, condensed for its page: seeds are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from shared.errors import RunError
from simulation.report.schema import SURFACES, Interval, Report

Curve = dict[float | None, Interval]
"""Epsilon (None for no privacy) -> NDCG@10 or its gain."""


@dataclass(frozen=True)
class SweepSurface:
    """One surface over all runs of a sweep; every interval is the seeds' mean of ends.

    Attributes:
        curves: NDCG@10 of `fused` and `global` by epsilon.
        lines: NDCG@10 of `best-local` and `pooled`, which no epsilon changes.
        gains: `fused` minus `best-local` by epsilon, paired intervals.
        dots: (epsilon, gain) of each single run.
    """

    curves: dict[str, Curve]
    lines: dict[str, Interval]
    gains: Curve
    dots: tuple[tuple[float | None, float], ...]


def condense(reports: Sequence[Report]) -> dict[str, SweepSurface]:
    """Averages the runs of a sweep by epsilon, surface by surface.

    Where no run was made without privacy, the private runs' control `fused-non-private` stands
    for it.

    Raises:
        RunError: There is no report.
    """
    if not reports:
        raise RunError("reports=0 must be at least 1; run the sweep first")
    present = [s for s in SURFACES if any(s in r.metrics.surfaces for r in reports)]
    return {s: _surface([r for r in reports if s in r.metrics.surfaces], s) for s in present}


def epsilon_order(epsilon: float | None) -> float:
    """Sorts epsilons, no privacy last."""
    return float("inf") if epsilon is None else epsilon


def average(intervals: Sequence[Interval]) -> Interval:
    """Averages means and ends.

    The seeds share their users, so that the ends do not shrink with the number of seeds.
    """
    return Interval(
        mean=fmean(i.mean for i in intervals),
        low=fmean(i.low for i in intervals),
        high=fmean(i.high for i in intervals),
    )


def _surface(reports: Sequence[Report], surface: str) -> SweepSurface:
    def ndcg(method: str) -> Callable[[Report], Interval | None]:
        return lambda r: r.metrics.surfaces[surface].get(method, {}).get("ndcg@10")

    curves = {m: _by_epsilon(reports, ndcg(m)) for m in ("global", "fused")}
    control = [i for i in map(ndcg("fused-non-private"), reports) if i is not None]
    if control and None not in curves["fused"]:
        curves["fused"][None] = average(control)
    levels = {m: [i for i in map(ndcg(m), reports) if i] for m in ("best-local", "pooled")}
    compared = [r for r in reports if surface in r.comparison]
    return SweepSurface(
        curves={m: curve for m, curve in curves.items() if curve},
        lines={m: average(found) for m, found in levels.items() if found},
        gains=_by_epsilon(compared, lambda r: r.comparison[surface].difference),
        dots=tuple((r.epsilon_set, r.comparison[surface].difference.mean) for r in compared),
    )


def _by_epsilon(reports: Sequence[Report], value: Callable[[Report], Interval | None]) -> Curve:
    found: dict[float | None, list[Interval]] = {}
    for report in sorted(reports, key=lambda r: epsilon_order(r.epsilon_set)):
        interval = value(report)
        if interval is not None:
            found.setdefault(report.epsilon_set, []).append(interval)
    return {epsilon: average(intervals) for epsilon, intervals in found.items()}
