"""Progress of a long command: bars with time left on stderr, and the seconds of each phase."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TextIO

from rich.console import Console
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
