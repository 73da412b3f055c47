"""`fedprofile bench`."""

from __future__ import annotations

from pathlib import Path

import click

from shared.environment import capture
from simulation.bench.audit_figures import audit_figures
from simulation.bench.dp_step import overhead
from simulation.bench.figures import Figure, page
from simulation.bench.ledger_figures import ledger_figures
from simulation.bench.runs import default_simulation, many_shops
from simulation.report.write import write_file


def dp_step() -> list[Figure]:
    """Measures a private step against a plain one."""
    private, plain, ratio = overhead()
    note = f"{1000 * private:.0f} ms against {1000 * plain:.0f} ms of one core, 246 users, rank 32"
    return [Figure("DP step against the same step without privacy", ratio, 1.15, "times", note)]


PARTS = {
    "simulation": default_simulation,
    "dp-step": dp_step,
    "many-shops": many_shops,
    "ledger": ledger_figures,
    "audit": audit_figures,
}


@click.command()
@click.option("--only", type=click.Choice(list(PARTS)), multiple=True, help="Measure a part only.")
@click.option(
    "--write",
    type=click.Path(path_type=Path),
    default=Path("docs/benchmarks.md"),
    show_default=True,
    help="Where all figures are written; a part alone is only printed.",
)
def bench(*, only: tuple[str, ...], write: Path) -> None:
    """Measure time and memory on this machine."""
    figures: list[Figure] = []
    for name in only or PARTS:
        for figure in PARTS[name]():
            figures.append(figure)
            mark = "ok" if figure.is_met else "above"
            click.echo(
                f"{mark:<6}{figure.name}: {figure.value:.3g} {figure.unit} "
                f"(bound {figure.bound:g}); {figure.note}"
            )
    if not only:
        write_file(write, page(figures, capture(device="see the machine")).encode())
