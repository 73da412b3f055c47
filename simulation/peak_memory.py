"""The largest memory of a run, its worker processes included."""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType

import psutil


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
