"""A service whose database another process fills, and one that begins with nothing."""

from __future__ import annotations

import pytest

from client.serving.service.service import Service
from client.serving.service.startup import ServingSource, open_service
from client.store.imports.import_source import import_source
from client.store.imports.importing import ImportOptions
from client.store.schema import Event
from shared.errors import RunExistsError
from shared.settings.run_settings import DataSettings
from tests.client.serving.small_service import N_ITEMS, client_of, encoder_settings, opened
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
