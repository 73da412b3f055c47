"""Tables that lie in several files: what Spark, Hive, Dask, BigQuery and the like write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from shared.errors import DataError
from shared.interactions.readers.packed_files import plain_name
from shared.interactions.readers.table_files import is_table

_PART = re.compile(
    r"part[-.]?r?-?\d+.*"  # Spark, Hadoop, Dask: part-00000-c000.snappy.parquet, part.0.parquet
    r"|.*-\d{5}-of-\d{5}.*"  # Beam, Hugging Face
    r"|\d{6}_\d+.*"  # Hive: 000000_0
    r"|\d{4,}_part_\d+.*"  # Redshift
    r"|data_\d+(_\d+)*\..*"  # DuckDB, Snowflake
    r"|.*[-_]\d{12}\..*"  # BigQuery
    r"|.*\.part-?\d+\..*"
)
_MARKERS = ("_SUCCESS", "_metadata", "_common_metadata", "_committed_", "_started_")
_VERSIONED = {"_delta_log": "Delta", "metadata": "Iceberg", ".hoodie": "Hudi"}
_EMPTY = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Part:
    """One file of a table.

    Attributes:
        path: The file.
        constants: Columns that the names of its folders give, such as `dt=2024-05-31`.
    """

    path: Path
    constants: tuple[tuple[str, str], ...] = ()


def is_partitioned(folder: Path) -> bool:
    """Whether a folder holds one table in parts: by a marker, the names of its files or folders.

    Raises:
        DataError: The folder keeps older versions of its rows as well.
    """
    names = [path.name for path in folder.iterdir()]
    _refuse_versions(folder)
    return (
        any(name.startswith(_MARKERS) for name in names)
        or any(_PART.fullmatch(name) for name in names if not name.startswith((".", "_")))
        or any(_constant(path) for path in folder.iterdir() if path.is_dir())
    )


def parts_of(folder: Path, *, apart: tuple[str, ...] = ()) -> list[Part]:
    """Returns the files of a table in parts, by name.

    Args:
        folder: The table's folder.
        apart: Stems of files beside them that are other tables.

    Raises:
        DataError: No file is there.
    """
    parts = [part for part in _walk(folder, ()) if plain_name(part.path).split(".")[0] not in apart]
    if not parts:
        raise DataError(f"{folder}: holds no part of a table", remedy="write it again")
    return parts


def _walk(folder: Path, constants: tuple[tuple[str, str], ...]) -> Iterator[Part]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        if path.is_dir():
            if constant := _constant(path):
                yield from _walk(path, (*constants, constant))
        elif is_table(path) or _PART.fullmatch(path.name):
            yield Part(path, constants)


def _constant(folder: Path) -> tuple[str, str] | None:
    name, mark, value = folder.name.partition("=")
    return (unquote(name), "" if value == _EMPTY else unquote(value)) if mark and name else None


def _refuse_versions(folder: Path) -> None:
    for name, kind in _VERSIONED.items():
        if (folder / name).is_dir() and (
            kind != "Iceberg" or any((folder / name).glob("*.metadata.json"))
        ):
            raise DataError(
                f"{folder}: is a table of {kind}, whose files hold rows of older versions too",
                remedy="export the current version as Parquet or CSV",
            )
