from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from starlette.testclient import TestClient

from client.serving.service.service import Service
from client.serving.state.refresh import refresh_engine
from client.serving.state.user_index import UserIndex
from client.store.database import UnknownError


def naive(service: Service, user_id: str) -> list[tuple[str, float]]:
    """All users by the cosine of their profiles, the best first."""
    engine = service.engine
    profiles = {}
    for other in engine.users:
        events = engine.history(other)
        total = events.amount @ engine.sources.space.vectors[events.item]
        profiles[other] = total / max(float(np.linalg.norm(total)), 1e-12)
    scores = {o: float(p @ profiles[user_id]) for o, p in profiles.items() if o != user_id}
    return sorted(((o, s) for o, s in scores.items() if s > 0), key=lambda pair: -pair[1])


def assert_right(index: UserIndex, service: Service, user_id: str) -> None:
    ids, scores, complete = index.similar(user_id, 200, seconds=120.0)
    expected = naive(service, user_id)
    assert complete
    assert {*ids} == {other for other, _ in expected}
    np.testing.assert_allclose(scores, [score for _, score in expected], atol=1e-5)


def buy(client: TestClient, user: str, item: str) -> None:
    event = {"user_id": user, "item_id": item}
    assert client.post("/api/feedback", json=[event]).status_code == 201


def test_it_follows_events_refreshes_and_deletions(client: TestClient, service: Service) -> None:
    index = UserIndex(service.engine)
    assert_right(index, service, "u1")
    buy(client, "u1", "i0")
    buy(client, "new", "i3")
    assert_right(index, service, "u1")
    buy(client, "u2", "i9")
    refresh_engine(service.engine)  # sorts the events in before the index has seen them
    assert_right(index, service, "u2")
    assert client.delete("/api/users/u4").status_code == 200
    assert_right(index, service, "u1")
    assert "u4" not in index._ids
    with pytest.raises(UnknownError):
        index.similar("nobody", 5, seconds=1.0)


def test_who_was_deleted_while_it_was_made_has_no_row_of_others(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = UserIndex(service.engine)
    real = index._follow

    def after_a_deletion(*args: str) -> int | None:
        service.delete_user("u1").result()
        return real(*args)

    monkeypatch.setattr(index, "_follow", after_a_deletion)
    with pytest.raises(UnknownError, match="u1"):
        index.similar("u1", 5, seconds=120.0)


def test_no_answer_waits_while_all_users_are_read(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, going_on = UserIndex(service.engine), threading.Event()
    real = service.engine.sources.space.vectors.__class__.__getitem__

    def slow(vectors: object, rows: object) -> object:
        if threading.current_thread().name == "index":
            going_on.wait(timeout=120)
        return real(vectors, rows)

    monkeypatch.setattr(service.engine.sources.space.vectors.__class__, "__getitem__", slow)
    reading = threading.Thread(target=index.refresh, name="index")
    reading.start()
    while not index._lock.locked():
        time.sleep(0.01)
    assert client.get("/api/recommend/u1").status_code == 200
    buy(client, "u1", "i0")
    assert index.similar("u1", 5, seconds=0.01)[2] is False
    going_on.set()
    reading.join(timeout=120)
    assert_right(index, service, "u1")
