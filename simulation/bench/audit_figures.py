"""How often the audit catches a shortfall, how often it cries wolf, and how long it takes."""

from __future__ import annotations

from simulation.audit.power import measure_false_alarms, measure_one_run, measure_power
from simulation.bench.figures import Figure

LEAST_ONE_RUN = 1.5
"""Lower bound that one run with 2,000 canaries should reach at a true epsilon of 4."""


def audit_figures(*, runs: int = 20, honest_runs: int = 100) -> list[Figure]:
    """Measures the audit on the code that trains, with faults planted and without.

    Args:
        runs: Audits of each shortfall.
        honest_runs: Audits of honest code.
    """
    powers = measure_power(runs=runs)
    figures = [
        Figure(
            f"audit misses {p.fault}, epsilon {p.epsilon:g}",
            1 - p.caught / p.runs,
            0.05,
            "of runs",
            f"{p.caught} of {p.runs} caught",
        )
        for p in powers
    ]
    honest = measure_false_alarms(runs=honest_runs)
    note = f"{honest.caught} of {honest.runs} honest runs, epsilon {honest.epsilon:g}"
    figures.append(
        Figure("audit's false alarms", honest.caught / honest.runs, 0.05, "of runs", note)
    )
    slowest = max((*powers, honest), key=lambda power: power.seconds)
    note = f"100,000 canaries, epsilon {slowest.epsilon:g}, the slowest"
    figures.append(Figure("audit's test of training noise", slowest.seconds, 30, "s", note))
    low, steinke, seconds = measure_one_run()
    note = f"at least {low:.2f} of 4 by f-DP, {steinke:.2f} by Steinke et al.; 2,000 canaries"
    short = max(0.0, LEAST_ONE_RUN - low)
    figures.append(Figure("one-run bound is short of 1.5 by", short, 0.0, "epsilon", note))
    figures.append(Figure("one-run audit", seconds, 60, "s", "20 steps"))
    return figures
