"""How a text table is punctuated, by its header alone: no row decides how others are read."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from dataclasses import dataclass

DELIMITERS = (",", ";", "\t", "|")
"""What may stand between cells, the likeliest first."""

_DECLARED = re.compile(rb'\s*"?sep=(.)"?\s*', re.IGNORECASE)
_LINE = re.compile(rb"\r\n|\n|\r")
_NAMES = {"\t": "tabs", ",": "commas"}


@dataclass(frozen=True)
class Dialect:
    """The punctuation of a file.

    Attributes:
        delimiter: Between cells.
        declared: Whether a first line `sep=;` says it.
    """

    delimiter: str
    declared: bool = False

    def __str__(self) -> str:
        return f"separated by {_NAMES.get(self.delimiter, repr(self.delimiter))}"


def first_text_line(content: bytes) -> bytes:
    """Returns the first line that is not empty, without its end."""
    return _LINE.split(content.lstrip(b"\r\n")[: 1 << 20], maxsplit=1)[0]


def single_line_feeds(content: bytes) -> bytes:
    """Returns content whose lines end in carriage returns alone with line feeds in their place."""
    end = _LINE.search(content.lstrip(b"\r\n")[: 1 << 20])
    return content.replace(b"\r", b"\n") if end and end.group() == b"\r" else content


def without_declaration(content: bytes) -> tuple[bytes, str]:
    """Takes a first line `sep=;`, which spreadsheets write, off; returns what it says, else ""."""
    line = first_text_line(content)
    match = _DECLARED.fullmatch(line) if line.lower().lstrip(b' "').startswith(b"sep=") else None
    if match is None:
        return content, ""
    rest = content.lstrip(b"\r\n")[len(line) :]
    return _LINE.sub(b"", rest, count=1), match[1].decode("ascii", "replace")


def delimiter_of(header: str, known: Collection[str]) -> str:
    """Returns the delimiter with which a header has most names that are known, else most cells."""

    def score(delimiter: str) -> tuple[int, int, int]:
        names = cells_of(header, delimiter)
        return len(set(names) & set(known)), len(names), -DELIMITERS.index(delimiter)

    return max(DELIMITERS, key=score)


def cells_of(line: str, delimiter: str) -> list[str]:
    """Returns the trimmed cells of one line."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
