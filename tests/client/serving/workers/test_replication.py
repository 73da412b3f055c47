"""A copy of the state that is told of every change answers as the writer's own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from client.serving.ranking.ranker import RecommendationRequest
from client.serving.ranking.rules import Rule, RuleSet
from client.serving.service.service import Service
from client.serving.state import replication
from client.serving.state.engine import RecommendationEngine
from client.serving.state.refresh import refresh_engine
from client.serving.state.replication import Change, make_change
from client.store.schema import Event, Item
from tests.client.serving.small_service import write_adapter


class Follower:
    """Makes each change in a copy at once, by way of the bytes that a process would get."""

    def __init__(self, engine: RecommendationEngine) -> None:
        self.engine = RecommendationEngine.empty()
        self.arrays = 0
        with engine.lock:
            self.note(Change.whole(engine))
            engine.journal = self

    def note(self, change: Change) -> None:
        buffers = [bytearray(one.raw()) for one in change.arrays]
        self.arrays += len(buffers)
        make_change(self.engine, change.message, buffers)


@pytest.fixture
def follower(service: Service) -> Iterator[Follower]:
    follower = Follower(service.engine)
    yield follower
    service.close()


def event(user: str, item: str, number: int) -> Event:
    return Event(f"new-{number}", user, item, time=20_000.0 + number)


def same_answers(service: Service, follower: Follower) -> None:
    users = [*service.engine.users, "nobody"]
    assert follower.engine.users == service.engine.users
    for surface in ("for-you", "discover", "buy-again", "session"):
        request = RecommendationRequest(surface, n=60)
        for user in users[::7]:
            ours = service.engine.recommend(request, user).ranking
            theirs = follower.engine.recommend(request, user).ranking
            assert ours.items.tolist() == theirs.items.tolist()
            assert np.array_equal(ours.scores, theirs.scores)


def test_a_copy_follows_events_items_deletions_and_a_refresh(service, follower) -> None:
    same_answers(service, follower)
    service.add_events([event("u1", "i5", 1), event("somebody", "i6", 2)]).result()
    service.add_items([Item("i-new", "frozen ice", "c1")], replace=False).result()
    service.add_events([event("u2", "i-new", 3)]).result()
    same_answers(service, follower)
    service.delete_user("u3").result()
    service.change_item("i7", {"in_stock": False}).result()
    service.delete_item("i8").result()
    service.deny(["i9"]).result()
    same_answers(service, follower)
    assert refresh_engine(service.engine)
    same_answers(service, follower)
    service.replace_events([event("u1", "i11", 1)]).result()
    same_answers(service, follower)
    service.learn()
    service.engine.set_rules(RuleSet((Rule("first", "pin", ("for-you",), items=("i12",)),)))
    assert follower.engine.recommend(RecommendationRequest("for-you"), "u1").ranking.items[0] == 12
    same_answers(service, follower)


def test_events_that_come_during_a_refresh_stay_beside_it(service, follower, monkeypatch) -> None:
    from client.serving.state import refresh

    install = refresh._install

    def late(*arguments) -> None:
        service.add_events([event("u1", "i5", 2), event("late", "i6", 3)]).result()
        install(*arguments)

    service.add_events([event("u1", "i5", 1)]).result()
    monkeypatch.setattr(refresh, "_install", late)
    assert refresh_engine(service.engine)
    same_answers(service, follower)
    changed = follower.engine.interactions.changed()
    assert changed.keys() == service.engine.interactions.changed().keys()
    assert len(changed) == 2


def test_a_state_that_was_read_again_replaces_the_copy(service, follower) -> None:
    service.add_events([event("u1", "i5", 1)]).result()
    assert service.database_reload.run()
    same_answers(service, follower)


def test_a_copy_follows_another_adapter(service, follower, tmp_path) -> None:
    service.reload_adapter(write_adapter(tmp_path / "adapter", service, seed=1))
    assert follower.engine.sources.space.has_adapter
    same_answers(service, follower)
    service.add_events([event("u1", "i5", 1)]).result()
    assert refresh_engine(service.engine)
    same_answers(service, follower)


def test_large_arrays_are_passed_beside_the_message(service, monkeypatch) -> None:
    monkeypatch.setattr(replication, "_LARGE", 1000)
    follower = Follower(service.engine)
    assert follower.arrays > 10
    same_answers(service, follower)
    service.close()
