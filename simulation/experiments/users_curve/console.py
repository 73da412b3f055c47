"""The curve on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from simulation.experiments.users_curve.page import STEM
from simulation.experiments.users_curve.points import curve_rows, surfaces_of, title_of
from simulation.experiments.users_curve.schema import UsersCurve
from simulation.reporting.records import surface_name
from simulation.reporting.terminal import VERDICT_COLOURS, left, plain_table, print_paths

COLUMNS = (
    *("shops", "users", "eps"),
    left("noise"),
    *("best local", "fused", "gain", "over placebo", "recov."),
)


def print_users_curve(curve: UsersCurve, *, folder: Path, console: Console) -> None:
    """Prints a table a surface, the result in words and where the files are."""
    for surface in surfaces_of(curve):
        console.print(f"[bold]{escape(surface_name(surface))}[/]")
        rows = [
            (
                (
                    *(r.shops, r.users, r.epsilon, r.noise, r.local, r.fused, r.gain),
                    *(r.over_placebo, r.recovered),
                ),
                VERDICT_COLOURS[r.verdict],
            )
            for r in curve_rows(curve, surface)
        ]
        console.print(plain_table(COLUMNS, rows), "")
    console.print(f"[bold]{escape(title_of(curve))}.[/]")
    print_paths(console, folder, STEM)
