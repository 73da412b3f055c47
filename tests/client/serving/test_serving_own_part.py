"""What a shop takes out of the federation's pairs, and what new items get of the federation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_service import N_ITEMS as SERVICE_ITEMS
from small_shops import shop_events
from test_serving_outside import CODES, ORDER, clean, placed, random_release
from test_serving_signals import N_USERS

from client.own_pairs import OwnPairs
from client.serving.outside import AS_GIVEN, OF_TODAY, Outside, Released
from client.serving.weights import co_purchase_of_all
from shared.errors import ModelError
from shared.interactions.events import Events
from shared.releases.pairs import pair_sums


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
def released(own) -> Released:
    others = shop_events(seed=9, n_users=30)
    sums = pair_sums(coded(own), CODES) + pair_sums(coded(others), CODES)
    return Released(
        item_ids=[*(f"i{row}" for row in ORDER), "elsewhere"],
        releases={"pairs": 2},
        scale=3.0,
        reliability=0.8,
        prior=None,
        pairs=clean(CODES, sums),
        own_pairs=True,
        own=OwnPairs.of(coded(own), CODES),
    )


def test_events_after_the_release_change_nothing_of_the_others_pairs(released, own, later) -> None:
    before, _ = placed(released, own)
    after, _ = placed(released, later)
    np.testing.assert_array_equal(after.gram.matrix, before.gram.matrix)
    assert before.own_part == AS_GIVEN
    unkept = replace(released, own=None)
    before, _ = placed(unkept, own)
    after, _ = placed(unkept, later)
    assert not np.allclose(after.gram.matrix, before.gram.matrix, atol=1e-2)
    assert after.own_part == OF_TODAY
    apart, _ = placed(replace(released, own_pairs=False), own)
    assert apart.own_part is None
    assert not np.allclose(apart.gram.matrix, before.gram.matrix, atol=1e-2)


def test_a_kept_part_comes_back_as_it_was_and_a_damaged_one_is_refused(own) -> None:
    part = OwnPairs.of(coded(own), CODES)
    content = part.content()
    found = OwnPairs.read(content, h=len(CODES))
    np.testing.assert_allclose(found.sums, part.sums, rtol=1e-6)
    np.testing.assert_array_equal(found.sizes, part.sizes)
    for damaged, h in ((content[:-3], len(CODES)), (b"", len(CODES)), (content, len(CODES) - 1)):
        with pytest.raises(ModelError, match="remove it"):
            OwnPairs.read(damaged, h=h)


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
        pairs=clean(head, rng.gamma(1.0, 5.0, len(head) * (len(head) - 1) // 2)),
    )
    n_items = len(engine.items)
    outside = Outside.of(release, engine.items.rows, engine.histories, n_items=n_items)
    now = engine.sources.counts.now
    pairs = co_purchase_of_all(engine.histories, outside, n_items=n_items, now=now, unit="days")
    engine.swap(engine.sources.space, outside, pairs, engine.mixes)
    return service


def test_an_item_of_the_public_catalogue_gets_its_popularity_at_once_and_pairs_with_a_refresh(
    lacking, client
) -> None:
    engine = lacking.engine
    assert not engine.refresh()  # there is nothing to do
    new = [{"item_id": name, "text": "private soap"} for name in ("new2", "unheard", "new1")]
    assert client.post("/api/items", json=new).status_code == 201
    rows, outside = engine.items.rows, engine.sources.outside
    release = outside.released
    by_name = {name: outside.prior.values[rows[name]] for name in ("new2", "unheard", "new1")}
    assert by_name["new2"] == release.prior[SERVICE_ITEMS + 2] != 0
    assert by_name["new1"] == release.prior[SERVICE_ITEMS + 1] != 0
    assert by_name["unheard"] == 0
    assert rows["new2"] not in engine.sources.pairs.known
    assert engine.refresh()  # without any event
    assert rows["new2"] in engine.sources.pairs.known
    assert rows["unheard"] not in engine.sources.pairs.known
    expected = Outside.of(release, rows, engine.histories, n_items=len(engine.items))
    found = engine.sources.outside
    np.testing.assert_array_equal(found.gram.head, expected.gram.head)
    np.testing.assert_array_equal(found.gram.matrix, expected.gram.matrix)
    np.testing.assert_array_equal(found.prior.values, expected.prior.values)
    assert not engine.refresh()


def test_an_item_that_came_while_a_release_was_put_in_place_is_not_forgotten(lacking) -> None:
    from client.store.records import Item

    engine = lacking.engine
    before, pairs = engine.sources.outside, engine.sources.pairs
    lacking.add_items([Item("new2", "private soap")], replace=False).result()
    engine.swap(engine.sources.space, before, pairs, engine.mixes)  # begun before the item came
    row = engine.items.rows["new2"]
    assert engine.sources.outside.prior.values[row] == before.released.prior[SERVICE_ITEMS + 2]
    assert engine.refresh()
    assert row in engine.sources.pairs.known
    lacking.close()
