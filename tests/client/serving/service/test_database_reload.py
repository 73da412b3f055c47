"""A service whose database another process fills, and one that begins with nothing."""

from __future__ import annotations

import numpy as np
import pytest

from client.recommenders.tables.pair_gram import PairGram
from client.serving.features.federated_statistics import ReleasedStatistics
from client.serving.ranking.fusion_weights import public_fusion_weights
from client.serving.service import database_reload
from client.serving.service.adapter_reload import ReloadBusyError
from client.serving.service.service import Service
from client.serving.service.startup import ServingSource, open_service
from client.serving.state.loader import with_federation
from client.store.imports.import_source import import_source
from client.store.imports.importing import ImportOptions
from client.store.schema import Event, Item
from shared.errors import RunExistsError
from shared.releases.noisy_statistics import PairRelease
from shared.releases.pair_sums import n_pairs
from shared.settings.run_settings import DataSettings
from tests.client.serving.small_service import (
    N_ITEMS,
    client_of,
    encoder_settings,
    opened,
    write_adapter,
)
from tests.client.store.sources import event, write_export
from tests.shared.model.tiny_encoders import WORDS


def import_night(service: Service, folder, events, **options) -> None:
    titles = [f"{WORDS[n % 3]} {WORDS[n % 10]}" for n in range(N_ITEMS + 2)]
    items = [{"item_id": f"i{n}", "title": title} for n, title in enumerate(titles)]
    export = write_export(folder / "night", events, items=items)
    data = DataSettings(source=str(export))
    import_source(service.store.url, data, None, ImportOptions(**options))


def test_an_import_beside_a_service_is_served_with_what_came_live(service, tmp_path) -> None:
    before = service.status()["events"]
    service.add_events([Event("live-1", "u1", "i1", 19900.0)]).result()
    import_night(service, tmp_path, [event("night", "i60", 30), event("u1", "i61", 30)])
    service.add_events([Event("live-2", "u1", "i2", 19901.0)]).result()
    service.delete_user("u2").result()  # counts as one change more
    deleted = before - 56
    assert service.database_reload.is_due()
    service.follow_database()
    assert not service.database_reload.is_due()
    assert service.status()["events"] == deleted + 4
    taken = {service.engine.items.item_at(row).item_id for row in service.engine.history("u1").item}
    assert {"i1", "i2", "i61"} <= taken
    assert len(service.engine.history("night")) == 1
    assert len(service.engine.history("u2")) == 0
    with client_of(service) as client:
        found = client.get("/api/search", params={"q": f"{WORDS[1]} {WORDS[1]}", "n": 12}).json()[
            "items"
        ]
        assert "i61" in [item["item_id"] for item in found]


def test_the_image_after_an_import_is_not_the_one_before(service, tmp_path) -> None:
    service.snapshot.save(service.engine)
    import_night(service, tmp_path, [event("night", "i60", 30)])
    service.close()  # writes an image of what it knew
    again = opened(tmp_path)
    assert len(again.engine.history("night")) == 1
    again.close()


def test_a_full_export_takes_away_beside_a_service(service, tmp_path) -> None:
    events = [event(f"u{n}", f"i{n}", 5) for n in range(40)]
    import_night(service, tmp_path, events, replace=True, accept_loss=True)
    service.follow_database()
    assert (service.status()["events"], service.status()["users"]) == (40, 40)


def test_a_second_service_on_one_database_is_refused(service, tmp_path) -> None:
    with pytest.raises(RunExistsError, match="another process"):
        opened(tmp_path)
    source = ServingSource(
        store=service.store.url, model=encoder_settings(tmp_path), looks_only=True
    )
    looks = open_service(source)
    looks.snapshot.save(looks.engine)
    assert not looks.snapshot.path.exists()
    looks.close()
    service.close()
    opened(tmp_path).close()


def test_a_shop_begins_with_an_empty_store_and_http_alone(tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    source = ServingSource(store=url, model=encoder_settings(tmp_path))
    service = open_service(source)
    with client_of(service) as client:
        assert client.get("/api/recommend/u1").json()["items"] == []
        assert client.post("/api/session/recommend", json={"items": []}).status_code == 200
        for n in range(8):
            item = {"item_id": f"i{n}", "text": f"tea bread {n}" if n % 2 else f"ink pen {n}"}
            assert client.post("/api/items", json=[item]).status_code == 201
            sent = {"user_id": f"u{n % 3}", "item_id": f"i{n}"}
            assert client.post("/api/feedback", json=[sent]).status_code == 201
            shown = client.get("/api/recommend/u1?surface=discover").json()["items"]
            new_to_u1 = {f"i{m}" for m in range(n + 1) if m % 3 != 1}
            assert {entry["item_id"] for entry in shown} <= new_to_u1
        service.follow_database()
        assert client.get("/api/recommend/u9?n=8").json()["items"]
        assert client.get("/api/search?q=tea&n=3").json()["items"]
    assert service.texts.base.fitted_on == 8
    again = open_service(source)
    assert again.status()["events"] == 8
    again.close()


def test_a_shop_without_users_leans_on_texts_as_in_the_evaluation(tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    service = open_service(ServingSource(store=url, model=encoder_settings(tmp_path)))
    engine = service.engine
    expected = public_fusion_weights(engine.sources, sparse=True, has_users=False)
    assert engine.fusion_weights == expected
    assert expected != public_fusion_weights(engine.sources, sparse=False, has_users=False)
    service.close()


def test_the_database_is_not_read_while_an_adapter_is_put_in_place(service, tmp_path) -> None:
    import_night(service, tmp_path, [event("night", "i60", 30)])
    with service.reloader.held_off() as held:
        assert held
        service.follow_database()
        assert service.database_reload.is_due()
    service.follow_database()  # the next look
    assert not service.database_reload.is_due()
    assert len(service.engine.history("night")) == 1


def test_no_adapter_is_put_in_place_while_the_database_is_read(
    service, tmp_path, monkeypatch
) -> None:
    folder = write_adapter(tmp_path / "adapter", service, seed=1)
    import_night(service, tmp_path, [event("night", "i60", 30)])
    real = database_reload.load_state

    def and_an_adapter(*args):
        with pytest.raises(ReloadBusyError, match="ask again"):
            service.reload_adapter(folder)
        return real(*args)

    monkeypatch.setattr(database_reload, "load_state", and_an_adapter)
    service.follow_database()
    assert not service.database_reload.is_due()
    assert not service.engine.sources.space.has_adapter
    service.reload_adapter(write_adapter(tmp_path / "later", service, seed=1))
    assert service.engine.sources.space.has_adapter


def test_an_adapter_keeps_the_base_that_the_database_was_read_with(tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    service = open_service(ServingSource(store=url, model=encoder_settings(tmp_path)))
    first = service.texts
    items = [Item(f"i{n}", f"{WORDS[n % 3]} {WORDS[n % 10]}") for n in range(30)]
    service.add_items(items, replace=False).result()
    service.follow_database()  # the catalogue has outgrown its base
    second = service.texts
    assert second is not first
    service.reload_adapter(write_adapter(tmp_path / "adapter", service, seed=1))
    assert service.texts is second
    service.close()


def test_a_federations_pairs_are_placed_once_and_not_in_the_writer(
    service, tmp_path, monkeypatch
) -> None:
    head = np.arange(0, N_ITEMS, 2)
    sums = np.ones(n_pairs(len(head)), np.float32)
    released = ReleasedStatistics(
        item_ids=[f"i{n}" for n in range(N_ITEMS)],
        releases={"pairs": 1},
        scale=1.0,
        reliability=0.8,
        prior=None,
        pair_release=PairRelease(head, sums, 0.0, np.ones((len(head), 1)), np.ones(len(head))),
        includes_own=False,
    )
    engine = service.engine
    engine.sources = with_federation(engine.sources, released, engine.items, engine.interactions)
    import_night(service, tmp_path, [event("night", "i60", 30)])
    placed, real = [], PairGram.of_others
    monkeypatch.setattr(
        PairGram, "of_others", lambda *args, **named: placed.append(1) or real(*args, **named)
    )
    before = engine.sources.federated_ease
    service.follow_database()
    assert not service.database_reload.is_due()
    assert len(placed) == 1
    sources = engine.sources
    assert sources.federated.released is released
    assert sources.federated.gram is not None
    assert sources.federated.co_purchase is not None
    assert sources.federated_ease not in (None, before)
