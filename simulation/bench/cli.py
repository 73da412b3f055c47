"""`fedprofile bench`: the groups of figures, measured in their order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import click

from shared.runtime.environment import capture
from shared.runtime.file_store import write_atomic
from simulation.bench.deployment.figures import deployment_figures, many_nodes_figures
from simulation.bench.deployment.secure_runs import secure_runs_figures
from simulation.bench.engine_comparison import engine_figures
from simulation.bench.ledger import ledger_figures
from simulation.bench.private_training import audit_figures, dp_step
from simulation.bench.secure_aggregation import secure_aggregation_figures
from simulation.bench.serving.figures import serving_figures
from simulation.bench.serving.load_figures import serving_load_figures
from simulation.bench.serving.shop_store import store_figures
from simulation.bench.simulation_runs import default_simulation, many_shops
from simulation.bench.structure import structure_figures
from simulation.reporting.benchmark_page import BenchmarkFigure, merged, section

Measure: TypeAlias = Callable[[], list[BenchmarkFigure]]

GROUPS: dict[str, Measure] = {
    "simulation": default_simulation,
    "dp-step": dp_step,
    "many-shops": many_shops,
    "engines": engine_figures,
    "ledger": ledger_figures,
    "audit": audit_figures,
    "secure-aggregation": secure_aggregation_figures,
    "deployment": deployment_figures,
    "many-nodes": many_nodes_figures,
    "secure-runs": secure_runs_figures,
    "store": store_figures,
    "serving": serving_figures,
    "serving-load": serving_load_figures,
    "structure": structure_figures,
}
BY_HAND = ("mutation",)
"""Sections of the page that a person measured with tools outside the project; they are kept."""


@click.command()
@click.option(
    "--only",
    type=click.Choice(list(GROUPS)),
    multiple=True,
    help="Measure this group; may be given several times. The others keep their lines.",
)
@click.option(
    "--write",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("docs/benchmarks.md"),
    show_default=True,
    help="Page whose sections are replaced, each as soon as it is measured.",
)
def bench(*, only: tuple[str, ...], write: Path) -> None:
    """Measure time and memory on this machine."""
    environment = capture(device="see the machine")
    for name in dict.fromkeys(only or GROUPS):
        figures = GROUPS[name]()
        for figure in figures:
            click.echo(line(figure))
        old = write.read_text(encoding="utf-8") if write.is_file() else ""
        page = merged(old, {name: section(figures, environment)}, order=(*GROUPS, *BY_HAND))
        write_atomic(write, page.encode(), durable=False, private=False)


def line(figure: BenchmarkFigure) -> str:
    """Returns a figure as one line for a terminal."""
    mark = "ok" if figure.is_met else "above"
    return (
        f"{mark:<6}{figure.name}: {figure.value:.3g} {figure.unit} (bound {figure.bound:g}); "
        f"{figure.note}"
    )
