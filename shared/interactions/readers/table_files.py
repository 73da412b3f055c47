"""Tables of any kind of file, read strictly: every fault names its file, row and column.

With `drop` a row that cannot be used is left out and counted instead: see `row_faults`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from shared.errors import DataError
from shared.interactions.readers.dialect import (
    DELIMITERS,
    Dialect,
    cells_of,
    delimiter_of,
    first_text_line,
    single_line_feeds,
    without_declaration,
)
from shared.interactions.readers.encoding import is_utf8, utf8_by_all, utf8_by_start
from shared.interactions.readers.json_lines import JSON_SUFFIXES, read_json
from shared.interactions.readers.packed_files import (
    PACKED_SUFFIXES,
    first_bytes,
    plain_suffix,
    read_plain,
)
from shared.interactions.readers.parquet_tables import is_parquet, parquet_names, read_parquet
from shared.interactions.readers.raw_table import RawTable
from shared.interactions.readers.row_faults import RowFaults, keep_rows

_KINDS = (".csv", ".tsv", ".parquet", *JSON_SUFFIXES)
TABLE_SUFFIXES = (*_KINDS, *(kind + packed for kind in _KINDS for packed in PACKED_SUFFIXES))
"""Endings of files that `read_table` reads."""

OWN_NAMES = ("user_id", "item_id", "datetime", "event_type", "title", "position")
"""Names that tell which delimiter a header has."""

_MAX_BLOCK = 1 << 30


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name."""
    return plain_suffix(path) in _KINDS


def column_names(path: Path) -> frozenset[str]:
    """Returns the names of a table's columns, as its header or schema has them.

    JSON has none; nothing is said of a file that cannot be read.
    """
    if plain_suffix(path) in JSON_SUFFIXES:
        return frozenset()
    if plain_suffix(path) == ".parquet" or is_parquet(path):
        return parquet_names(path)
    content, _ = utf8_by_start(first_bytes(path), "ignore")
    content, declared = without_declaration(single_line_feeds(content))
    header = first_text_line(content).decode("utf-8", "replace")
    delimiters = (declared,) if declared else DELIMITERS
    return frozenset(name for mark in delimiters for name in cells_of(header, mark))


def read_table(path: Path, *, drop: bool = False, known: Collection[str] = OWN_NAMES) -> RawTable:
    """Reads a text table with a header, JSON lines or a Parquet file, packed or not.

    Args:
        path: The file.
        drop: Whether rows that cannot be used are left out and counted.
        known: Names of columns, which tell how a text table is punctuated.

    Raises:
        DataError: The file is unreadable; see `read_delimited`.
    """
    if plain_suffix(path) == ".parquet" or is_parquet(path):
        return read_parquet(path, drop=drop)
    if plain_suffix(path) in JSON_SUFFIXES:
        return read_json(path, drop=drop)
    return read_delimited(path, delimiter=None, drop=drop, known=known)


def read_delimited(
    path: Path,
    *,
    delimiter: str | None = ",",
    names: Sequence[str] | None = None,
    fallback: str | None = None,
    quoted: bool = True,
    drop: bool = False,
    known: Collection[str] = OWN_NAMES,
) -> RawTable:
    """Reads a delimited text file; every column is text, an empty cell is missing.

    Rows are counted as records, the header (if any) as row 1, empty lines not at all.

    Args:
        path: The file.
        delimiter: Between cells; several characters are allowed where `quoted` is False. None takes
            it from the header.
        names: Column names of a file without a header; None reads them from the first row.
        fallback: Encoding of this layout where a file is not UTF-8; None looks at the bytes.
        quoted: Whether `"` may enclose a cell.
        drop: Whether rows that cannot be used are left out and counted; no cell may hold a line
            feed then, and the first bytes alone tell the encoding.
        known: Names of columns, for finding the delimiter.

    Raises:
        DataError: The file is empty, in no encoding that is known for sure, or its rows differ in
            length.
    """
    content = read_plain(path)
    # A file without a header may well be that of a shop without users.
    if not content.strip() and not (drop and names is not None):
        raise DataError(
            f"{path}: row 1: the file is empty, expected a table", remedy="write it again"
        )
    text = _TextFile(path, delimiter, names, quoted, drop, known)
    try:
        content, words = utf8_by_start(content)
    except UnicodeDecodeError:
        raise _not_utf8(path, "row 1") from None
    try:
        return text.read(content, words)
    except _NotUtf8Error as fault:
        other = None if drop and fallback is None else _decoded(content, fallback)
        if other is None:
            raise _not_utf8(path, fault.place) from None
        return text.read(*other)


def _decoded(content: bytes, fallback: str | None) -> tuple[bytes, str] | None:
    if fallback is None:
        return utf8_by_all(content)
    return content.decode(fallback).encode(), ""


class _NotUtf8Error(Exception):
    """A cell is not UTF-8; `place` says where."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


class _TextFile:
    """How one text file is to be read; the arguments are those of `read_delimited`."""

    def __init__(
        self,
        path: Path,
        delimiter: str | None,
        names: Sequence[str] | None,
        quoted: bool,
        drop: bool,
        known: Collection[str],
    ) -> None:
        self.path = path
        self.delimiter = delimiter
        self.names = names
        self.quoted = quoted
        self.drop = drop
        self.known = known

    def read(self, content: bytes, encoding: str) -> RawTable:
        """Reads content that should be UTF-8; `encoding` is what it was before, for the notes."""
        content = single_line_feeds(content)
        dialect, content = self._dialect(content)
        delimiter = dialect.delimiter
        # Arrow takes delimiters of one byte; MovieLens 1M separates by "::". A cell that held 0x1f,
        # ASCII's unit separator, would be refused as one cell too many.
        if len(delimiter) > 1:
            content, delimiter = content.replace(delimiter.encode(), b"\x1f"), "\x1f"
        columns = list(self.names) if self.names else self._header(content, delimiter)
        faults = RowFaults() if self.drop else None
        if faults is None and not is_utf8(content):
            raise self._damage(content, columns, delimiter)
        if faults is not None:
            content = keep_rows(
                content,
                faults,
                n_cells=len(columns),
                delimiter=delimiter,
                quoted=self.quoted,
                header=not self.names,
            )
        table = self._parse(content, columns, delimiter)
        taken = [f"read as {encoding}"] if encoding else []
        taken += [str(dialect)] if self.delimiter is None and delimiter != "," else []
        raw = RawTable(self.path, table.to_pandas(), 1 if self.names else 2, faults)
        raw.notes.extend(taken)
        return raw

    def _dialect(self, content: bytes) -> tuple[Dialect, bytes]:
        if self.delimiter is not None:
            return Dialect(self.delimiter), content
        content, declared = without_declaration(content)
        if declared:
            return Dialect(declared, declared=True), content
        header = first_text_line(content).decode("utf-8", "replace")
        return Dialect(delimiter_of(header, self.known)), content

    def _header(self, content: bytes, delimiter: str) -> list[str]:
        try:
            text = first_text_line(content).decode()
        except UnicodeDecodeError:
            raise _NotUtf8Error("row 1") from None
        if "\x00" in text:
            raise _not_utf8(self.path, "row 1")
        cells = cells_of(text, delimiter) if self.quoted else text.split(delimiter)
        # Spreadsheets and indices of frames leave columns without a name; they are not read.
        columns = [name.strip() or f"unnamed {n}" for n, name in enumerate(cells, start=1)]
        refuse_repeated(self.path, columns)
        return columns

    def _damage(self, content: bytes, columns: list[str], delimiter: str) -> _NotUtf8Error:
        """Names the first cell that is not UTF-8."""
        try:
            content.decode()
        except UnicodeDecodeError as error:
            before = content[: error.start]
            start = before.rfind(b"\n") + 1
            row = 1 + sum(1 for line in before[:start].split(b"\n") if line.strip(b"\r"))
            cells = before[start:].count(delimiter.encode())
            return _NotUtf8Error(f"row {row}, column {columns[min(cells, len(columns) - 1)]}")
        return _NotUtf8Error("row 1")

    def _parse(self, content: bytes, columns: list[str], delimiter: str) -> pa.Table:
        ragged: list[pyarrow.csv.InvalidRow] = []

        def remember(row: pyarrow.csv.InvalidRow) -> str:
            ragged.append(row)
            return "error"

        content = content if content.endswith(b"\n") else content + b"\n"
        try:
            return pyarrow.csv.read_csv(
                pa.BufferReader(content),
                # One block and one thread: rows are numbered for errors only then, and a quoted
                # cell with line feeds is never cut at a block's end.
                read_options=pyarrow.csv.ReadOptions(
                    use_threads=False,
                    block_size=min(len(content) + 1, _MAX_BLOCK),
                    column_names=columns,
                    skip_rows=0 if self.names else 1,
                ),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=delimiter,
                    quote_char='"' if self.quoted else False,
                    newlines_in_values=self.quoted,
                    invalid_row_handler=remember,
                ),
                # All text: inferred types would turn the id 007 into 7, default nulls the id NA
                # into "".
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types={name: pa.string() for name in columns},
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):  # a header alone is a table without rows
                return pa.table({name: pa.array([], pa.string()) for name in columns})
            raise _explain(self.path, columns, ragged, str(error)) from None


def refuse_repeated(path: Path, columns: Sequence[str]) -> None:
    """Refuses a table with two columns of one name.

    Raises:
        DataError: Names it.
    """
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise DataError(
            f"{path}: row 1, column {repeated[0]}: the name stands {columns.count(repeated[0])} "
            "times, expected once",
            remedy="rename or remove the other columns",
        )


def _explain(
    path: Path, columns: list[str], ragged: list[pyarrow.csv.InvalidRow], message: str
) -> Exception:
    if ragged:
        row = ragged[0]
        return DataError(
            f"{path}: row {row.number}, column {min(row.actual_columns, len(columns))}: found "
            f"{row.actual_columns} cells, expected {len(columns)}",
            remedy="quote cells that hold a delimiter and close every quote",
        )
    return DataError(
        f"{path}: not a readable table ({message.splitlines()[0][:200]})", remedy="write it again"
    )


def _not_utf8(path: Path, place: str) -> DataError:
    return DataError(
        f"{path}: {place}: the bytes are not UTF-8 text, expected UTF-8",
        remedy="save the file as UTF-8 (iconv -f ENCODING -t utf-8)",
    )
