"""A shop's database as the service uses it: any thread reads, one writer thread writes.

SQLite has one writer at a time anyway; in one thread, requests that wait share one commit, whose
flush to the disk is the slow part.
"""

from __future__ import annotations

import json
import queue
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from client.store.changes import put_fact
from client.store.database import (
    StoreUnavailableError,
    open_database,
    reading,
    translated,
    writing,
)
from client.store.reading import IDENTITY_FACT, content_mark, read_fact
from client.store.schema import items
from client.store.serving_lock import ServingLock
from shared.errors import FedprofileError

_MAX_COMMIT = 64
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

    Attributes:
        settle: Called after changes, before they are acknowledged.
    """

    def __init__(self, engine: sa.Engine, url: str) -> None:
        self.settle: Callable[[], None] = _nobody
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
        """Queues a change.

        Args:
            change: Runs in a transaction; a `FedprofileError` of it undoes this change alone.
            then: Gets what `change` returned, after the commit; its value is the future's.
        """
        job = _Job(change, then, Future())
        self._jobs.put(job)
        return job.done

    def close(self) -> None:
        """Finishes what is queued and stops."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            first = self._jobs.get()
            batch = [first]
            while len(batch) < _MAX_COMMIT and batch[-1] is not None:
                try:
                    batch.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            self._commit([job for job in batch if job is not None])
            if batch[-1] is None:
                return

    def _commit(self, jobs: list[_Job]) -> None:
        applied: list[tuple[_Job, Any]] = []
        refused: list[tuple[_Job, Exception]] = []
        if not jobs:
            return
        try:
            with translated(self._url), writing(self._engine) as connection:
                for job in jobs:
                    try:
                        with connection.begin_nested():
                            applied.append((job, job.change(connection)))
                    except FedprofileError as refusal:
                        refused.append((job, refusal))
        except Exception as error:
            # The transaction was rolled back; to acknowledge any request would lose its event.
            cause = error if isinstance(error, FedprofileError) else _unexpected(error)
            for job in jobs:
                job.done.set_exception(cause)
            return
        for job, fault in refused:
            job.done.set_exception(fault)
        followed = [(job, _follow(job, value)) for job, value in applied]
        if followed:
            self.settle()
        for job, (value, problem) in followed:
            if problem is None:
                job.done.set_result(value)
            else:
                job.done.set_exception(problem)


def _follow(job: _Job, value: Any) -> tuple[Any, Exception | None]:
    try:
        return job.then(value), None
    except Exception as error:
        return None, error


def _nobody() -> None:
    """Waits for nobody."""


def _unexpected(error: Exception) -> StoreUnavailableError:
    fault = StoreUnavailableError("the change could not be stored", remedy="send it again")
    fault.__cause__ = error
    return fault


class Store:
    """An open database.

    Args:
        url: `sqlite:///path` or `postgresql://...`.

    Attributes:
        lock: Held where this process keeps the state of the database; goes with `close`.

    Raises:
        ConfigError: As `open_database`.
        StoreUnavailableError: As `open_database`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.lock: ServingLock | None = None
        self.engine = open_database(url)
        self._writer = Writer(self.engine, url)
        if self.fact(IDENTITY_FACT) is None:
            self.set_fact(IDENTITY_FACT, secrets.token_hex(16)).result()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Opens a connection that sees one state of the database."""
        with translated(self.url), reading(self.engine) as connection:
            yield connection

    def write(
        self,
        change: Callable[[sa.Connection], Any],
        then: Callable[[Any], Any] = lambda value: value,
    ) -> Future[Any]:
        """Queues a change for the writer; see `Writer.submit`."""
        return self._writer.submit(change, then)

    def before_acknowledging(self, settle: Callable[[], None]) -> None:
        """Has something done after changes, before they are acknowledged."""
        self._writer.settle = settle

    def item_ids(self) -> list[str]:
        """Returns the ids of all items."""
        with self.reading() as connection:
            return list(connection.scalars(sa.select(items.c.item_id)))

    def fact(self, name: str) -> Any:
        """Returns a single value, None where it was never set."""
        with self.reading() as connection:
            text = read_fact(connection, name)
        return None if text is None else json.loads(text)

    def content_mark(self, last_key: int) -> list[Any]:
        """Returns what tells this database up to an `event_key` from any other."""
        with self.reading() as connection:
            return content_mark(connection, last_key)

    def set_fact(self, name: str, value: Any) -> Future[Any]:
        """Sets a single value."""
        text = json.dumps(value)
        return self.write(lambda connection: put_fact(connection, name, text))

    def close(self) -> None:
        """Finishes all writes and closes."""
        self._writer.close()
        if self.lock is not None:
            self.lock.release()
        self.engine.dispose()
