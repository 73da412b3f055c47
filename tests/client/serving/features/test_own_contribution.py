"""What a shop takes out of the federation's pairs, and what new items get of the federation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client.federation.own_contribution import OwnPairSums
from client.serving.features.federated_statistics import (
    CURRENT,
    RECORDED,
    FederatedStatistics,
    ReleasedStatistics,
    fit_pairs,
)
from client.serving.ranking.weight_learning import LearnedFusion
from client.serving.state.refresh import refresh_engine
from shared.errors import ModelError
from shared.interactions.events import Events
from shared.releases.pair_sums import pair_sums
from tests.client.recommenders.small_shops import shop_events
from tests.client.serving.features.test_federated_statistics import (
    CODES,
    ORDER,
    clean,
    placed,
    random_release,
)
from tests.client.serving.ranking.test_signals import N_USERS
from tests.client.serving.small_service import N_ITEMS as SERVICE_ITEMS


def coded(events: Events) -> Events:
    """Returns events with the codes of the federation's catalogue."""
    return replace(events, item=np.argsort(ORDER)[events.item].astype(np.int32))


@pytest.fixture(scope="module")
def own() -> Events:
    return shop_events(seed=3, n_users=N_USERS, visits=6)


@pytest.fixture(scope="module")
def later() -> Events:
    """All that the shop has a while after the release."""
    return shop_events(seed=3, n_users=N_USERS, visits=12)


@pytest.fixture(scope="module")
def released(own) -> ReleasedStatistics:
    others = shop_events(seed=9, n_users=30)
    sums = pair_sums(coded(own), CODES) + pair_sums(coded(others), CODES)
    return ReleasedStatistics(
        item_ids=[*(f"i{row}" for row in ORDER), "elsewhere"],
        releases={"pairs": 2},
        scale=3.0,
        reliability=0.8,
        prior=None,
        pair_release=clean(CODES, sums),
        includes_own=True,
        own_contribution=OwnPairSums.of(coded(own), CODES),
    )


def test_events_after_the_release_change_nothing_of_the_others_pairs(released, own, later) -> None:
    before, _ = placed(released, own)
    after, _ = placed(released, later)
    np.testing.assert_array_equal(after.gram.matrix, before.gram.matrix)
    assert before.own_contribution_source == RECORDED
    unkept = replace(released, own_contribution=None)
    before, _ = placed(unkept, own)
    after, _ = placed(unkept, later)
    assert not np.allclose(after.gram.matrix, before.gram.matrix, atol=1e-2)
    assert after.own_contribution_source == CURRENT
    apart, _ = placed(replace(released, includes_own=False), own)
    assert apart.own_contribution_source is None
    assert not np.allclose(apart.gram.matrix, before.gram.matrix, atol=1e-2)


def test_a_kept_part_comes_back_as_it_was_and_a_damaged_one_is_refused(own) -> None:
    part = OwnPairSums.of(coded(own), CODES)
    content = part.content()
    found = OwnPairSums.read(content, h=len(CODES))
    np.testing.assert_allclose(found.sums, part.sums, rtol=1e-6)
    np.testing.assert_array_equal(found.sizes, part.sizes)
    for damaged, h in ((content[:-3], len(CODES)), (b"", len(CODES)), (content, len(CODES) - 1)):
        with pytest.raises(ModelError, match="remove it"):
            OwnPairSums.read(damaged, h=h)


@pytest.fixture
def lacking(service):
    """A service that sells all items of its federation's catalogue but two of the head, with it."""
    engine = service.engine
    release = random_release(0)
    head = np.arange(0, SERVICE_ITEMS + 4, 2)
    rng = np.random.default_rng(1)
    release = replace(
        release,
        item_ids=[*release.item_ids, "new0", "new1", "new2", "new3"],
        prior=rng.normal(size=SERVICE_ITEMS + 4).astype(np.float32),
        pair_release=clean(head, rng.gamma(1.0, 5.0, len(head) * (len(head) - 1) // 2)),
    )
    n_items = len(engine.items)
    federated = FederatedStatistics.of(
        release, engine.items.rows, engine.interactions, n_items=n_items
    )
    pairs = fit_pairs(engine.interactions.history(n_items), federated, time_unit="days")
    learned = LearnedFusion(engine.fusion_weights, None)
    engine.set_adapter(engine.sources.space, federated, pairs, learned)
    return service


def test_an_item_of_the_public_catalogue_gets_its_popularity_at_once_and_pairs_with_a_refresh(
    lacking, client
) -> None:
    engine = lacking.engine
    assert not refresh_engine(engine)  # there is nothing to do
    new = [{"item_id": name, "text": "private soap"} for name in ("new2", "unheard", "new1")]
    assert client.post("/api/items", json=new).status_code == 201
    rows, federated = engine.items.rows, engine.sources.federated
    release = federated.released
    by_name = {name: federated.prior.values[rows[name]] for name in ("new2", "unheard", "new1")}
    assert by_name["new2"] == release.prior[SERVICE_ITEMS + 2] != 0
    assert by_name["new1"] == release.prior[SERVICE_ITEMS + 1] != 0
    assert by_name["unheard"] == 0
    assert rows["new2"] not in engine.sources.federated_ease.known
    assert refresh_engine(engine)  # without any event
    assert rows["new2"] in engine.sources.federated_ease.known
    assert rows["unheard"] not in engine.sources.federated_ease.known
    expected = FederatedStatistics.of(release, rows, engine.interactions, n_items=len(engine.items))
    found = engine.sources.federated
    np.testing.assert_array_equal(found.gram.head, expected.gram.head)
    np.testing.assert_array_equal(found.gram.matrix, expected.gram.matrix)
    np.testing.assert_array_equal(found.prior.values, expected.prior.values)
    assert not refresh_engine(engine)


def test_an_item_that_came_while_a_release_was_put_in_place_is_not_forgotten(lacking) -> None:
    from client.store.schema import Item

    engine = lacking.engine
    before, pairs = engine.sources.federated, engine.sources.federated_ease
    lacking.add_items([Item("new2", "private soap")], replace=False).result()
    learned = LearnedFusion(engine.fusion_weights, None)
    engine.set_adapter(engine.sources.space, before, pairs, learned)  # begun before the item came
    row = engine.items.rows["new2"]
    assert engine.sources.federated.prior.values[row] == before.released.prior[SERVICE_ITEMS + 2]
    assert refresh_engine(engine)
    assert row in engine.sources.federated_ease.known
    lacking.close()
