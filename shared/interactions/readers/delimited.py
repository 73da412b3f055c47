"""Text tables and Parquet files, read strictly: every fault names its file, row and column."""

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

TABLE_SUFFIXES = (".csv", ".parquet")
"""Endings of files that `read_table` reads."""

_MAX_BLOCK = 1 << 30


def read_table(path: Path) -> RawTable:
    """Reads a CSV file with a header, or a Parquet file.

    Raises:
        DataError: The file is unreadable; see `read_delimited`.
    """
    if path.suffix != ".parquet":
        return read_delimited(path)
    try:
        frame = pyarrow.parquet.read_table(path).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: not a readable Parquet file ({_first_line(error)}); write it again"
        ) from None
    return RawTable(path, frame, first_row=1)


def read_delimited(
    path: Path,
    *,
    delimiter: str = ",",
    names: Sequence[str] | None = None,
    encoding: str = "utf-8",
    quoted: bool = True,
) -> RawTable:
    """Reads a delimited text file; every column is text, an empty cell is missing.

    Rows are counted as records, the header (if any) as row 1, empty lines not at all.

    Args:
        path: The file.
        delimiter: Between cells; several characters are allowed where `quoted` is False.
        names: Column names of a file without a header; None reads them from the first row.
        encoding: Of the text.
        quoted: Whether `"` may enclose a cell.

    Raises:
        DataError: The file is empty, not in `encoding`, or its rows differ in length.
    """
    content = _content(path)
    if encoding != "utf-8":
        content = content.decode(encoding).encode()
    if len(delimiter) > 1:
        content, delimiter = content.replace(delimiter.encode(), b"\x1f"), "\x1f"
    columns = list(names) if names else _header(path, content, delimiter, quoted)
    table = _parse(path, content, columns, delimiter, quoted, skip=0 if names else 1)
    return RawTable(path, table.to_pandas(), first_row=1 if names else 2)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if not content.strip():
        raise DataError(f"{path}: row 1: the file is empty, expected a table; write it again")
    return content.removeprefix(b"\xef\xbb\xbf")


def _header(path: Path, content: bytes, delimiter: str, quoted: bool) -> list[str]:
    line = content.lstrip(b"\r\n").split(b"\n", 1)[0].rstrip(b"\r")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise _not_utf8(path, "row 1") from None
    if "\x00" in text:
        raise _not_utf8(path, "row 1")
    names = next(csv.reader([text], delimiter=delimiter)) if quoted else text.split(delimiter)
    columns = [name.strip() for name in names]
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise DataError(
            f"{path}: row 1, column {repeated[0]}: the name stands {columns.count(repeated[0])} "
            "times, expected once; rename or remove the other columns"
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
            f"{row.actual_columns} cells, expected {len(columns)}; quote cells that hold a "
            "delimiter and close every quote"
        )
    place = re.search(r"column #(\d+): Row #(\d+)", message)
    if "UTF8" in message and place:
        return _not_utf8(path, f"row {place[2]}, column {columns[int(place[1])]}")
    return DataError(f"{path}: not a readable table ({_first_line(message)}); write it again")


def _not_utf8(path: Path, place: str) -> DataError:
    return DataError(
        f"{path}: {place}: the bytes are not UTF-8 text, expected UTF-8; save the file as UTF-8 "
        "(iconv -t utf-8)"
    )


def _first_line(error: object) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
