"""Text tables and Parquet files, read strictly: every fault names its file, row and column.

With `drop` a row that cannot be used is left out and counted instead: see `row_faults`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from shared.errors import DataError
from shared.interactions.readers.raw_table import RawTable
from shared.interactions.readers.row_faults import RowFaults, frame_of, keep_rows

TABLE_SUFFIXES = (".csv", ".parquet")
"""Endings of files that `read_table` reads."""

_MAX_BLOCK = 1 << 30


def read_table(path: Path, *, drop: bool = False) -> RawTable:
    """Reads a CSV file with a header, or a Parquet file.

    Args:
        path: The file.
        drop: Whether rows that cannot be used are left out and counted.

    Raises:
        DataError: The file is unreadable; see `read_delimited`.
    """
    if path.suffix != ".parquet":
        return read_delimited(path, drop=drop)
    faults = RowFaults() if drop else None
    try:
        table = pyarrow.parquet.read_table(path)
        frame = table.to_pandas() if faults is None else frame_of(table, faults)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: not a readable Parquet file ({_first_line(error)})", remedy="write it again"
        ) from None
    return RawTable(path, frame, 1, faults)


def read_delimited(
    path: Path,
    *,
    delimiter: str = ",",
    names: Sequence[str] | None = None,
    encoding: str = "utf-8",
    quoted: bool = True,
    drop: bool = False,
) -> RawTable:
    """Reads a delimited text file; every column is text, an empty cell is missing.

    Rows are counted as records, the header (if any) as row 1, empty lines not at all.

    Args:
        path: The file.
        delimiter: Between cells; several characters are allowed where `quoted` is False.
        names: Column names of a file without a header; None reads them from the first row.
        encoding: Of the text.
        quoted: Whether `"` may enclose a cell.
        drop: Whether rows that cannot be used are left out and counted; no cell may hold a line
            feed then.

    Raises:
        DataError: The file is empty, not in `encoding`, or its rows differ in length.
    """
    # A file without a header may well be that of a shop without users.
    content = _content(path, may_be_empty=drop and names is not None)
    if encoding != "utf-8":
        content = content.decode(encoding).encode()
    # Arrow takes delimiters of one byte; MovieLens 1M separates by "::". A cell that held 0x1f,
    # ASCII's unit separator, would be refused as one cell too many.
    if len(delimiter) > 1:
        content, delimiter = content.replace(delimiter.encode(), b"\x1f"), "\x1f"
    columns = list(names) if names else _header(path, content, delimiter, quoted)
    faults = RowFaults() if drop else None
    if faults is not None:
        content = keep_rows(
            content,
            faults,
            n_cells=len(columns),
            delimiter=delimiter,
            quoted=quoted,
            header=not names,
        )
    table = _parse(path, content, columns, delimiter, quoted, skip=0 if names else 1)
    return RawTable(path, table.to_pandas(), 1 if names else 2, faults)


def _content(path: Path, *, may_be_empty: bool = False) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror})", remedy="check the path"
        ) from None
    if not content.strip() and not may_be_empty:
        raise DataError(
            f"{path}: row 1: the file is empty, expected a table", remedy="write it again"
        )
    # Excel's UTF-8 begins with a byte order mark, which would be part of the first column's name.
    return content.removeprefix(b"\xef\xbb\xbf")


def _header(path: Path, content: bytes, delimiter: str, quoted: bool) -> list[str]:
    line = content.lstrip(b"\r\n").split(b"\n", 1)[0].rstrip(b"\r")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise _not_utf8(path, "row 1") from None
    # UTF-16 without a byte order mark is valid UTF-8, with a zero byte beside each ASCII letter.
    if "\x00" in text:
        raise _not_utf8(path, "row 1")
    names = next(csv.reader([text], delimiter=delimiter)) if quoted else text.split(delimiter)
    columns = [name.strip() for name in names]
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise DataError(
            f"{path}: row 1, column {repeated[0]}: the name stands {columns.count(repeated[0])} "
            "times, expected once",
            remedy="rename or remove the other columns",
        )
    return columns


def _parse(
    path: Path, content: bytes, columns: list[str], delimiter: str, quoted: bool, *, skip: int
) -> pa.Table:
    ragged: list[pyarrow.csv.InvalidRow] = []

    def remember(row: pyarrow.csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(content + b"\n"),
            # One block and one thread: rows are numbered for errors only then, and a quoted cell
            # with line feeds is never cut at a block's end.
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False,
                block_size=min(len(content) + 2, _MAX_BLOCK),
                column_names=columns,
                skip_rows=skip,
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
                invalid_row_handler=remember,
            ),
            # All text: inferred types would turn the id 007 into 7, default nulls the id NA into ""
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in columns},
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):  # a header alone is a table without rows
            return pa.table({name: pa.array([], pa.string()) for name in columns})
        raise _explain(path, columns, ragged, str(error)) from None


def _explain(
    path: Path, columns: list[str], ragged: list[pyarrow.csv.InvalidRow], message: str
) -> DataError:
    if ragged:
        row = ragged[0]
        return DataError(
            f"{path}: row {row.number}, column {min(row.actual_columns, len(columns))}: found "
            f"{row.actual_columns} cells, expected {len(columns)}",
            remedy="quote cells that hold a delimiter and close every quote",
        )
    place = re.search(r"column #(\d+): Row #(\d+)", message)
    if "UTF8" in message and place:
        return _not_utf8(path, f"row {place[2]}, column {columns[int(place[1])]}")
    return DataError(
        f"{path}: not a readable table ({_first_line(message)})", remedy="write it again"
    )


def _not_utf8(path: Path, place: str) -> DataError:
    return DataError(
        f"{path}: {place}: the bytes are not UTF-8 text, expected UTF-8",
        remedy="save the file as UTF-8 (iconv -t utf-8)",
    )


def _first_line(error: object) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
