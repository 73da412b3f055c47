"""What an evaluation of uses prints: JSON for scripts, a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from shared.metrics.bootstrap import Interval
from shared.uses.interface import Use
from simulation.uses.evaluation import Protocol, Rows, UseResult, released_for

NEW_SHOP = "new-shop"


def to_json(results: Sequence[UseResult]) -> dict[str, Any]:
    """Returns use -> row -> metric -> mean and bounds; the same again under `new-shop`."""
    report: dict[str, Any] = {}
    for result in results:
        if result.skipped:
            report[result.use.name] = {"skipped": result.skipped}
            continue
        report[result.use.name] = _rows(result.rows)
        if result.new_shop:
            report[result.use.name][NEW_SHOP] = _rows(result.new_shop)
    return report


def print_results(results: Sequence[UseResult], protocol: Protocol, console: Console) -> None:
    """Prints one line a row of every use."""
    table = Table(title=f"Uses, {protocol.window} window, 95% intervals over units", box=None)
    for name in ("use", "metric", "row", "full shop", "new shop"):
        table.add_column(name, justify="right" if name.endswith("shop") else "left")
    for result in results:
        if result.skipped:
            table.add_row(result.use.name, "", "", result.skipped, "")
            continue
        for metric in result.use.metrics:
            for row in dict.fromkeys((*result.rows, *result.new_shop)):
                full, new = (
                    part.get(row, {}).get(metric) for part in (result.rows, result.new_shop)
                )
                table.add_row(result.use.name, metric, row, _cell(full), _cell(new))
    console.print(table)
    for result in results:
        if result.served:
            shares = ", ".join(f"{name} in {n}" for name, n in result.served.items())
            console.print(f"{result.use.name}: shops serve {shares}")
    console.print(_cost(released_for([r.use for r in results if not r.skipped]), protocol))


def _rows(rows: Rows) -> dict[str, Any]:
    return {
        row: {metric: value.to_json() for metric, value in metrics.items()}
        for row, metrics in rows.items()
    }


def _cell(value: Interval | None) -> str:
    return "" if value is None else f"{value.mean:.3f} ({value.low:.3f} to {value.high:.3f})"


def _cost(released: Sequence[Use], protocol: Protocol) -> str:
    if not released:
        return "Nothing leaves a shop for these uses."
    plan = protocol.plan
    names = " and ".join(use.name for use in released)
    if plan.epsilon is None:
        return f"Moments of {names} without noise: a comparison, not a release."
    return (
        f"Moments of {names}: one release with noise {plan.noise_multiplier:g} "
        f"({plan.noise}), {plan.share:g} of the budget of epsilon {plan.epsilon:g} at delta "
        f"{plan.delta:g}; {protocol.seeds} seeds."
    )
