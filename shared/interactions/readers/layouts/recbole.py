"""RecBole atomic files: `.inter`, `.item`, `.user`, tab-separated with typed headers.

Layout: https://recbole.io/docs/user_guide/data/atomic_files.html. A benchmark's parts, such as
`NAME.train.inter` and `NAME.valid.inter`, share `NAME.item` and `NAME.user`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from shared.errors import DataError
from shared.interactions.readers.packed_files import beside, plain_name
from shared.interactions.readers.parsed_tables import (
    COLUMNS,
    ParsedTables,
    events_tables,
    merge,
    text_table,
)
from shared.interactions.readers.raw_table import RawTable
from shared.interactions.readers.table_files import read_delimited
from shared.settings.run_settings import DataSettings

FIELD_TYPES = ("token", "token_seq", "float", "float_seq")
"""Types that may follow the colon in a header."""

_ENDING = ".inter"
_ITEM_NAMES = {"movie_title": "title", "class": "category", "genre": "category"}


def is_recbole(path: Path) -> bool:
    """Whether a file holds interactions by its name."""
    return plain_name(path).endswith(_ENDING)


def dataset_name(path: Path) -> str:
    """Returns the name that the parts of one data set share: `x` of `x.train.inter`."""
    return path.name[: plain_name(path).rindex(_ENDING)].partition(".")[0]


def check_one_dataset(files: Sequence[Path]) -> None:
    """Refuses several data sets, or a whole one beside its parts, which would count twice.

    Raises:
        DataError: Names the files.
    """
    names = {dataset_name(path) for path in files}
    whole = [path for path in files if plain_name(path).count(".") == 1]
    if len(files) > 1 and (len(names) > 1 or whole):
        listed = ", ".join(path.name for path in files)
        raise DataError(
            f"{files[0].parent}: found {listed}, expected one .inter file or the parts of one data "
            "set such as x.train.inter and x.valid.inter",
            remedy="give one with --data",
        )


def read_recbole(files: Sequence[Path], settings: DataSettings) -> ParsedTables:
    """Reads one `.inter` file or the parts of one data set, with its items and users.

    Raises:
        DataError: A file is unreadable, or its header has no types.
    """
    parts = [_interactions(path, settings) for path in files]
    tables = merge(parts, layout="recbole") if len(parts) > 1 else parts[0]
    items, users = (_side(files[0], ending) for ending in (".item", ".user"))
    drop = settings.drops_malformed
    return replace(
        tables,
        items=_items(items) if items else None,
        users=text_table(_read_typed(users, drop=drop)[0], "user_id") if users else None,
        files=(*tables.files, *(path for path in (items, users) if path)),
    )


def _interactions(path: Path, settings: DataSettings) -> ParsedTables:
    raw, _ = _read_typed(path, drop=settings.drops_malformed)
    return events_tables(
        raw,
        settings,
        layout="recbole",
        columns=COLUMNS | {"datetime": "timestamp"},
        event_type="rating" if "rating" in raw.frame.columns else "purchase",
    )


def _side(interactions: Path, ending: str) -> Path | None:
    """Finds the file of items or users: that of the part itself, or that of its data set."""
    own = interactions.name[: plain_name(interactions).rindex(_ENDING)]
    for name in dict.fromkeys((own, own.rpartition(".")[0], dataset_name(interactions))):
        path = beside(interactions, name + ending) if name else None
        if path is not None:
            return path
    return None


def _read_typed(path: Path, *, drop: bool = False) -> tuple[RawTable, dict[str, str]]:
    raw = read_delimited(path, delimiter="\t", quoted=False, drop=drop)
    types = {}
    for header in raw.frame.columns:
        name, _, kind = str(header).partition(":")
        if kind not in FIELD_TYPES:
            raise DataError(
                f"{path}: row 1, column {header}: expected name:type with a type of "
                f"{', '.join(FIELD_TYPES)}",
                remedy="write the header as RecBole does",
            )
        types[name] = kind
    if len(types) < len(raw.frame.columns):
        raise DataError(
            f"{path}: row 1: a name stands twice, expected each once", remedy="rename the columns"
        )
    return replace(raw, frame=raw.frame.set_axis(list(types), axis="columns")), types


def _items(path: Path) -> pd.DataFrame:
    """Keeps tokens (ids, names, sequences of words) and the price; other numbers are no text."""
    raw, types = _read_typed(path)
    columns = [name for name, kind in types.items() if kind.startswith("token") or name == "price"]
    items = text_table(replace(raw, frame=raw.frame[columns]), "item_id")
    renamed = {old: new for old, new in _ITEM_NAMES.items() if new not in items.columns}
    return items.rename(columns=renamed)
