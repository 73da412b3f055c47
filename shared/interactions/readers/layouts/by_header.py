"""Layouts that are known by the header of their events, whatever the files are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.interactions.readers.parsed_tables import ParsedTables
from shared.interactions.readers.table_files import column_names, is_table
from shared.settings.run_settings import DataSettings

Headers = Mapping[Path, frozenset[str]]
"""Names of the columns of each table in a folder."""


@dataclass(frozen=True)
class HeaderLayout:
    """A layout.

    Attributes:
        columns: What the header of its events has.
        read: Reads the files of events, with the tables beside them.
    """

    columns: frozenset[str]
    read: Callable[[Sequence[Path], Headers, DataSettings], ParsedTables]

    def events(self, files: Sequence[Path], headers: Headers) -> list[Path]:
        """Returns the files that hold its events."""
        return [path for path in files if self.columns <= headers[path]]


def headers_of(files: Sequence[Path]) -> dict[Path, frozenset[str]]:
    """Reads the headers of all tables among some files."""
    return {path: column_names(path) if is_table(path) else frozenset() for path in files}


def tables_with(headers: Headers, *columns: str, stem: str = "") -> list[Path]:
    """Returns the tables that have some columns, or else those whose names begin with a stem.

    A table by its name alone lacks columns or cannot be read, which is then said.
    """
    tables = [path for path in headers if set(columns) <= headers[path]]
    named = [path for path in headers if stem and is_table(path) and path.name.startswith(stem)]
    return tables or named
