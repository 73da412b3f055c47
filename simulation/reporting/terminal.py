"""What every command prints: tables, paths, bars with time left, seconds of each phase, memory."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

import psutil
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column, Table

from simulation.reporting.records import Verdict

VERDICT_COLOURS: dict[Verdict, str] = {"better": "green", "no-better": "", "worse": "red"}
Row = tuple[Sequence[str], str]
"""Cells as markup, and the style of the row."""


def left(header: str) -> Column:
    """Returns a column of names, flush left."""
    return Column(header, no_wrap=True)


def plain_table(columns: Sequence[Column | str], rows: Iterable[Row]) -> Table:
    """Lays out rows without lines, so that narrow terminals show whole tables.

    Args:
        columns: A text stands for a column of figures, flush right.
        rows: Cells in the order of the columns.
    """
    table = Table(
        *(
            Column(column, justify="right", no_wrap=True) if isinstance(column, str) else column
            for column in columns
        ),
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    for cells, style in rows:
        table.add_row(*cells, style=style)
    return table


def print_paths(console: Console, folder: Path, stem: str) -> None:
    """Says where the page and the figures are that `page.write_page` wrote."""
    for what, name in (("Page", f"{stem}.html"), ("Figures", f"{stem}.json")):
        path = escape(str(folder / name))
        console.print(f"[bold]{what:<8}[/] {path}", soft_wrap=True)


class PeakMemory:
    """Samples the memory of a process and its children while a `with` block runs.

    Args:
        interval: Seconds between two samples.
        pid: Of the process; None for this one.
    """

    def __init__(self, *, interval: float = 0.5, pid: int | None = None) -> None:
        self._pid = pid
        self.peak_mb = 0.0
        """Largest sum so far, MB (10^6 bytes); pages that processes share count once."""
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self._sample_tree(psutil.Process(self._pid))

    def _sample_tree(self, process: psutil.Process) -> None:
        children = process.children(recursive=True)
        total = process.memory_info().rss if not children else 0
        for one in (process, *children) if children else ():
            with suppress(psutil.Error):
                memory = one.memory_full_info()
                total += getattr(memory, "pss", memory.rss)
        self.peak_mb = max(self.peak_mb, total / 1e6)


class Phase:
    """One bar; does nothing but count where progress is silent."""

    def __init__(self, bars: Bars | None, task: TaskID) -> None:
        self._bars = bars
        self._task = task
        self.done = 0
        """Steps done."""

    def advance(self, steps: int = 1) -> None:
        """Moves the bar by `steps`."""
        self.update(self.done + steps)

    def update(self, done: int, total: int | None = None) -> None:
        """Sets steps done and, where it is known now, the total.

        Fits callbacks of the form `(done, total)`.
        """
        self.done = done
        if self._bars is not None:
            self._bars.update(self._task, completed=done, total=total)


class Progress:
    """Shows the phases of a command; use it as a context manager.

    Silent with `quiet` and where `stream` is no terminal, so that logs and pipes stay clean.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        console = Console(file=stream or sys.stderr)
        self.silent = quiet or not console.is_terminal
        """Whether nothing is written."""
        self.seconds: dict[str, float] = {}
        """Phase -> wall time; a phase that is entered twice adds up."""
        self._bars: Bars | None = None
        if not self.silent:
            self._bars = Bars(
                SpinnerColumn(finished_text="[green]✓[/]"),
                TextColumn("{task.description}"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
            )

    def __enter__(self) -> Progress:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    @contextmanager
    def phase(
        self, name: str, *, label: str | None = None, total: int | None = None
    ) -> Iterator[Phase]:
        """Opens a bar for a `with` block and adds its wall time to `seconds[name]`.

        Args:
            name: Key of `seconds`, such as `train`.
            label: What the bar says; the name by default.
            total: Steps in all; None until `Phase.update` tells.
        """
        started = time.perf_counter()
        task = TaskID(0)
        if self._bars is not None:
            task = self._bars.add_task(label or name, total=total)
        phase = Phase(self._bars, task)
        try:
            yield phase
            if self._bars is not None:
                steps = max(1, phase.done)
                self._bars.update(task, completed=steps, total=steps)
        finally:
            spent = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
