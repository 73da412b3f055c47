"""Small exports of one shop, written and read by the real reader."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from client.store.imports.import_source import import_into
from client.store.imports.importing import ImportOptions, ImportReport
from client.store.store import Store
from shared.settings.run_settings import DataSettings

ITEMS = [{"item_id": f"i{n}", "title": f"tea {n}", "price": str(n + 1)} for n in range(6)]
Row = Mapping[str, Any]


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Writes rows of equal columns as CSV."""
    rows = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_export(
    folder: Path,
    events: Iterable[Row],
    *,
    items: Iterable[Row] | None = ITEMS,
    users: Iterable[Row] | None = None,
) -> Path:
    """Writes one export; what was in the folder goes."""
    folder.mkdir(exist_ok=True)
    for name, rows in (("interactions", events), ("items", items), ("users", users)):
        (folder / f"{name}.csv").unlink(missing_ok=True)
        if rows is not None:
            write_table(folder / f"{name}.csv", rows)
    return folder


def import_export(
    store: Store, folder: Path, options: ImportOptions | None = None, **settings: Any
) -> ImportReport:
    """Reads an export and imports it."""
    return import_into(store, DataSettings(source=str(folder), **settings), None, options)


def event(user: str, item: str, day: int, **more: Any) -> Row:
    """Returns one event of May 2024."""
    return {"user_id": user, "item_id": item, "datetime": f"2024-05-{day:02d}T10:00:00", **more}
