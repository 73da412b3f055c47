"""Weights are learned from what was known before the latest events, and on those events alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from client.fusion import pools
from client.fusion.scores import Pool
from client.recommenders.queries import History
from client.serving.features.interactions import Interactions
from client.serving.ranking import weight_learning
from client.serving.ranking.fusion_weights import SERVED_SURFACES
from client.serving.ranking.signals import SignalSources
from client.serving.ranking.weight_learning import learn_fusion_weights
from shared.interactions.events import EVENT_TYPES, Events
from tests.client.recommenders.small_shops import N_ITEMS, shop_events
from tests.client.serving.ranking.test_signals import (
    N_USERS,
    in_order,
    sources_in_days,
    sources_in_order,
)

VIEW = EVENT_TYPES.index("view")


@dataclass(frozen=True)
class Learned:
    """What a surface's weights were fitted on."""

    pool: Pool
    known: History


@pytest.fixture(scope="module")
def events() -> Events:
    return shop_events(seed=3, n_users=N_USERS)


def learned_on(
    monkeypatch: pytest.MonkeyPatch, sources: SignalSources, interactions: Interactions
) -> Mapping[str, Learned]:
    """Learns weights and returns by surface what they were fitted on."""
    fitted = {}

    def fit(pool: Pool, public: str, _: SignalSources, known: History) -> None:
        fitted[public] = Learned(pool, known)

    monkeypatch.setattr(weight_learning, "fit_fusion_weights", fit)
    learn_fusion_weights(sources, interactions, seed=0)
    return {
        surface: fitted[public] for surface, public in SERVED_SURFACES.items() if public in fitted
    }


def users_by_item(known: Events) -> list[int]:
    return [len(np.unique(known.user[known.item == item])) for item in range(N_ITEMS)]


def test_with_dates_all_users_past_ends_at_one_day(events, monkeypatch) -> None:
    learned = learned_on(monkeypatch, *sources_in_days(events))
    cut = np.quantile(events.time, 0.9)
    known = events.select(events.time < cut)
    assert learned["for-you"].known.users_per_item.tolist() == users_by_item(known)
    late = events.select(events.time >= cut)
    n_targets = [len(np.unique(late.item[late.user == user])) for user in np.unique(late.user)]
    assert learned["for-you"].pool.n_targets.tolist() == n_targets


def test_without_dates_each_users_past_ends_before_the_last_event(events, monkeypatch) -> None:
    ordered = in_order(events)
    short = (ordered.user == 0) & (ordered.time >= 1)  # one event leaves no past
    ordered = ordered.select(~short)
    learned = learned_on(monkeypatch, *sources_in_order(ordered))
    last = np.append(np.diff(ordered.user) > 0, True) & (ordered.user > 0)
    known = learned["for-you"].known
    assert known.users_per_item.tolist() == users_by_item(ordered.select(~last))
    assert learned["for-you"].pool.n_targets.tolist() == [1] * (N_USERS - 1)


def test_users_who_took_nothing_late_leave_their_place_to_those_who_did(
    events, monkeypatch
) -> None:
    late, buyers = events.time >= np.quantile(events.time, 0.9), np.arange(0, N_USERS, 8)
    kinds = np.where(late & ~np.isin(events.user, buyers), VIEW, events.event_type)
    viewed = replace(events, event_type=kinds.astype(np.uint8))
    monkeypatch.setattr(weight_learning, "MAX_USERS", len(buyers))
    learned = learned_on(monkeypatch, *sources_in_days(viewed))
    assert len(learned["for-you"].pool.targets) == len(buyers)


@pytest.mark.parametrize("chunk", [16, 23, N_USERS, 64])
def test_queries_are_the_same_whatever_the_size_of_a_chunk(events, monkeypatch, chunk) -> None:
    sources, interactions = sources_in_days(events)
    whole = learned_on(monkeypatch, sources, interactions)["for-you"].pool
    assert len(whole.targets) == N_USERS
    monkeypatch.setattr(pools, "_CELLS", chunk * N_ITEMS)
    chunked = learned_on(monkeypatch, sources, interactions)["for-you"].pool
    assert chunked.n_targets.tolist() == whole.n_targets.tolist()
    mix = {"ease": 1.0, "text": 0.5}
    np.testing.assert_allclose(chunked.ndcg(mix), whole.ndcg(mix))
