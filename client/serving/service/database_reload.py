"""What another process wrote into the database, taken in while answers go on.

Only imports and commands of the owner do that. The state is built anew from the database beside the
present one, and put in its place once it knows every event that came in the meantime.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import sqlalchemy as sa

from client.recommenders.tables.item_vectors import ItemVectors, ProfileSpace
from client.serving.features.item_table import ItemTable
from client.serving.features.text_vectors import TextVectors, catalogue_base, plain_space
from client.serving.service.write_through import WriteThrough
from client.serving.state.engine import RecommendationEngine
from client.serving.state.loader import load_shop, load_state, stored_generation
from client.serving.state.snapshot import SnapshotContent
from client.store.imports.importing import TIME_UNIT
from shared.errors import ModelError

_log = logging.getLogger(__name__)


class DatabaseReload:
    """Builds the state anew where the database is not what the memory holds.

    Args:
        service: Whose database it is.
    """

    def __init__(self, service: WriteThrough) -> None:
        self._service = service

    def is_due(self) -> bool:
        """Says whether another process wrote, or the catalogue has outgrown its base."""
        engine = self._service.engine
        with self._service.store.reading() as connection:
            stored = stored_generation(connection)
        with engine.lock:
            return engine.generation != stored or self._outgrown(len(engine.items.rows))

    def _outgrown(self, n_items: int) -> bool:
        return self._service.texts.base.outgrown_by(n_items)

    def run(self) -> bool:
        """Builds the state anew and sets it; False where the database changed meanwhile."""
        service, store = self._service, self._service.store
        time_unit = store.fact(TIME_UNIT) or "days"
        loaded = load_state(store, None)
        texts, space = self._space(loaded.items, time_unit)
        released = service.engine.sources.federated.released
        built = loaded.engine(space, time_unit=time_unit, released=released)
        state = SnapshotContent.of(built)

        def catch_up(connection: sa.Connection) -> RecommendationEngine | None:
            # In the writer: no event can come between this reading and the new state.
            if stored_generation(connection) != state.generation:
                return None
            late = load_shop(connection, state)
            if late.items.rows != loaded.items.rows:
                return None  # items came meanwhile, whose vectors are not there yet
            engine = late.engine(space, time_unit=time_unit)
            # Same rows, so what was computed for `built` holds; anew, all writes would wait for it.
            engine.sources = replace(
                engine.sources,
                federated=built.sources.federated,
                federated_ease=built.sources.federated_ease,
            )
            return engine

        def put(engine: RecommendationEngine | None) -> bool:
            if engine is None:
                return False
            for user_id in service.engine.take_over(engine):
                service.online.forget(user_id)
            service.texts = texts
            service.snapshot.discard()
            return True

        done: bool = store.write(catch_up, put).result()
        _log.info("database read again: %s", "in place" if done else "changed meanwhile")
        return done

    def _space(self, items: ItemTable, time_unit: str) -> tuple[TextVectors, ProfileSpace]:
        present, texts = self._service.engine.sources.space, self._service.texts
        described = ["" if item is None else item.encoded_text for item in items.items]
        int8 = present.vectors.values is None
        asked = texts.base.asked
        try:
            if asked is None or not self._outgrown(len(items.rows)):
                vectors = ItemVectors.of(texts.of_items(described), int8=int8)
                return texts, replace(present, vectors=vectors)
        except ModelError:
            if asked is None:  # an adapter's base, which nothing here can fit anew
                raise
        texts = TextVectors(catalogue_base(described, asked))
        vectors = ItemVectors.of(texts.of_items(described), int8=int8)
        return texts, plain_space(texts.base, vectors, time_unit=time_unit)
