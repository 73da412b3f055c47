"""Writes the page and the file of a sweep."""

from __future__ import annotations

from pathlib import Path

from simulation.report.write import write_file
from simulation.sweep.page import sweep_page
from simulation.sweep.schema import SweepReport

JSON, PAGE = "sweep.json", "sweep.html"


def write_sweep(sweep: SweepReport, folder: Path) -> None:
    """Writes `sweep.html` and, last, `sweep.json`.

    Raises:
        StorageError: A file cannot be written.
    """
    write_file(folder / PAGE, sweep_page(sweep).encode())
    write_file(folder / JSON, sweep.to_json().encode())
