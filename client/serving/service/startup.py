"""From a data folder or a filled database to a service that can answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from client.recommenders.tables.item_vectors import ItemVectors, ProfileSpace
from client.serving.features.encoder_scripts import unread_script
from client.serving.features.federated_statistics import ReleasedStatistics
from client.serving.features.item_table import ItemTable
from client.serving.features.text_vectors import (
    TextVectors,
    catalogue_base,
    plain_space,
    space_of_adapter,
)
from client.serving.service.adapter_reload import AdapterWatch
from client.serving.service.service import Service
from client.serving.service.serving_bundle import ServingBundle, read_serving_bundle
from client.serving.service.settings import ServingSettings
from client.serving.state.loader import load_state
from client.serving.state.snapshot import Snapshot
from client.store.imports.import_source import Progress, Say, import_into, report_lines
from client.store.serving_lock import ServingLock, served_already
from client.store.store import Store
from shared.model.packaged_encoder import PACKAGED_NAME
from shared.settings.run_settings import DataSettings, ModelSettings


@dataclass(frozen=True)
class ServingSource:
    """What a node serves.

    Attributes:
        store: Database URL.
        data: Folder or file to import first; None where the database is filled.
        shop: Which of the data's shops; None where there is one.
        adapter: Adapter folder, or the folder of the shop's node; None serves the shop's own
            signals alone.
        settings: Of the service.
        model: Encoder and width, for a shop without an adapter.
        looks_only: Whether another process may serve the database; nothing is kept beside it then.
    """

    store: str
    data: DataSettings | None = None
    shop: str | None = None
    adapter: Path | None = None
    settings: ServingSettings = field(default_factory=ServingSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    looks_only: bool = False


def open_service(source: ServingSource, *, say: Say = lambda _line: None) -> Service:
    """Opens the database, imports where asked, and builds the state in memory.

    Args:
        source: What is served.
        say: Gets lines about the import.

    Raises:
        FedprofileError: The database, the data or the adapter cannot be used.
    """
    watch = AdapterWatch(source.adapter)  # before the adapter is read: a later one is noticed
    # Read first: a mistake in its name ends it before a long import.
    bundle = None if source.adapter is None else read_serving_bundle(source.adapter)
    store = Store(source.store)
    try:
        lock = ServingLock.take(store.engine)
        if lock is None and not source.looks_only:
            raise served_already(source.store)
        store.lock = lock
        if source.data is not None:
            with Progress(say).running() as progress:
                report = import_into(store, source.data, source.shop, progress=progress)
            for line in report_lines(report):
                say(line)
        service = _build(store, source, bundle, watch)
        _warn_of_script(service, say)
        return service
    except BaseException:
        store.close()
        raise


def _warn_of_script(service: Service, say: Say) -> None:
    texts = (item.encoded_text for item in service.engine.items.items if item is not None)
    settings = service.texts.base.settings
    script = unread_script(texts, settings)
    if script is not None:
        say(
            f"encoder={settings.encoder} does not read {script}, which most item texts are written "
            "in: their likeness says little, and search goes by words; take one that reads it, "
            f"such as --encoder {PACKAGED_NAME} (docs/languages.md)"
        )


def _build(
    store: Store, source: ServingSource, bundle: ServingBundle | None, watch: AdapterWatch
) -> Service:
    time_unit = store.fact("time_unit") or "days"
    snapshot = Snapshot.beside(source.store, mark=store.content_mark, writes=store.lock is not None)
    loaded = load_state(store, snapshot)
    texts, space, released = _space(loaded.items, source, bundle, time_unit)
    engine = loaded.engine(space, time_unit=time_unit, released=released)
    service = Service(
        store,
        engine,
        texts=texts,
        settings=source.settings,
        snapshot=snapshot,
        watch=watch,
    )
    service.load_denied()
    service.rule_book.load()
    service.load_stored_weights()
    return service


def _space(
    items: ItemTable, source: ServingSource, bundle: ServingBundle | None, time_unit: str
) -> tuple[TextVectors, ProfileSpace, ReleasedStatistics | None]:
    """Encodes all items, by the adapter's base or by one fitted to the catalogue."""
    texts = ["" if item is None else item.encoded_text for item in items.items]
    encoder = TextVectors(catalogue_base(texts, source.model) if bundle is None else bundle.base)
    vectors = ItemVectors.of(encoder.of_items(texts), int8=source.settings.int8)
    if bundle is None or bundle.saved is None:
        return encoder, plain_space(encoder.base, vectors, time_unit=time_unit), None
    space = space_of_adapter(bundle.saved, vectors, name=bundle.name, time_unit=time_unit)
    return encoder, space, bundle.released
