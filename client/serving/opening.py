"""From a data folder or a filled database to a service that can answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from client.serving.given import read_given
from client.serving.items import ItemTable
from client.serving.loading import load
from client.serving.outside import Released
from client.serving.service import Service
from client.serving.settings import ServingSettings
from client.serving.snapshot import Snapshot
from client.serving.space import Space
from client.serving.swapping import Watch
from client.serving.texts import (
    TextVectors,
    catalogue_base,
    plain_space,
    space_of_adapter,
)
from client.serving.vectors import ItemVectors
from client.store.faults import hide_password
from client.store.importing import choose_shop
from client.store.store import Store
from shared.config import DataSettings, ModelSettings
from shared.errors import DataError
from shared.interactions.load import load_dataset


@dataclass(frozen=True)
class Opening:
    """What a node serves.

    Attributes:
        store: Database URL.
        data: Folder or file to import first; None where the database is filled.
        shop: Which of the data's shops; None where there is one.
        adapter: Adapter folder, or the folder of the shop's node; None serves the shop's own
            signals alone.
        settings: Of the service.
        model: Encoder and width, for a shop without an adapter.
    """

    store: str
    data: DataSettings | None = None
    shop: str | None = None
    adapter: Path | None = None
    settings: ServingSettings = field(default_factory=ServingSettings)
    model: ModelSettings = field(default_factory=ModelSettings)


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
    unit = store.fact("time_unit") or "days"
    snapshot = Snapshot.beside(opening.store)
    loaded = load(store, snapshot)
    if len(loaded.items.rows) < 2:
        raise DataError(
            f"store={hide_password(opening.store)} holds {len(loaded.items.rows)} items, needs at "
            "least 2; import some with --data PATH"
        )
    watch = Watch(opening.adapter)
    texts, space, released = _space(loaded.items, opening, unit)
    engine = loaded.engine(space, unit=unit, released=released)
    service = Service(
        store,
        engine,
        texts=texts,
        settings=opening.settings,
        snapshot=snapshot,
        watch=watch,
    )
    service.take_kept_mixes()
    return service


def _space(
    items: ItemTable, opening: Opening, unit: str
) -> tuple[TextVectors, Space, Released | None]:
    """Encodes all items, by the adapter's base or by one fitted to the catalogue."""
    texts = ["" if item is None else item.text for item in items.items]
    given = None if opening.adapter is None else read_given(opening.adapter)
    encoder = TextVectors(catalogue_base(texts, opening.model) if given is None else given.base)
    vectors = ItemVectors.of(encoder.of_items(texts), int8=opening.settings.int8)
    if given is None or given.saved is None:
        return encoder, plain_space(encoder.base, vectors, unit=unit), None
    space = space_of_adapter(given.saved, vectors, name=given.name, unit=unit)
    return encoder, space, given.released
