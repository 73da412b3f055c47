"""Finds out how a source is laid out, and reads it; the project's own layout is read here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from shared.errors import DataError
from shared.interactions.readers.layouts.amazon import is_amazon, read_amazon
from shared.interactions.readers.layouts.by_header import HeaderLayout, headers_of
from shared.interactions.readers.layouts.hm import HM
from shared.interactions.readers.layouts.instacart import INSTACART
from shared.interactions.readers.layouts.movielens import RATING_FILES, read_movielens
from shared.interactions.readers.layouts.recbole import (
    check_one_dataset,
    is_recbole,
    read_recbole,
)
from shared.interactions.readers.layouts.rees46 import REES46
from shared.interactions.readers.layouts.retailrocket import RETAILROCKET
from shared.interactions.readers.layouts.yoochoose import YOOCHOOSE_FILES, read_yoochoose
from shared.interactions.readers.packed_files import PACKED_SUFFIXES, first_bytes, plain_name
from shared.interactions.readers.parsed_tables import ParsedTables, events_tables, merge, text_table
from shared.interactions.readers.partitions import Part, is_partitioned, parts_of
from shared.interactions.readers.raw_table import RawTable
from shared.interactions.readers.table_files import TABLE_SUFFIXES, is_table, read_table
from shared.settings.run_settings import DataSettings

OWN_LAYOUT = "fedprofile"
"""Name of the layout in the report."""

EVENTS_TABLE = "interactions"
"""Name of the table of events."""

SIDE_TABLES = ("items", "users")
"""Names of the tables beside the events."""

BY_HEADER: tuple[HeaderLayout, ...] = (REES46, HM, INSTACART, RETAILROCKET)
"""Layouts that the header of their events tells."""

EXPECTED = (
    "interactions.csv or .parquet (.tsv, .jsonl) with items.csv or .parquet, a folder or file for "
    "each shop, RecBole .inter, MovieLens u.data, ratings.dat or ratings.csv, Amazon .jsonl or "
    ".json, or the files of Instacart, H&M, RetailRocket, REES46 or Yoochoose; all plain, .gz or "
    ".zst"
)
"""The layouts, in words."""


def find_table(folder: Path, stem: str) -> list[Part]:
    """Returns the files of a table in a folder: one, the parts of a folder, or none.

    Raises:
        DataError: The table is there more than once.
    """
    names = [stem + suffix for suffix in ("", *TABLE_SUFFIXES)]
    paths = [path for name in names if (path := folder / name).exists()]
    paths = [path for path in paths if path.is_dir() or path.suffix]
    # `interactions` without an ending may also be a shop's own folder.
    paths = [path for path in paths if path.is_file() or is_partitioned(path) or path.suffix]
    if len(paths) > 1:
        kinds = [path.suffix.lstrip(".").upper() or "a folder" for path in paths]
        kinds = ["Parquet" if kind == "PARQUET" else kind for kind in kinds]
        raise DataError(
            f"{folder}: found {stem} as {' and as '.join(kinds)}, expected one", remedy="remove one"
        )
    if not paths:
        return []
    return parts_of(paths[0]) if paths[0].is_dir() else [Part(paths[0])]


def read_own(parts: Sequence[Part], folder: Path, settings: DataSettings) -> ParsedTables:
    """Reads a table of events, and the items and users in a folder beside it.

    Args:
        parts: The files of the table.
        folder: Where items and users are.
        settings: Names the shop and order columns.

    Raises:
        DataError: A file is unreadable or lacks a column.
    """
    drop = settings.drops_malformed
    tables = _events(parts, settings)
    items, users = (read_side(folder, name, drop=drop) for name in SIDE_TABLES)
    sides = [part.path for name in SIDE_TABLES for part in find_table(folder, name)]
    return replace(tables, items=items, users=users, files=(*tables.files, *sides))


def _events(parts: Sequence[Part], settings: DataSettings) -> ParsedTables:
    read = [
        events_tables(_read_part(part, drop=settings.drops_malformed), settings, layout=OWN_LAYOUT)
        for part in parts
    ]
    return merge(read, layout=OWN_LAYOUT) if len(read) > 1 else read[0]


def _read_part(part: Part, *, drop: bool) -> RawTable:
    """Reads one file; the names of its folders are columns that it does not have itself."""
    raw = read_table(part.path, drop=drop)
    constants = {n: value for n, value in part.constants if n not in raw.frame.columns}
    return replace(raw, frame=raw.frame.assign(**constants)) if constants else raw


def read_side(folder: Path, stem: str, *, drop: bool = False) -> pd.DataFrame | None:
    """Reads `items` or `users` as text, or None where the folder has no such table."""
    parts = find_table(folder, stem)
    key = f"{stem.removesuffix('s')}_id"
    tables = [text_table(_read_part(part, drop=drop), key) for part in parts]
    return pd.concat(tables, ignore_index=True).fillna("") if tables else None


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
    if is_recbole(path):
        return read_recbole([path], settings)
    if plain_name(path) in YOOCHOOSE_FILES:
        return read_yoochoose(path, settings)
    if _is_movielens(path):
        return read_movielens(path, settings)
    if is_table(path):
        by_header = _read_by_header([path], settings)
        if by_header is not None:
            return by_header
        if plain_name(path).split(".")[0] == EVENTS_TABLE or not is_amazon(path):
            return read_own([Part(path)], path.parent, settings)
    if is_amazon(path):
        return _read_reviews(path, settings)
    raise DataError(f"{path}: ending {path.suffix!r} is not known", remedy=f"expected {EXPECTED}")


def _read_reviews(path: Path, settings: DataSettings) -> ParsedTables:
    name = f"meta_{path.name[: len(plain_name(path))]}"
    metas = [path.with_name(name + ending) for ending in ("", *PACKED_SUFFIXES)]
    # Reviews of the users with five or more are called after the category that the items are in.
    metas += [meta.with_name(meta.name.replace("_5.json", ".json")) for meta in metas]
    return read_amazon([path, *[file for file in metas if file.is_file()][:1]], settings)


def _read_by_header(events: Sequence[Path], settings: DataSettings) -> ParsedTables | None:
    """Reads events of a layout that is known by its header, with the tables beside them."""
    headers = headers_of([path for path in events if is_table(path)])
    for layout in BY_HEADER:
        files = layout.events(list(headers), headers)
        if files:
            every = headers_of(sorted(p for p in files[0].parent.iterdir() if p.is_file()))
            return layout.read(files, every, settings)
    return None


def _read_folder(folder: Path, settings: DataSettings) -> ParsedTables | None:
    events = find_table(folder, EVENTS_TABLE)
    if events:
        return read_own(events, folder, settings)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    atomic = [path for path in files if is_recbole(path)]
    if atomic:
        check_one_dataset(atomic)
        return read_recbole(atomic, settings)
    for path in files:
        if plain_name(path) in YOOCHOOSE_FILES or _is_movielens(path):
            return _read_file(path, settings)
    tables = _read_by_header(files, settings)
    if tables is not None:
        return tables
    if is_partitioned(folder):
        parts = parts_of(folder, apart=SIDE_TABLES)
        return _read_by_header([part.path for part in parts], settings) or read_own(
            parts, folder, settings
        )
    reviews = [path for path in files if is_amazon(path) and not _is_side(path)]
    return read_amazon(reviews, settings) if reviews else _read_shops(folder, settings)


def _is_side(path: Path) -> bool:
    return plain_name(path).split(".")[0] in SIDE_TABLES


def _is_movielens(path: Path) -> bool:
    if plain_name(path) != "ratings.csv":
        return plain_name(path) in RATING_FILES
    header = first_bytes(path)[:4096]
    # A download that broke off leaves an empty file: without this the movies beside it would be
    # taken for a shop's events, and the error would name the wrong file.
    empty = not header.strip() and path.with_name("movies.csv").is_file()
    return empty or b"movieId" in header.replace(b"\x00", b"").split(b"\n")[0]


def _read_shops(folder: Path, settings: DataSettings) -> ParsedTables | None:
    """Reads one folder or one file a shop; items of the whole at the top, or the shops' own."""
    parts, unread = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        tables = None
        if path.is_dir():
            if path.name in SIDE_TABLES and is_partitioned(path):
                continue
            tables = _read_folder(path, settings)
            if tables is None:
                unread.append(path.name)
        elif is_table(path) and not _is_side(path):
            tables = _events([Part(path)], settings)
        if tables is not None:
            shop_id = path.name if path.is_dir() else Path(plain_name(path)).stem
            shop_id = path.name[: len(shop_id)]
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
