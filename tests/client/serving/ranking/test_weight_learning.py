"""Weights are learned from what was known before the latest events, and on those events alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from client.fusion.scores import Pool
from client.serving.features.interactions import Interactions
from client.serving.features.item_popularity import RECENCY_HALF_LIFE
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
    sources: SignalSources


@pytest.fixture(scope="module")
def events() -> Events:
    return shop_events(seed=3, n_users=N_USERS)


def learned_on(
    monkeypatch: pytest.MonkeyPatch, sources: SignalSources, interactions: Interactions
) -> Mapping[str, Learned]:
    """Learns weights and returns by surface what they were fitted on."""
    fitted = {}

    def fit(pool: Pool, public: str, sources: SignalSources) -> None:
        fitted[public] = Learned(pool, sources)

    monkeypatch.setattr(weight_learning, "fit_fusion_weights", fit)
    learn_fusion_weights(sources, interactions, rng=np.random.default_rng(0))
    return {
        surface: fitted[public] for surface, public in SERVED_SURFACES.items() if public in fitted
    }


def users_by_item(known: Events) -> list[int]:
    return [len(np.unique(known.user[known.item == item])) for item in range(N_ITEMS)]


def test_with_dates_all_users_past_ends_at_one_day_from_which_ages_count(
    events, monkeypatch
) -> None:
    learned = learned_on(monkeypatch, *sources_in_days(events))
    cut = np.quantile(events.time, 0.9)
    known = events.select(events.time < cut)
    popularity = learned["for-you"].sources.popularity
    assert popularity.users.tolist() == users_by_item(known)
    decay = 2.0 ** ((known.time - cut) / RECENCY_HALF_LIFE)
    recent = np.bincount(known.item, decay, minlength=N_ITEMS)  # no item twice in a visit
    np.testing.assert_allclose(popularity.recent, recent, rtol=1e-6)
    late = events.select(events.time >= cut)
    n_targets = [len(np.unique(late.item[late.user == user])) for user in np.unique(late.user)]
    assert learned["for-you"].pool.n_targets.tolist() == n_targets


def test_without_dates_each_users_past_ends_before_the_last_event(events, monkeypatch) -> None:
    ordered = in_order(events)
    short = (ordered.user == 0) & (ordered.time >= 2)  # two events leave too little of a past
    ordered = ordered.select(~short)
    learned = learned_on(monkeypatch, *sources_in_order(ordered))
    last = np.append(np.diff(ordered.user) > 0, True) & (ordered.user > 0)
    popularity = learned["for-you"].sources.popularity
    assert popularity.users.tolist() == users_by_item(ordered.select(~last))
    assert not popularity.recent.any()  # without a clock nothing is recent
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


@pytest.mark.parametrize("chunk", [1, 7, N_USERS, 64])
def test_queries_are_the_same_whatever_the_size_of_a_chunk(events, monkeypatch, chunk) -> None:
    sources, interactions = sources_in_days(events)
    whole = learned_on(monkeypatch, sources, interactions)["for-you"].pool
    assert len(whole.targets) == N_USERS
    monkeypatch.setattr(weight_learning, "_CHUNK", chunk)
    chunked = learned_on(monkeypatch, sources, interactions)["for-you"].pool
    assert chunked.n_targets.tolist() == whole.n_targets.tolist()
    mix = {"ease": 1.0, "text": 0.5}
    np.testing.assert_allclose(chunked.ndcg(mix), whole.ndcg(mix))
