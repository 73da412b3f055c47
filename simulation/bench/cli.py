"""`fedprofile bench`."""

from __future__ import annotations

from pathlib import Path

import click

from shared.environment import capture
from simulation.bench.figures import Figure
from simulation.bench.groups import GROUPS
from simulation.bench.page import merged, section
from simulation.report.write import write_file


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
        page = merged(old, {name: section(figures, environment)}, order=GROUPS)
        write_file(write, page.encode())


def line(figure: Figure) -> str:
    """Returns a figure as one line for a terminal."""
    mark = "ok" if figure.is_met else "above"
    return (
        f"{mark:<6}{figure.name}: {figure.value:.3g} {figure.unit} (bound {figure.bound:g}); "
        f"{figure.note}"
    )
