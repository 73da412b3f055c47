"""An import as an owner runs it: from a file, a folder or standard input, saying how far it is."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from client.store.database import translated
from client.store.database import writing as writing_to
from client.store.imports.importing import ImportOptions, ImportReport, import_rows
from client.store.reading import EPOCH
from client.store.store import Store
from shared.errors import ConfigError, DataError
from shared.interactions.datasets.shop_rows import read_shop_rows
from shared.interactions.readers.packed_files import first_bytes
from shared.runtime.file_store import writing
from shared.settings.run_settings import DataSettings

STANDARD_INPUT = "-"
"""What names standard input in `--data`."""
SECONDS_A_LINE = 3.0
"""Between two lines of progress, at a terminal and elsewhere."""
_SUFFIXES = ((b"PAR1", ".parquet"), (b"{", ".jsonl"))
Say = Callable[[str], None]


class Progress:
    """Says what goes on, a line every few seconds, from a thread of its own.

    Args:
        say: Gets the lines.
        seconds: Between two lines.
    """

    def __init__(self, say: Say, *, seconds: float = SECONDS_A_LINE) -> None:
        self._say, self._seconds = say, seconds
        self._stage, self._begun = "", time.monotonic()
        self._end = threading.Event()

    def stage(self, name: str) -> None:
        """Names what is done from here on."""
        self._stage = name

    def written(self, done: int, total: int) -> None:
        """Notes how many events are written, of how many."""
        self._stage = f"writing events: {done} of {total}"

    @contextmanager
    def running(self) -> Iterator[Progress]:
        """Says lines until the block ends."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join()

    def _run(self) -> None:
        while not self._end.wait(self._seconds):
            self._say(f"{time.monotonic() - self._begun:.0f} s: {self._stage}")


def import_source(
    url: str,
    data: DataSettings,
    shop: str | None,
    options: ImportOptions | None = None,
    *,
    say: Say = lambda _line: None,
) -> ImportReport:
    """Imports a source into the database of a URL.

    Args:
        url: Of the database.
        data: The source; its name is - for standard input.
        shop: Which of the data's shops.
        options: What the owner wants.
        say: Gets lines while it takes long.

    Raises:
        DataError: The source cannot be used, or loses too much.
        StoreUnavailableError: The database cannot be used.
    """
    store = Store(url)
    try:
        with Progress(say).running() as progress, _named(data) as named:
            return import_into(store, named, shop, options, progress=progress)
    finally:
        store.close()


def import_into(
    store: Store,
    data: DataSettings,
    shop: str | None,
    options: ImportOptions | None = None,
    *,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports a source's items and one shop's users and events into an open database.

    Raises:
        DataError: The source cannot be read, it loses too much, or which shop is meant is not
            clear.
    """
    if progress is not None:
        progress.stage(f"reading {data.source}")
    # A full export's own list of items is all there is; another may name items of earlier ones.
    known = () if options is not None and options.replace else store.item_ids()
    rows = read_shop_rows(data, shop=shop, known_items=known)
    if progress is not None:
        progress.stage(f"comparing {len(rows)} events with what is stored")
    written = None if progress is None else progress.written
    with translated(store.url), writing_to(store.engine) as connection:
        return import_rows(connection, rows, options, progress=written)


@contextmanager
def _named(data: DataSettings) -> Iterator[DataSettings]:
    """Puts standard input into a file for as long as it is read."""
    if data.source != STANDARD_INPUT:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="fedprofile-") as folder:  # mode 700
        path = _spooled(sys.stdin.buffer, Path(folder))
        yield data.model_copy(update={"source": str(path)})


def _spooled(stream: BinaryIO, folder: Path) -> Path:
    start = stream.read(1 << 16)
    if not start.strip():
        raise DataError(
            "is empty, expected a table", name="data", value="-", remedy="send CSV or Parquet"
        )
    raw = folder / "raw"
    remedy = "free some space in the folder for temporary files, TMPDIR"
    with writing(raw, remedy=remedy), raw.open("wb") as file:
        file.write(start)
        shutil.copyfileobj(stream, file)
    start = first_bytes(raw).lstrip()  # the readers see by the content, too, how it is packed
    suffix = next((s for mark, s in _SUFFIXES if start.startswith(mark)), ".csv")
    return raw.rename(folder / f"standard-input{suffix}")


def moment_of(text: str, *, ranks: bool) -> float:
    """Reads a date as days since 1970, or a rank.

    Raises:
        ConfigError: It is none.
    """
    try:
        if ranks:
            return float(text)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            "must be a rank" if ranks else "must be an ISO date such as 2026-05-31",
            name="since",
            value=f"{text!r}",
            remedy="correct --since",
        ) from None
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - EPOCH) / timedelta(days=1)


def _place(example: dict[str, Any]) -> str:
    """Says where a dropped row stands, and which of its cells is the reason."""
    return ", ".join(f"{name} {value!r}" for name, value in example.items() if value is not None)


def report_lines(report: ImportReport) -> list[str]:
    """Says what became of a source, in words."""
    read = f"{report.rows_read} rows read"
    lost = sum(report.dropped.values())
    lines = [f"{report.events} events imported ({read}, {lost} dropped)"]
    if not report.wrote:
        lines = [f"nothing new: all is stored already ({read}, {lost} dropped)"]
    lines += [f"  {note}" for note in report.notes]
    for name, count in report.dropped.items():
        lines.append(f"  dropped {count} {name}: {report.reasons[name]}")
        for example in report.examples.get(name, ())[:1]:
            lines.append(f"    for example {_place(example)}")
    for count, words in (
        (report.unchanged, "rows are stored already"),
        (report.changed, "events changed"),
        (report.repeated, "rows have an event_id that stands again further down"),
        (report.before_since, "rows are from before --since, or older than events are held"),
        (report.suppressed, "rows are of users or items that were deleted, and stay out"),
        (report.removed, "events removed that the source lacks"),
    ):
        if count:
            lines.append(f"  {count} {words}")
    for what, counts in (("items", report.items), ("users", report.users)):
        parts = [f"{n} {name}" for name, n in counts.items() if n and name != "deleted"]
        if parts:
            lines.append(f"  {what}: {', '.join(parts)}")
    return lines
