"""The one writer of a shop's database: concurrent requests share a commit.

A change is acknowledged after its commit is on the disk and the memory shows it, in that order, so
an answer never knows what a crash could take back, and the next answer knows all before it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from client.store.database import writing
from client.store.faults import StoreUnavailableError, translated
from shared.errors import FedprofileError

_TOGETHER = 64
"""Requests in one commit at most."""


@dataclass(frozen=True, eq=False)
class _Job:
    change: Callable[[sa.Connection], Any]
    then: Callable[[Any], Any]
    done: Future[Any]


class Writer:
    """Runs changes one after another in its own thread.

    Args:
        engine: The database.
        url: Its URL, for errors.
    """

    def __init__(self, engine: sa.Engine, url: str) -> None:
        self._engine = engine
        self._url = url
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(
        self,
        change: Callable[[sa.Connection], Any],
        then: Callable[[Any], Any] = lambda value: value,
    ) -> Future[Any]:
        """Asks for a change.

        Args:
            change: Runs in a transaction; a `FedprofileError` of it undoes this change alone.
            then: Gets what `change` returned, after the commit; its value is the future's.
        """
        job = _Job(change, then, Future())
        self._jobs.put(job)
        return job.done

    def close(self) -> None:
        """Finishes what was asked for and stops."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            first = self._jobs.get()
            batch = [first]
            while len(batch) < _TOGETHER and batch[-1] is not None:
                try:
                    batch.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            self._commit([job for job in batch if job is not None])
            if batch[-1] is None:
                return

    def _commit(self, jobs: list[_Job]) -> None:
        kept: list[tuple[_Job, Any]] = []
        refused: list[tuple[_Job, Exception]] = []
        if not jobs:
            return
        try:
            with translated(self._url), writing(self._engine) as connection:
                for job in jobs:
                    try:
                        with connection.begin_nested():
                            kept.append((job, job.change(connection)))
                    except FedprofileError as refusal:
                        refused.append((job, refusal))
        except Exception as error:
            # Nothing of the batch was kept; each of its requests hears of it.
            cause = error if isinstance(error, FedprofileError) else _unexpected(error)
            for job in jobs:
                job.done.set_exception(cause)
            return
        for job, fault in refused:
            job.done.set_exception(fault)
        for job, value in kept:
            _finish(job, value)


def _finish(job: _Job, value: Any) -> None:
    try:
        job.done.set_result(job.then(value))
    except Exception as error:
        job.done.set_exception(error)


def _unexpected(error: Exception) -> StoreUnavailableError:
    fault = StoreUnavailableError("the change could not be stored; send it again")
    fault.__cause__ = error
    return fault
