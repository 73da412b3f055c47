"""JSON: one object a line, or one array of objects; each cell keeps the kind that it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from shared.errors import DataError
from shared.interactions.readers.encoding import utf8_by_start
from shared.interactions.readers.packed_files import UNPACK_ERRORS, open_plain, read_plain
from shared.interactions.readers.raw_table import RawTable, cell_text
from shared.interactions.readers.row_faults import MAX_LINE, RowFaults

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
"""Endings of JSON files."""

Record = dict[str, Any]

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE = re.compile("[\ud800-\udfff]")
_FAULTS = (ValueError, TypeError, OverflowError, RecursionError)


def read_json(path: Path, *, fields: Sequence[str] | None = None, drop: bool = False) -> RawTable:
    """Reads records into columns of text; lists stay lists.

    Args:
        path: The file.
        fields: Columns; None takes all fields that occur.
        drop: Whether lines that are no records are left out and counted.

    Raises:
        DataError: A line is no JSON object, or holds half of a surrogate pair.
    """
    faults = RowFaults() if drop else None
    records = [record for _, record in records_of(path, faults)]
    names = list(dict.fromkeys(name for record in records for name in record))
    if fields is not None:
        names = list(fields)
    columns = {name: _column([record.get(name) for record in records]) for name in names}
    return RawTable(path, pd.DataFrame(columns, index=range(len(records))), 1, faults)


def records_of(
    path: Path, faults: RowFaults | None = None, *, mend: bool = False
) -> Iterator[tuple[int, Record]]:
    """Yields each record with its number, empty lines not counted.

    Args:
        path: The file.
        faults: Takes lines that are no records; None ends at the first.
        mend: Whether half of a surrogate pair becomes the sign for an unknown letter.

    Raises:
        DataError: A line is no JSON object, or the file cannot be read.
    """
    row = 0
    try:
        for row, line in enumerate(_lines(path), start=1):
            record = _parse(path, row, line, faults, mend=mend)
            if record is not None:
                yield row, record
    except UNPACK_ERRORS as error:
        raise DataError(
            f"{path}: row {row + 1}: cannot be read ({error})",
            remedy="check the path, or download the file again",
        ) from None


def _lines(path: Path) -> Iterator[bytes | Record]:
    with open_plain(path) as stream:
        start = stream.read(4096)
    plain, encoding = start, ""
    try:
        plain, encoding = utf8_by_start(start[: len(start) // 4 * 4])
    except UnicodeDecodeError:
        encoding = "UTF-16"
    if encoding or plain.lstrip()[:1] == b"[" or (b"\n" not in start and b"\r" in start):
        yield from _whole(path)
        return
    with open_plain(path) as stream:
        for number, line in enumerate(stream):
            if number == 0:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield line


def _whole(path: Path) -> Iterator[bytes | Record]:
    """Reads a file of another form at once: an array, UTF-16, lines that carriage returns end."""
    try:
        content, _ = utf8_by_start(read_plain(path))
    except UnicodeDecodeError:
        raise _not_utf8(path, 1) from None
    if content.lstrip()[:1] != b"[":
        yield from filter(bytes.strip, re.split(rb"\r\n|\n|\r", content))
        return
    try:
        records = json.loads(content)
    except UnicodeDecodeError:
        raise _not_utf8(path, 1) from None
    except _FAULTS:
        # Lines that are arrays, or an array that was cut: each line says what it is.
        yield from filter(bytes.strip, content.split(b"\n"))
        return
    halves = _HALF.search(content) is not None
    for record in records:
        yield json.dumps(record).encode() if halves or not isinstance(record, dict) else record


def _parse(
    path: Path, row: int, line: bytes | Record, faults: RowFaults | None, *, mend: bool
) -> Record | None:
    if isinstance(line, dict):
        return line
    try:
        if faults is not None and len(line) > MAX_LINE:
            raise ValueError("too long")
        record = json.loads(line)
        if not isinstance(record, dict):
            raise TypeError(f"found {type(record).__name__}")
        return _without_halves(record, mend=mend) if _HALF.search(line) else record
    except _FAULTS as error:
        if faults is not None:
            faults.leave_out(row, line)
            return None
        raise _refusal(path, row, error) from None


def _without_halves(record: Record, *, mend: bool) -> Record:
    """Half of a surrogate pair, which a cut in the middle of an emoji leaves, is no text."""
    mended = {}
    for name, value in record.items():
        text = json.dumps([name, value], ensure_ascii=False)
        whole = _LONE.sub("\ufffd", text)
        if whole != text and not mend:
            raise _HalfError(_LONE.sub("\ufffd", name))
        key, mended_value = json.loads(whole)
        mended[key] = mended_value
    return mended


class _HalfError(ValueError):
    """A field holds half of a surrogate pair."""


def _refusal(path: Path, row: int, error: Exception) -> DataError:
    if isinstance(error, UnicodeDecodeError):
        return _not_utf8(path, row)
    if isinstance(error, _HalfError):
        return DataError(
            f"{path}: row {row}, column {error}: found half of a surrogate pair (\\ud83d), "
            "expected text",
            remedy="write the whole letter or none",
        )
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return DataError(
        f"{path}: row {row}, column 1: expected a JSON object on one line ({reason})",
        remedy="download the file again or remove the line",
    )


def _not_utf8(path: Path, row: int) -> DataError:
    return DataError(f"{path}: row {row}: expected UTF-8", remedy="save the file as UTF-8")


def _column(values: list[Any]) -> pd.Series:
    if any(isinstance(value, list | dict) for value in values):
        return pd.Series(values, dtype=object)
    texts = [value if isinstance(value, str) else cell_text(value) for value in values]
    return pd.Series(texts, dtype="str")
