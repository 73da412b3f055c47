"""What the federation knows of other shops' users, on a shop's own items and in its answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_service import N_ITEMS as SERVICE_ITEMS
from small_shops import N_ITEMS, item_vectors, shop_events
from test_serving_api import buy
from test_serving_signals import N_USERS, NOW, columns_of

from client import fusion, fusion_weights
from client.recommenders.history import History
from client.recommenders.pairs_ease import PairGram, PairsEASE
from client.serving.histories import Histories
from client.serving.mixes import STRENGTHS, Mix, apart, fit, public_mixes
from client.serving.outside import NOTHING, WEIGHT, Outside, Pairs, Released
from client.serving.signal_kinds import Fixed
from client.serving.signals import LOCAL, NAMES, Sources
from client.serving.space import Space
from client.serving.vectors import ItemVectors
from client.serving.weights import L2, co_purchase_of_all, learn_mixes
from client.surfaces import Queries
from shared.releases.pair_release import PairRelease
from shared.releases.pairs import n_pairs, pair_sums, user_sizes

ORDER = np.random.default_rng(5).permutation(N_ITEMS)
"""Row of the shop's item table by code of the federation's catalogue."""
CODES = np.arange(0, N_ITEMS + 1, 2)
"""The head; the last one is an item that the shop does not sell."""


@pytest.fixture(scope="module")
def own():
    return shop_events(seed=3, n_users=N_USERS)


@pytest.fixture(scope="module")
def others():
    return shop_events(seed=9, n_users=30)


@pytest.fixture(scope="module")
def released(own, others) -> Released:
    code_of = np.argsort(ORDER)
    sums = [
        pair_sums(replace(events, item=code_of[events.item].astype(np.int32)), CODES)
        for events in (own, others)
    ]
    return Released(
        item_ids=[*(f"i{row}" for row in ORDER), "elsewhere"],
        releases={"adapter": 3, "pairs": 2, "counts": 1},
        scale=3.0,
        reliability=0.8,
        prior=np.linspace(-1, 1, N_ITEMS + 1).astype(np.float32),
        pairs=clean(CODES, sum(sums)),
        own_pairs=True,
    )


def clean(head: np.ndarray, sums: np.ndarray) -> PairRelease:
    return PairRelease(
        head, sums.astype(np.float32), 0.0, np.ones((len(head), 1)), np.ones(len(head))
    )


def placed(released: Released, own, n_items: int = N_ITEMS) -> tuple[Outside, Histories]:
    histories = Histories.build(own.user, own.item, columns_of(own), n_users=N_USERS)
    rows = {f"i{row}": row for row in range(n_items)}
    return Outside.of(released, rows, histories, n_items=n_items), histories


def test_pairs_come_to_the_shops_rows_without_its_own_users(released, own, others) -> None:
    outside, _ = placed(released, own)
    head = np.sort(ORDER[CODES[:-1]])
    expected = PairGram.of(head, pair_sums(others, head), user_sizes(own, head))
    np.testing.assert_array_equal(outside.gram.head, head)
    np.testing.assert_allclose(outside.gram.matrix, expected.matrix, atol=1e-4)
    alone, _ = placed(replace(released, own_pairs=False), own)
    assert not np.allclose(alone.gram.matrix, expected.matrix, atol=1e-2)


def test_the_pairs_signal_is_the_dense_recommender_less_a_constant(released, own) -> None:
    outside, histories = placed(released, own)
    pairs = co_purchase_of_all(histories, outside, n_items=N_ITEMS, now=NOW, unit="days")
    known = History(own, np.arange(N_ITEMS, dtype=np.int32), np.full(N_USERS, NOW))
    nothing = np.zeros((N_USERS, N_ITEMS), np.bool_)
    queries = Queries("for-you", np.arange(N_USERS), known, known, None, nothing)
    model = PairsEASE(
        outside.gram, weight=WEIGHT["days"], l2=L2["days"], form="visits", half_life=120.0
    )
    expected = model.fit(known).score(queries)
    space = Space(ItemVectors.of(item_vectors()), None, half_life=120.0, text_half_life=60.0)
    sources = Sources(_counts(histories), pairs.near, pairs.near, space, "days", outside, pairs)
    for user in range(N_USERS):
        own_events = histories.of(user)
        context = sources.context(own_events, own_events)
        found = sources.signals(context)[NAMES.index("pairs")].whole(space.vectors)
        centred = expected[user] - expected[user].mean()
        np.testing.assert_allclose(found - found.mean(), centred, rtol=2e-3, atol=5e-4)


def _counts(histories: Histories):
    from client.serving.counts import Counts

    return Counts.of(histories, n_items=N_ITEMS, now=NOW, dated=True)


def test_an_item_that_nobody_knows_has_the_mean_of_the_others(released, own) -> None:
    outside, histories = placed(released, own, n_items=N_ITEMS + 2)
    pairs = co_purchase_of_all(histories, outside, n_items=N_ITEMS + 2, now=NOW, unit="days")
    found = pairs.add_up(np.array([0, 3], np.int32), np.ones(2, np.float32))
    assert {N_ITEMS, N_ITEMS + 1} & set(found.rows.tolist()) == set()
    assert found.values.sum() == pytest.approx(0.0, abs=1e-4)
    assert found.values.max() > 0.01


def test_the_prior_follows_the_items_and_grows_with_them(released, own) -> None:
    outside, _ = placed(released, own, n_items=N_ITEMS + 1)
    np.testing.assert_array_equal(outside.prior.values[ORDER], released.prior[:N_ITEMS])
    assert outside.prior.values[N_ITEMS] == 0  # not in the public catalogue
    grown = outside.grown({"elsewhere": N_ITEMS + 1, "i0": 0}, n_items=N_ITEMS + 4)
    assert len(grown.prior.values) == N_ITEMS + 4
    assert grown.prior.values[N_ITEMS + 1] == released.prior[N_ITEMS] == 1
    assert not grown.prior.values[[N_ITEMS, N_ITEMS + 2, N_ITEMS + 3]].any()
    np.testing.assert_array_equal(grown.prior.values[:N_ITEMS], outside.prior.values[:N_ITEMS])
    assert grown.gram is outside.gram
    assert NOTHING.grown({}, n_items=5) is NOTHING


@pytest.mark.parametrize("name", ["global-prior", "global-half", "global"])
def test_weights_apart_rank_as_the_joined_signal(name: str) -> None:
    rng = np.random.default_rng(1)
    vectors = ItemVectors.of(item_vectors())
    prior = Fixed.of(rng.normal(0, 1.5, N_ITEMS).astype(np.float32))
    projection = np.eye(8, 9, dtype=np.float32)
    space = Space(vectors, projection, half_life=120.0, text_half_life=60.0)
    sources = Sources(None, None, None, space, "days", Outside(prior, scale=4.0))
    weights = apart({"ease": 0.4, name: 0.6}, sources)
    assert weights["ease"] == 0.4
    assert (weights["prior"] > 0) == (name != "global")
    likeness = vectors.scores(space.global_profile(vectors[7]))
    joined = 4.0 * likeness + STRENGTHS[name] * prior.values
    split = sum(
        weights[n] * (v - v.mean()) / v.std()
        for n, v in (("global", likeness), ("prior", prior.values))
    )
    assert np.corrcoef(joined, split)[0, 1] > 0.999
    assert split.std() == pytest.approx(0.6, rel=0.15)


def test_before_anything_is_learned_noise_keeps_the_federation_out(released, own) -> None:
    outside, _ = placed(released, own)
    space = Space(ItemVectors.of(item_vectors()), np.eye(8, 9, dtype=np.float32), 120.0, 60.0)
    for reliability in (0.0, 0.5, 1.0):
        found = Sources(
            None, None, None, space, "days", replace(outside, reliability=reliability), Pairs()
        )
        mix = public_mixes(found)["discover"]
        assert (mix.fused["pairs"] > 0) == (mix.fused["global"] > 0) == (reliability > 0)
        assert public_mixes(found)["for-you"].fused["pairs"] == 0
        assert sum(mix.local.values()) == pytest.approx(1)
    local = replace(found, outside=NOTHING, space=replace(space, projection=None))
    assert all(weight == 0 for n, weight in public_mixes(local)["discover"].fused.items()
               if n not in LOCAL)  # fmt: skip


def random_release(seed: int) -> Released:
    rng = np.random.default_rng(seed)
    head = np.arange(0, SERVICE_ITEMS, 2)
    return Released(
        item_ids=[f"i{item}" for item in range(SERVICE_ITEMS)],
        releases={"adapter": 3, "pairs": 2, "counts": 1},
        scale=3.0,
        reliability=1.0,
        prior=rng.normal(size=SERVICE_ITEMS).astype(np.float32),
        pairs=clean(head, rng.gamma(1.0, 5.0, n_pairs(len(head)))),
        own_pairs=False,
    )


@pytest.fixture
def federated(service, monkeypatch):
    """A service whose federation released nothing but chance, with the weights that a test sets."""
    monkeypatch.setattr(service, "learn", lambda: None)  # else the background sets others
    engine = service.engine
    histories, n_items = engine.histories, len(engine.items)
    outside = Outside.of(random_release(0), engine.items.rows, histories, n_items=n_items)
    now = engine.sources.counts.now
    pairs = co_purchase_of_all(histories, outside, n_items=n_items, now=now, unit="days")
    rng = np.random.default_rng(0)
    dim = engine.sources.space.vectors.dim
    projection = rng.normal(size=(dim, dim + 1)).astype(np.float32)
    space = replace(engine.sources.space, projection=projection)
    engine.swap(space, outside, pairs, engine.mixes)
    return service


def test_what_the_federation_says_never_ranks_below_the_best_local_signal(federated) -> None:
    engine = federated.engine
    for seed in range(3):
        mixes = learn_mixes(engine.sources, engine.histories, rng=np.random.default_rng(seed))
        learned = [mix for mix in mixes.values() if mix.queries]
        assert learned
        for mix in learned:
            assert {"global", "pairs", "prior"} <= set(mix.ndcg)
            assert mix.ndcg["fused"] >= mix.ndcg["local"] - 1e-9
            assert mix.ndcg["local"] >= max(mix.ndcg[name] for name in LOCAL) - 1e-9


def test_a_public_mix_that_costs_something_here_is_not_taken(released, own) -> None:
    outside, _ = placed(replace(released, reliability=1.0, prior=None), own)
    space = Space(ItemVectors.of(item_vectors()), np.eye(8, 9, dtype=np.float32), 120.0, 60.0)
    sources = Sources(None, None, None, space, "days", outside)
    stopped = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n, items = 30, 40
        targets = np.zeros((n, items), np.bool_)
        targets[np.arange(n), rng.integers(0, items, n)] = True
        signals = {name: rng.normal(size=(n, items)).astype(np.float32) for name in NAMES}
        signals["text"] += 0.8 * targets  # the one signal that knows anything
        pool = fusion.Pool(signals, targets, targets.sum(axis=1))
        mix = fit(pool, "discover", sources)
        assert mix is not None
        assert mix.ndcg["fused"] >= mix.ndcg["local"] - 1e-9
        joined = fusion_weights.join(pool, mix.local, ("pairs", "global"), surface="discover")
        stopped += bool(pool.ndcg(joined).mean() < mix.ndcg["local"] - 1e-6)
    assert stopped  # leaning on public weights alone would have cost something


def test_an_explanation_names_the_federations_signals_and_adds_up(federated, client) -> None:
    fused = dict.fromkeys(NAMES, 0.0) | {"pairs": 0.7, "prior": 0.2, "global": 0.1}
    local = dict.fromkeys(LOCAL, 0.0) | {"ease": 1.0}
    federated.engine.set_mixes(dict.fromkeys(federated.engine.mixes, Mix(local, fused)))
    words = []
    for user in ("u1", "u2", "u3"):
        answer = client.get(f"/api/recommend/{user}?n=5&explain=true").json()
        for entry in answer["items"]:
            why = entry["explanation"]
            assert set(why["signals"]) == {"pairs", "prior", "global"}
            assert sum(why["signals"].values()) == pytest.approx(entry["score"], abs=1e-5)
            assert {"pairs", "global"} >= set(why["because"])
            words.append(why["sentence"].lower())
    assert any("shoppers of other shops buy it together with i" in text for text in words)
    assert any("many shoppers of other shops take it" in text for text in words)
    assert client.get("/api/status").json()["releases"] == {"adapter": 3, "pairs": 2, "counts": 1}


def test_a_new_item_is_shown_beside_what_the_federation_knows(federated, client) -> None:
    fused = dict.fromkeys(NAMES, 0.0) | {"pairs": 0.5, "prior": 0.5}
    local = dict.fromkeys(LOCAL, 0.0) | {"ease": 1.0}
    federated.engine.set_mixes(dict.fromkeys(federated.engine.mixes, Mix(local, fused)))
    new = {"item_id": "new", "text": "private soap", "category": "c0"}
    assert client.post("/api/items", json=[new]).status_code == 201
    items = client.get("/api/recommend/u1?n=100&explain=true").json()["items"]
    (found,) = [entry for entry in items if entry["item_id"] == "new"]
    assert abs(found["score"]) < 0.3  # nothing is known of it, so it is near the mean
    assert items[0]["score"] > 0.5


def test_a_refresh_counts_pairs_with_the_new_events(federated, client) -> None:
    engine = federated.engine
    before = engine.sources.pairs
    for user in range(30):
        buy(client, f"new{user}", "i0", "i1", "i2")  # of three tastes: nobody bought them together
    assert engine.refresh()
    found, now = engine.sources.pairs, engine.sources.counts.now
    expected = co_purchase_of_all(
        engine.histories, engine.sources.outside, n_items=len(engine.items), now=now, unit="days"
    )
    np.testing.assert_array_equal(found.known, expected.known)
    one, rows = np.ones(1, np.float32), engine.items.rows
    for item in ("i0", "i1", "i2", "i9"):
        context = np.array([rows[item]], np.int32)
        np.testing.assert_array_equal(
            found.add_up(context, one).values, expected.add_up(context, one).values
        )
    context, place = np.array([rows["i0"]], np.int32), np.searchsorted(found.known, rows["i1"])
    np.testing.assert_array_equal(before.known, found.known)
    assert found.add_up(context, one).values[place] > before.add_up(context, one).values[place]
