"""From the sweeps of all sizes to the points of the curve, and their words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulation.experiments.sweep.schema import SweepReport
from simulation.experiments.users_curve.schema import (
    CurveGain,
    CurvePoint,
    CurveSurface,
    UsersCurve,
)
from simulation.reporting.records import Noise, Verdict, number, percent, signed
from simulation.reporting.tables import epsilon_text


def point_of(sweep: SweepReport, *, users: int, folder: str) -> CurvePoint:
    """Takes what the curve shows from the sweep of one size."""
    surfaces = {
        name: CurveSurface(
            asked=surface.users,
            best_local=surface.best_local.mean,
            pooled=surface.pooled and surface.pooled.mean,
            gains=tuple(
                CurveGain(
                    epsilon=c.epsilon,
                    noise=c.noise,
                    fused=c.fused.mean,
                    gain=c.gain,
                    over_placebo=c.over_placebo,
                    recovered=c.recovered,
                    p_adjusted=c.p_adjusted,
                    verdict=c.verdict,
                )
                for c in surface.comparisons
            ),
        )
        for name, surface in sweep.surfaces.items()
    }
    return CurvePoint(users=users, shops=len(sweep.shops), folder=folder, surfaces=surfaces)


@dataclass(frozen=True)
class CurveRow:
    """One size and kind of federation on one surface, as texts."""

    shops: str
    users: str
    epsilon: str
    noise: str
    local: str
    fused: str
    gain: str
    over_placebo: str
    recovered: str
    verdict: Verdict


def curve_rows(curve: UsersCurve, surface: str) -> Iterator[CurveRow]:
    """Lists a row for each size and kind of federation."""
    for point in curve.points:
        measured = point.surfaces.get(surface)
        for gain in measured.gains if measured else ():
            yield CurveRow(
                shops=f"{point.shops}",
                users=f"{point.users:,}",
                epsilon=epsilon_text(gain.epsilon),
                noise=gain.noise or "none",
                local=number(measured.best_local) if measured else "",
                fused=number(gain.fused),
                gain=signed(gain.gain.mean),
                over_placebo="" if gain.over_placebo is None else signed(gain.over_placebo.mean),
                recovered="" if gain.recovered is None else percent(gain.recovered.mean),
                verdict=gain.verdict,
            )


def surfaces_of(curve: UsersCurve) -> list[str]:
    """Names the surfaces that were measured at some size, the primary one first."""
    names = list(dict.fromkeys(name for point in curve.points for name in point.surfaces))
    return sorted(names, key=lambda name: name != curve.primary)


def kinds_of(curve: UsersCurve) -> list[tuple[float | None, Noise | None]]:
    """Lists epsilon and noise of all kinds of federations."""
    gains = (g for p in curve.points for s in p.surfaces.values() for g in s.gains)
    return list(dict.fromkeys((gain.epsilon, gain.noise) for gain in gains))


def title_of(curve: UsersCurve) -> str:
    """Says from how many users on the primary surface gains, by kind of federation."""
    smallest: dict[tuple[float, Noise | None], CurvePoint] = {}
    for point in sorted(curve.points, key=lambda point: point.users):
        measured = point.surfaces.get(curve.primary)
        for gain in measured.gains if measured else ():
            if gain.verdict == "better" and gain.epsilon is not None:
                smallest.setdefault((gain.epsilon, gain.noise), point)
    if not smallest:
        return f"With privacy no size gained significantly on {curve.primary}"
    epsilon, noise = min(smallest, key=lambda kind: smallest[kind].users)
    point = smallest[epsilon, noise]
    return (
        f"The smallest federation that gained on {curve.primary} has {point.users:,} users in "
        f"{point.shops} shops, at epsilon {epsilon:g} with "
        f"{'noise in each shop' if noise == 'shop' else 'shared noise'}"
    )
