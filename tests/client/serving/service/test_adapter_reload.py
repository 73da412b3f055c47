"""Adapters are swapped while requests go on, and refused where they do not fit."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from client.serving.features.text_vectors import TextVectors
from client.serving.ranking.weight_learning import learn_fusion_weights
from client.serving.service.serving_bundle import read_serving_bundle
from shared.errors import ModelError
from tests.client.serving.small_service import client_of, opened, write_adapter


def test_a_new_adapter_is_taken_without_a_failed_request(tmp_path, service) -> None:
    first = write_adapter(tmp_path / "adapter", service, seed=1)
    service.close()
    serving = opened(tmp_path, adapter=first, refresh_seconds=0.2)
    statuses: list[int] = []
    stop = threading.Event()
    with client_of(serving) as client:

        def ask() -> None:
            while not stop.is_set():
                statuses.append(client.get("/api/recommend/u1").status_code)

        asking = threading.Thread(target=ask)
        asking.start()
        before = serving.engine.sources.space.projection.copy()
        write_adapter(first, serving, seed=2, replace=True)
        deadline = time.monotonic() + 300
        while np.array_equal(serving.engine.sources.space.projection, before):
            assert time.monotonic() < deadline, "the watched folder was not read again"
            time.sleep(0.05)
        stop.set()
        asking.join()
        assert client.get("/api/status").json()["next_adapter"]["state"] == "in place"
    assert len(statuses) > 10
    assert set(statuses) == {200}


def test_the_global_signal_counts_only_where_it_helps(tmp_path, service) -> None:
    folder = write_adapter(tmp_path / "adapter", service, seed=1)
    service.reload_adapter(folder)
    for mix in service.engine.fusion_weights.values():
        if mix.queries:
            assert mix.ndcg["fused"] >= mix.ndcg["local"] - 1e-9
            assert mix.ndcg["local"] >= 0.96 * max(mix.ndcg[name] for name in mix.local)
    assert service.engine.sources.space.adapter == "adapter"
    service.close()


def test_a_new_base_encodes_all_items_and_those_that_came_meanwhile(
    tmp_path, service, monkeypatch
) -> None:
    other = opened(tmp_path / "other")
    base = other.texts.base
    shifted = base.whitening.__class__(base.whitening.mean + 0.05, base.whitening.components * 1.5)
    object.__setattr__(base, "whitening", shifted)
    folder = write_adapter(tmp_path / "adapter", other, seed=1)
    other.close()
    whole = TextVectors.of_items

    def slowly(self, texts, progress=None):
        from client.store.schema import Item

        service.add_items([Item("late", "private soap")], replace=True).result()
        return whole(self, texts, progress)

    monkeypatch.setattr(TextVectors, "of_items", slowly)
    service.reload_adapter(folder)
    row = service.engine.items.rows["late"]
    vectors = service.engine.sources.space.vectors
    assert len(vectors) == len(service.engine.items) == 61
    np.testing.assert_allclose(vectors[row], service.texts.of_query("private soap"), atol=1e-5)
    first = service.engine.items.item_at(0).text
    np.testing.assert_allclose(vectors[0], service.texts.of_query(first), atol=1e-4)
    service.close()


def test_an_adapter_of_another_base_is_refused_and_nothing_changes(tmp_path, service) -> None:
    first = write_adapter(tmp_path / "first", service, seed=1)
    service.reload_adapter(first)
    base = service.texts.base
    shifted = base.whitening.__class__(base.whitening.mean + 0.05, base.whitening.components)
    object.__setattr__(base, "whitening", shifted)
    second = write_adapter(tmp_path / "second", service, seed=2)
    with pytest.raises(ModelError, match="take an adapter of this federation"):
        service.reload_adapter(second)
    assert service.engine.sources.space.adapter == "first"
    assert service.reloader.progress.state == "refused"
    service.close()


def test_an_adapter_of_another_encoder_is_refused_at_the_start(tmp_path, service) -> None:
    folder = write_adapter(tmp_path / "adapter", service, seed=1)
    service.close()
    config = tmp_path / "encoder" / "tokenizer_config.json"
    config.write_text(config.read_text().replace("{", '{"changed": true,', 1))
    with pytest.raises(ModelError, match="text space"):
        opened(tmp_path, adapter=folder)


def projection_of(service):
    return service.engine.sources.space.projection


def test_an_adapter_that_comes_while_the_first_is_read_is_not_missed(
    tmp_path, service, monkeypatch
) -> None:
    folder = write_adapter(tmp_path / "adapter", service, seed=1)

    def read_and_replace(place):
        given = read_serving_bundle(place)
        write_adapter(folder, service, seed=2, replace=True)
        return given

    monkeypatch.setattr("client.serving.service.startup.read_serving_bundle", read_and_replace)
    service.close()
    serving = opened(tmp_path, adapter=folder)
    first = projection_of(serving)
    serving.follow_adapter()
    second = projection_of(serving)
    assert not np.array_equal(first, second)
    serving.follow_adapter()
    assert projection_of(serving) is second  # nothing new
    serving.close()


def test_an_adapter_that_comes_while_another_is_put_in_place_has_its_turn(
    tmp_path, service, monkeypatch
) -> None:
    folder = write_adapter(tmp_path / "adapter", service, seed=1)
    service.close()
    serving = opened(tmp_path, adapter=folder)
    write_adapter(folder, service, seed=2, replace=True)
    begun, go_on = threading.Event(), threading.Event()

    def slowly(*args, **kwargs):
        begun.set()
        assert go_on.wait(timeout=120)
        return learn_fusion_weights(*args, **kwargs)

    monkeypatch.setattr("client.serving.service.adapter_reload.learn_fusion_weights", slowly)
    swapping = threading.Thread(target=serving.reload_adapter, args=(folder,))
    swapping.start()
    try:
        assert begun.wait(timeout=120)
        write_adapter(folder, service, seed=3, replace=True)
        first = projection_of(serving)
        serving.follow_adapter()  # busy
        assert projection_of(serving) is first
    finally:
        go_on.set()
        swapping.join()
    second = projection_of(serving)
    serving.follow_adapter()
    third = projection_of(serving)
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)
    assert serving.reloader.progress.state == "in place"
    serving.close()


def test_a_refused_adapter_is_not_tried_again_until_there_is_another(
    tmp_path, service, monkeypatch
) -> None:
    folder = write_adapter(tmp_path / "adapter", service, seed=1)
    service.close()
    serving = opened(tmp_path, adapter=folder)
    (folder / "adapter_model.safetensors").write_bytes(b"damaged")
    tried, swap = [], serving.reloader.reload
    monkeypatch.setattr(
        serving.reloader, "reload", lambda place: tried.append(place) or swap(place)
    )
    for _ in range(2):
        serving.follow_adapter()
    assert tried == [folder]
    assert serving.reloader.progress.state == "refused"
    write_adapter(folder, service, seed=2, replace=True)
    serving.follow_adapter()
    assert serving.reloader.progress.state == "in place"
    serving.close()


def test_reload_without_an_adapter_folder_is_refused(client) -> None:
    answer = client.post("/api/adapter/reload")
    assert answer.status_code == 409
    assert "--adapter FOLDER" in answer.json()["error"]["remedy"]


def test_learned_weights_are_kept_for_the_very_adapter_they_were_learned_with(
    tmp_path, service
) -> None:
    folder = write_adapter(tmp_path / "adapter", service, seed=1)
    service.reload_adapter(folder)
    learned = service.engine.fusion_weights
    service.close()
    again = opened(tmp_path, adapter=folder)
    assert again.engine.fusion_weights == learned
    write_adapter(folder, again, seed=2, replace=True)
    again.close()
    other = opened(tmp_path, adapter=folder)
    assert other.engine.fusion_weights["for-you"].queries == 0
    other.close()
