"""A shop's database as the service uses it: reads at once, writes through the one writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from client.store.database import open_database, writing
from client.store.faults import translated
from client.store.importing import Progress, import_shop
from client.store.reading import read_fact
from client.store.writer import Writer
from client.store.writing import put_fact
from shared.interactions.events import Catalogue, Shop


class Store:
    """An open database.

    Args:
        url: `sqlite:///path` or `postgresql://...`.

    Raises:
        ConfigError: As `open_database`.
        StoreUnavailableError: As `open_database`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = open_database(url)
        self._writer = Writer(self.engine, url)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Opens a connection that sees one state of the database."""
        with translated(self.url), self.engine.connect() as connection, connection.begin():
            yield connection

    def write(
        self,
        change: Callable[[sa.Connection], Any],
        then: Callable[[Any], Any] = lambda value: value,
    ) -> Future[Any]:
        """Asks the writer for a change; see `Writer.submit`."""
        return self._writer.submit(change, then)

    def import_shop(
        self,
        shop: Shop,
        catalogue: Catalogue,
        *,
        time_unit: str,
        progress: Progress | None = None,
    ) -> int:
        """Imports a shop before serving begins; see `importing.import_shop`."""
        with translated(self.url), writing(self.engine) as connection:
            return import_shop(connection, shop, catalogue, time_unit=time_unit, progress=progress)

    def fact(self, name: str) -> Any:
        """Returns a single value, None where it was never set."""
        with self.reading() as connection:
            text = read_fact(connection, name)
        return None if text is None else json.loads(text)

    def set_fact(self, name: str, value: Any) -> Future[Any]:
        """Sets a single value."""
        text = json.dumps(value)
        return self.write(lambda connection: put_fact(connection, name, text))

    def close(self) -> None:
        """Finishes all writes and closes."""
        self._writer.close()
        self.engine.dispose()
