"""Parquet files: what a column holds is kept exactly, whatever kind the writer gave it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from shared.errors import DataError
from shared.interactions.readers.packed_files import open_plain, read_plain
from shared.interactions.readers.raw_table import RawTable
from shared.interactions.readers.row_faults import RowFaults

_MAGIC = b"PAR1"
_NULLABLE = {
    getattr(pa, name)(): getattr(pd, f"{name.capitalize().replace('Ui', 'UI')}Dtype")()
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
}
"""Whole numbers with gaps stay whole numbers: as floats, two large ids become one."""


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its first bytes."""
    try:
        with open_plain(path) as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except (OSError, EOFError, pa.ArrowException):
        return False


def parquet_names(path: Path) -> frozenset[str]:
    """Returns the names of a file's columns; none where it cannot be read."""
    try:
        packed = path.open("rb").read(len(_MAGIC)) != _MAGIC
        source = pa.BufferReader(read_plain(path)) if packed else path
        return frozenset(map(str, pyarrow.parquet.ParquetFile(source).schema_arrow.names))
    except (pa.ArrowException, OSError, DataError):
        return frozenset()


def read_parquet(path: Path, *, drop: bool = False) -> RawTable:
    """Reads a Parquet file; an index of a frame is a column by its name.

    Args:
        path: The file, packed as a whole or not.
        drop: Whether rows with a cell that Python cannot hold are dropped and counted.

    Raises:
        DataError: It is not readable, or a cell cannot be held.
    """
    try:
        packed = path.open("rb").read(len(_MAGIC)) != _MAGIC
        source = pa.BufferReader(read_plain(path)) if packed else path
        # `ParquetFile` takes no columns from the names of folders, as `read_table` would.
        table = pyarrow.parquet.ParquetFile(source).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: not a readable Parquet file ({str(error).splitlines()[0][:200]})",
            remedy="write it again",
        ) from None
    faults = RowFaults() if drop else None
    names = [str(name) for name in table.column_names]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise DataError(
            f"{path}: column {repeated} stands {names.count(repeated)} times, expected once",
            remedy="rename or remove the other columns",
        )
    raw = RawTable(path, pd.DataFrame(index=range(len(table))), 1, faults)
    columns = {name: _column(raw, name, table[name]) for name in names}
    return replace(raw, frame=pd.DataFrame(columns, index=range(len(table))))


def _column(raw: RawTable, name: str, cells: pa.ChunkedArray) -> pd.Series[Any]:
    """Turns a column into one of pandas; a cell that cannot be held marks or ends its row."""
    try:
        cells = _plain(cells)
        cells.validate(full=True)  # text that is not UTF-8 would fail later
        column: pd.Series[Any] = cells.to_pandas(
            types_mapper=_NULLABLE.get if cells.null_count else None, date_as_object=False
        )
        return column.reset_index(drop=True)
    except (pa.ArrowException, ValueError, OverflowError):
        pairs = [_cell(scalar) for scalar in cells]
        wrong: npt.NDArray[np.bool_] = np.array([not good for _, good in pairs], dtype=bool)
        raw.refuse(
            wrong,
            name,
            pd.Series([""] * len(pairs), dtype="str"),
            expected="text in UTF-8 or a number in the bounds of its kind",
            remedy="write the file again",
        )
        return pd.Series([value for value, _ in pairs], dtype=object)


def _plain(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Takes off what only describes how values are stored."""
    kind = cells.type
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.UuidType):
        cells = cells.cast(kind.storage_type)
    elif pa.types.is_dictionary(kind):
        cells = cells.cast(kind.value_type)
    elif isinstance(kind, pa.UuidType):
        cells = pa.chunked_array([[str(cell.as_py() or "") for cell in cells]], pa.string())
    kind = cells.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or _is_fixed(kind):
        cells = cells.cast(pa.binary()).cast(pa.string())
    return cells


def _is_fixed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_binary(kind))


def _cell(scalar: pa.Scalar) -> tuple[object, bool]:
    try:
        value = scalar.as_py()
    except (pa.ArrowException, ValueError, OverflowError):
        return None, False
    if isinstance(value, bytes):
        try:
            return value.decode(), True
        except UnicodeDecodeError:
            return None, False
    return value, True
