"""Writes the page and the file about new shops."""

from __future__ import annotations

from pathlib import Path

from simulation.new_shops.page import new_shops_page
from simulation.new_shops.schema import NewShopsReport
from simulation.report.write import write_file

JSON, PAGE = "new-shops.json", "new-shops.html"


def write_new_shops(report: NewShopsReport, folder: Path) -> None:
    """Writes `new-shops.html` and, last, `new-shops.json`.

    Raises:
        StorageError: A file cannot be written.
    """
    write_file(folder / PAGE, new_shops_page(report).encode())
    write_file(folder / JSON, report.to_json().encode())
