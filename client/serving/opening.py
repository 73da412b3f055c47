"""From a data folder or a filled database to a service that can answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.serving.engine import Engine
from client.serving.items import ItemTable
from client.serving.service import Service
from client.serving.settings import ServingSettings
from client.serving.texts import (
    TextVectors,
    catalogue_base,
    plain_space,
    read_adapter_base,
    space_of_adapter,
)
from client.serving.weights import Mix
from client.store.importing import choose_shop
from client.store.reading import read_events, read_items, read_users
from client.store.store import Store
from shared.config import DataSettings, ModelSettings
from shared.errors import DataError
from shared.interactions.load import load_dataset

MIXES = "mixes"
"""Name of the fact that holds the learned weights."""


@dataclass(frozen=True)
class Opening:
    """What a node serves.

    Attributes:
        store: Database URL.
        data: Folder or file to import first; None where the database is filled.
        shop: Which of the data's shops; None where there is one.
        adapter: Adapter folder; None serves the shop's own signals alone.
        settings: Of the service.
        model: Encoder and width, for a shop without an adapter.
    """

    store: str
    data: DataSettings | None = None
    shop: str | None = None
    adapter: Path | None = None
    settings: ServingSettings = ServingSettings()
    model: ModelSettings = ModelSettings()


def import_data(store: Store, data: DataSettings, shop: str | None) -> int:
    """Imports a source's items and one shop's users and events; returns the number of events.

    Raises:
        DataError: The source cannot be read, or which shop is meant is not clear.
    """
    dataset = load_dataset(data, seed=0)
    chosen = choose_shop(dataset, shop)
    return store.import_shop(chosen, dataset.catalogue, time_unit=dataset.time_unit)


def open_service(opening: Opening) -> Service:
    """Opens the database, imports where asked, and builds the state in memory.

    Raises:
        FedprofileError: The database, the data or the adapter cannot be used.
    """
    store = Store(opening.store)
    try:
        if opening.data is not None:
            import_data(store, opening.data, opening.shop)
        return _build(store, opening)
    except BaseException:
        store.close()
        raise


def _build(store: Store, opening: Opening) -> Service:
    with store.reading() as connection:
        items, users = read_items(connection), read_users(connection)
        rows = read_events(connection)
    if len(items) < 2:
        raise DataError(
            f"store={opening.store} holds {len(items)} items, needs at least 2; import some with "
            "--data PATH"
        )
    unit = store.fact("time_unit") or "days"
    texts = [item.text for _, item in items]
    if opening.adapter is None:
        vectors = TextVectors(catalogue_base(texts, opening.model))
        space = plain_space(vectors.base, vectors.of_items(texts), unit=unit)
    else:
        saved, base = read_adapter_base(opening.adapter)
        vectors = TextVectors(base)
        space = space_of_adapter(
            saved, vectors.of_items(texts), name=opening.adapter.name, unit=unit
        )
    engine = Engine.build(ItemTable(items), users, rows, space, unit=unit)
    learned = store.fact(MIXES)
    if learned is not None and learned["adapter"] == space.adapter:
        engine.set_mixes({name: Mix(**mix) for name, mix in learned["mixes"].items()})
    return Service(store, engine, vectors, opening.settings)
