"""Counters that outlive their process: a round, a request and the endpoint are processes apart."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric

from shared.errors import StorageError
from shared.runtime.file_store import write_atomic

LOG = logging.getLogger("fedprofile.tally")


@dataclass(frozen=True)
class CounterSpec:
    """What is counted.

    Attributes:
        name: As Prometheus calls it, with `_total` at its end.
        text: One line of help.
        labels: Names of its labels; each takes few values, none of them about users.
    """

    name: str
    text: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class CounterFile:
    """Counters in one file of the owner, safe for several processes.

    Attributes:
        path: The file; a lock lies beside it.
    """

    path: Path

    def add(self, counted: CounterSpec, amount: float = 1, **labels: str) -> None:
        """Adds to a counter. What cannot be written is lost: no round ends because of it."""
        place = _label_key([labels[name] for name in counted.labels])
        try:
            with self._alone():
                values = self._read()
                known = values.setdefault(counted.name, {})
                known[place] = known.get(place, 0.0) + amount
                write_atomic(
                    self.path,
                    json.dumps(values, sort_keys=True).encode(),
                    durable=True,
                    private=True,
                )
        except (OSError, StorageError) as error:
            LOG.warning("%s is not counted: %s", counted.name, error)

    @contextmanager
    def timed(self, counted: CounterSpec, **labels: str) -> Iterator[None]:
        """Adds the seconds that a block takes, also where it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(counted, time.perf_counter() - started, **labels)

    def metrics(self, table: Sequence[CounterSpec]) -> Iterator[Metric]:
        """Yields counters for Prometheus; one without labels starts at 0."""
        values = self._read()
        for counted in table:
            family = CounterMetricFamily(counted.name, counted.text, labels=counted.labels)
            known = values.get(counted.name, {})
            for place, value in sorted((known if counted.labels else {"[]": 0.0, **known}).items()):
                family.add_metric(json.loads(place), value)
            yield family

    def _read(self) -> dict[str, dict[str, float]]:
        """Reads all counters; a damaged file counts from 0, as after a restart."""
        try:
            values = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        whole = isinstance(values, dict) and all(map(_are_counts, values.values()))
        return values if whole else {}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _are_counts(counts: Any) -> bool:
    return isinstance(counts, dict) and all(isinstance(v, (int, float)) for v in counts.values())


def _label_key(labels: list[str]) -> str:
    return json.dumps(labels)
