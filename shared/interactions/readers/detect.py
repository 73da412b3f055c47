"""Finds out how a source is laid out, and reads it; the project's own layout is read here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from shared.errors import DataError
from shared.interactions.readers.amazon import is_amazon, read_amazon
from shared.interactions.readers.movielens import RATING_FILES, read_movielens
from shared.interactions.readers.parsed_tables import ParsedTables, events_tables, merge, text_table
from shared.interactions.readers.recbole import read_recbole
from shared.interactions.readers.table_files import TABLE_SUFFIXES, read_table
from shared.settings.run_settings import DataSettings

OWN_LAYOUT = "fedprofile"
"""Name of the layout in the report."""

SIDE_TABLES = ("items", "users")
"""Names of the tables beside the events."""


def find_table(folder: Path, stem: str) -> Path | None:
    """Returns the file of a table in a folder, or None.

    Raises:
        DataError: The table is there both as CSV and as Parquet.
    """
    candidates = [folder / f"{stem}{suffix}" for suffix in TABLE_SUFFIXES]
    paths = [path for path in candidates if path.is_file()]
    if len(paths) > 1:
        raise DataError(
            f"{folder}: found {stem} as CSV and as Parquet, expected one", remedy="remove one"
        )
    return paths[0] if paths else None


def read_own(events: Path, settings: DataSettings) -> ParsedTables:
    """Reads an events file and the items and users files beside it.

    Raises:
        DataError: A file is unreadable or lacks a column.
    """
    drop = settings.drops_malformed
    tables = events_tables(read_table(events, drop=drop), settings, layout=OWN_LAYOUT)
    items, users = (read_side(events.parent, name, drop=drop) for name in SIDE_TABLES)
    sides = [path for name in SIDE_TABLES if (path := find_table(events.parent, name))]
    return replace(tables, items=items, users=users, files=(*tables.files, *sides))


def read_side(folder: Path, stem: str, *, drop: bool = False) -> pd.DataFrame | None:
    """Reads `items` or `users` as text, or None where the folder has no such file."""
    path = find_table(folder, stem)
    return text_table(read_table(path, drop=drop), f"{stem.removesuffix('s')}_id") if path else None


EXPECTED = (
    "interactions.csv or .parquet with items.csv or .parquet, a folder or file for each shop, "
    "RecBole .inter, MovieLens u.data, ratings.dat or ratings.csv, or Amazon .jsonl(.gz)"
)
"""The layouts, in words."""


def read_tables(source: Path, settings: DataSettings, *, needs_items: bool = True) -> ParsedTables:
    """Reads a file or folder of any known layout; nothing is half loaded.

    Args:
        source: File or folder.
        settings: Names the shop and order columns.
        needs_items: Whether our own layout must bring its catalogue; False where a public one is
            given.

    Raises:
        DataError: Nothing readable is there, or a file cannot be used.
    """
    if not source.exists():
        raise DataError(
            "does not exist",
            name="source",
            value=source,
            remedy="give a file or folder with --data",
        )
    tables = (_read_file if source.is_file() else _read_folder)(source, settings)
    if tables is None:
        file_names = ", ".join(sorted(path.name for path in source.iterdir())[:10]) or "nothing"
        raise DataError(
            f"{source}: found {file_names}; expected {EXPECTED}", remedy="add or rename the files"
        )
    if needs_items and tables.items is None and OWN_LAYOUT in tables.layout:
        raise DataError(
            f"{source}: found no items.csv or items.parquet, expected one with item_id and texts: "
            "the catalogue is public and must not come from purchases",
            remedy="add it",
        )
    return tables


def _read_file(path: Path, settings: DataSettings) -> ParsedTables:
    if path.suffix == ".inter":
        return read_recbole(path, settings)
    if _is_movielens(path):
        return read_movielens(path, settings)
    if is_amazon(path):
        meta = [path.with_name(f"meta_{path.name}"), path.with_name(f"meta_{path.name}.gz")]
        meta.append(path.with_name(f"meta_{path.name.removesuffix('.gz')}"))
        beside = sorted({file for file in meta if file.is_file()})
        return read_amazon([path, *beside[:1]], settings)
    if path.suffix in TABLE_SUFFIXES:
        return read_own(path, settings)
    raise DataError(f"{path}: ending {path.suffix!r} is not known", remedy=f"expected {EXPECTED}")


def _read_folder(folder: Path, settings: DataSettings) -> ParsedTables | None:
    events = find_table(folder, "interactions")
    if events:
        return read_own(events, settings)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    atomic = [path for path in files if path.suffix == ".inter"]
    if len(atomic) > 1:
        names = ", ".join(path.name for path in atomic)
        raise DataError(
            f"{folder}: found {names}, expected one .inter file", remedy="give one with --data"
        )
    for path in (*atomic, *filter(_is_movielens, files)):
        return _read_file(path, settings)
    amazon = [path for path in files if is_amazon(path)]
    if amazon:
        return read_amazon(amazon, settings)
    return _read_shops(folder, settings)


def _is_movielens(path: Path) -> bool:
    if path.name != "ratings.csv":
        return path.name in RATING_FILES
    with path.open("rb") as stream:
        header = stream.readline(4096)
    # A download that broke off leaves an empty file: without this the movies beside it would be
    # taken for a shop's events, and the error would name the wrong file.
    empty = not header.strip() and path.with_name("movies.csv").is_file()
    return empty or b"movieId" in header


def _read_shops(folder: Path, settings: DataSettings) -> ParsedTables | None:
    """Reads one folder or one file a shop; items of the whole at the top, or the shops' own."""
    parts, unread = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        tables = None
        if path.is_dir():
            tables = _read_folder(path, settings)
            if tables is None:
                unread.append(path.name)
        elif path.suffix in TABLE_SUFFIXES and path.stem not in SIDE_TABLES:
            raw = read_table(path, drop=settings.drops_malformed)
            tables = events_tables(raw, settings, layout=OWN_LAYOUT)
        if tables is not None:
            shop_id = path.name if path.is_dir() else path.stem
            whole = settings.shop_column or settings.drops_malformed  # a shop may have no users
            parts.append(tables if whole else _one_shop(tables, shop_id, path))
    if not parts:
        return None
    if unread:
        raise DataError(
            f"{folder / unread[0]}: no events; expected {EXPECTED}", remedy="add or remove it"
        )
    drop = settings.drops_malformed
    items, users = (read_side(folder, name, drop=drop) for name in SIDE_TABLES)
    return merge(parts, layout=f"shops of {parts[0].layout}", items=items, users=users)


def _one_shop(tables: ParsedTables, shop_id: str, path: Path) -> ParsedTables:
    if tables.events.empty:
        raise DataError(
            f"{path}: shop {shop_id} has 0 events, expected at least 1",
            remedy="add events or remove it",
        )
    return replace(tables, events=tables.events.assign(shop_id=shop_id))
