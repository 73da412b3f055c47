"""What the federation knows of other shops' users, on a shop's own items and in its answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client.fusion import scores as fusion
from client.recommenders.ease import FederatedEASE
from client.recommenders.interface import QueryContext
from client.recommenders.local import LOCAL_NAMES, behaviour_recommenders
from client.recommenders.queries import History, Queries
from client.recommenders.tables.item_scores import DenseScores
from client.recommenders.tables.item_vectors import ItemVectors, ProfileSpace
from client.recommenders.tables.pair_gram import PairGram
from client.serving.features.federated_statistics import (
    NO_FEDERATION,
    FederatedStatistics,
    ReleasedStatistics,
    fit_pairs,
)
from client.serving.features.interactions import Interactions
from client.serving.ranking.fusion_weights import (
    PROFILE_VARIANTS,
    FusionWeights,
    fit_fusion_weights,
    public_fusion_weights,
    split_profile_weight,
)
from client.serving.ranking.signals import SIGNAL_NAMES, SignalSources
from client.serving.ranking.weight_learning import LearnedFusion, learn_fusion_weights
from client.serving.state.refresh import refresh_engine
from shared.releases.noisy_statistics import PairRelease
from shared.releases.pair_sums import n_pairs, pair_sums, user_sizes
from tests.client.recommenders.small_shops import N_ITEMS, item_vectors, shop_events
from tests.client.serving.http.test_api import buy
from tests.client.serving.ranking.test_signals import N_USERS, columns_of
from tests.client.serving.small_service import N_ITEMS as SERVICE_ITEMS

L2 = 200.0
"""Penalty of EASE with dates, as a figure: a constant of the code that slips must fail."""
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
def released(own, others) -> ReleasedStatistics:
    code_of = np.argsort(ORDER)
    sums = [
        pair_sums(replace(events, item=code_of[events.item].astype(np.int32)), CODES)
        for events in (own, others)
    ]
    return ReleasedStatistics(
        item_ids=[*(f"i{row}" for row in ORDER), "elsewhere"],
        releases={"adapter": 3, "pairs": 2, "counts": 1},
        scale=3.0,
        reliability=0.8,
        prior=np.linspace(-1, 1, N_ITEMS + 1).astype(np.float32),
        pair_release=clean(CODES, sum(sums)),
        includes_own=True,
    )


def clean(head: np.ndarray, sums: np.ndarray) -> PairRelease:
    return PairRelease(
        head, sums.astype(np.float32), 0.0, np.ones((len(head), 1)), np.ones(len(head))
    )


def placed(
    released: ReleasedStatistics, own, n_items: int = N_ITEMS
) -> tuple[FederatedStatistics, Interactions]:
    interactions = Interactions.build(own.user, own.item, columns_of(own), n_users=N_USERS)
    rows = {f"i{row}": row for row in range(n_items)}
    return FederatedStatistics.of(released, rows, interactions, n_items=n_items), interactions


def test_pairs_come_to_the_shops_rows_without_its_own_users(released, own, others) -> None:
    federated, _ = placed(released, own)
    head = np.sort(ORDER[CODES[:-1]])
    expected = PairGram.of(head, pair_sums(others, head), user_sizes(own, head))
    np.testing.assert_array_equal(federated.gram.head, head)
    np.testing.assert_allclose(federated.gram.matrix, expected.matrix, atol=1e-4)
    alone, _ = placed(replace(released, includes_own=False), own)
    assert not np.allclose(alone.gram.matrix, expected.matrix, atol=1e-2)


def test_the_pairs_signal_is_the_dense_recommender_less_a_constant(released, own) -> None:
    federated, interactions = placed(released, own)
    pairs = fit_pairs(interactions.history(N_ITEMS), federated, time_unit="days")
    known = History(own, np.arange(N_ITEMS, dtype=np.int32), np.zeros(N_USERS))
    nothing = np.zeros((N_USERS, N_ITEMS), np.bool_)
    queries = Queries("for-you", np.arange(N_USERS), known, known, None, nothing)
    model = FederatedEASE(
        federated.gram,
        weight=0.2,
        l2=L2,
        form="visits",
        half_life=120.0,
    )
    expected = model.fit(known).score(queries)
    space = ProfileSpace(ItemVectors.of(item_vectors()), None, half_life=120.0, text_half_life=60.0)
    local = behaviour_recommenders("days")
    sources = SignalSources(local, space, "days", federated, pairs)
    for user in range(N_USERS):
        own_events = interactions.of(user)
        context = sources.context(own_events, own_events)
        found = pairs.answer(context).dense(space.vectors)
        centred = expected[user] - expected[user].mean()
        np.testing.assert_allclose(found - found.mean(), centred, rtol=2e-3, atol=5e-4)


def asked(pairs: FederatedEASE, *rows: int):
    """What pairs answer to a context of items, each of which counts 1."""
    items, ones, nothing = np.array(rows, np.int32), np.ones(len(rows), np.float32), np.zeros(0)
    return pairs.answer(QueryContext(items, ones, ones, nothing, nothing, items, ones))


def test_an_item_that_nobody_knows_has_the_mean_of_the_others(released, own) -> None:
    federated, interactions = placed(released, own, n_items=N_ITEMS + 2)
    pairs = fit_pairs(interactions.history(N_ITEMS + 2), federated, time_unit="days")
    found = asked(pairs, 0, 3)
    assert {N_ITEMS, N_ITEMS + 1} & set(found.rows.tolist()) == set()
    assert found.values.sum() == pytest.approx(0.0, abs=1e-4)
    assert found.values.max() > 0.01


def test_the_prior_follows_the_items_and_grows_with_them(released, own) -> None:
    federated, _ = placed(released, own, n_items=N_ITEMS + 1)
    np.testing.assert_array_equal(federated.prior.values[ORDER], released.prior[:N_ITEMS])
    assert federated.prior.values[N_ITEMS] == 0  # not in the public catalogue
    grown = federated.grown({"elsewhere": N_ITEMS + 1, "i0": 0}, n_items=N_ITEMS + 4)
    assert len(grown.prior.values) == N_ITEMS + 4
    assert grown.prior.values[N_ITEMS + 1] == released.prior[N_ITEMS] == 1
    assert not grown.prior.values[[N_ITEMS, N_ITEMS + 2, N_ITEMS + 3]].any()
    np.testing.assert_array_equal(grown.prior.values[:N_ITEMS], federated.prior.values[:N_ITEMS])
    assert grown.gram is federated.gram
    assert NO_FEDERATION.grown({}, n_items=5) is NO_FEDERATION


@pytest.mark.parametrize("name", ["global-prior", "global-half", "global"])
def test_weights_apart_rank_as_the_joined_signal(name: str) -> None:
    rng = np.random.default_rng(1)
    vectors = ItemVectors.of(item_vectors())
    prior = DenseScores.of(rng.normal(0, 1.5, N_ITEMS).astype(np.float32))
    projection = np.eye(8, 9, dtype=np.float32)
    space = ProfileSpace(vectors, projection, half_life=120.0, text_half_life=60.0)
    sources = SignalSources({}, space, "days", FederatedStatistics(prior, scale=4.0))
    weights = split_profile_weight({"ease": 0.4, name: 0.6}, sources)
    assert weights["ease"] == 0.4
    assert (weights["prior"] > 0) == (name != "global")
    likeness = vectors.scores(space.global_profile(vectors[7]))
    joined = 4.0 * likeness + PROFILE_VARIANTS[name] * prior.values
    split = sum(
        weights[n] * (v - v.mean()) / v.std()
        for n, v in (("global", likeness), ("prior", prior.values))
    )
    assert np.corrcoef(joined, split)[0, 1] > 0.999
    assert split.std() == pytest.approx(0.6, rel=0.15)


def test_before_anything_is_learned_noise_keeps_the_federation_out(released, own) -> None:
    federated, _ = placed(released, own)
    space = ProfileSpace(
        ItemVectors.of(item_vectors()), np.eye(8, 9, dtype=np.float32), 120.0, 60.0
    )
    for reliability in (0.0, 0.5, 1.0):
        found = SignalSources(
            {},
            space,
            "days",
            replace(federated, reliability=reliability),
        )
        mix = public_fusion_weights(found)["discover"]
        assert (mix.fused["pairs"] > 0) == (mix.fused["global"] > 0) == (reliability > 0)
        assert public_fusion_weights(found)["for-you"].fused["pairs"] == 0
        assert sum(mix.local.values()) == pytest.approx(1)
    local = replace(found, federated=NO_FEDERATION, space=replace(space, projection=None))
    assert all(weight == 0 for n, weight in public_fusion_weights(local)["discover"].fused.items()
               if n not in LOCAL_NAMES)  # fmt: skip


def test_before_anything_is_learned_weights_go_straight_from_the_shops_to_the_public_mix(
    released, own
) -> None:
    federated, _ = placed(replace(released, prior=None), own)
    space = ProfileSpace(
        ItemVectors.of(item_vectors()), np.eye(8, 9, dtype=np.float32), 120.0, 60.0
    )

    def mix(reliability: float) -> FusionWeights:
        trusted = replace(federated, reliability=reliability)
        sources = SignalSources({}, space, "days", trusted)
        return public_fusion_weights(sources)["discover"]

    alone, half, whole = (mix(reliability).fused for reliability in (0.0, 0.5, 1.0))
    assert {n: weight for n, weight in alone.items() if weight} == {
        n: weight for n, weight in mix(0.0).local.items() if weight
    }
    for name in SIGNAL_NAMES:
        assert half[name] == pytest.approx((alone[name] + whole[name]) / 2)
    assert sum(half.values()) == pytest.approx(1.0)


def random_release(seed: int) -> ReleasedStatistics:
    rng = np.random.default_rng(seed)
    head = np.arange(0, SERVICE_ITEMS, 2)
    return ReleasedStatistics(
        item_ids=[f"i{item}" for item in range(SERVICE_ITEMS)],
        releases={"adapter": 3, "pairs": 2, "counts": 1},
        scale=3.0,
        reliability=1.0,
        prior=rng.normal(size=SERVICE_ITEMS).astype(np.float32),
        pair_release=clean(head, rng.gamma(1.0, 5.0, n_pairs(len(head)))),
        includes_own=False,
    )


@pytest.fixture
def federated(service, monkeypatch):
    """A service whose federation released nothing but chance, with the weights that a test sets."""
    monkeypatch.setattr(service, "learn", lambda: None)  # else the background sets others
    engine = service.engine
    interactions, n_items = engine.interactions, len(engine.items)
    federated = FederatedStatistics.of(
        random_release(0), engine.items.rows, interactions, n_items=n_items
    )
    pairs = fit_pairs(interactions.history(n_items), federated, time_unit="days")
    rng = np.random.default_rng(0)
    dim = engine.sources.space.vectors.dim
    projection = rng.normal(size=(dim, dim + 1)).astype(np.float32)
    space = replace(engine.sources.space, projection=projection)
    learned = LearnedFusion(engine.fusion_weights, None)
    engine.set_adapter(space, federated, pairs, learned)
    return service


def test_an_explanation_names_the_federations_signals_and_adds_up(federated, client) -> None:
    fused = dict.fromkeys(SIGNAL_NAMES, 0.0) | {"pairs": 0.7, "prior": 0.2, "global": 0.1}
    local = dict.fromkeys(LOCAL_NAMES, 0.0) | {"ease": 1.0}
    federated.engine.set_fusion_weights(
        dict.fromkeys(federated.engine.fusion_weights, FusionWeights(local, fused))
    )
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
    fused = dict.fromkeys(SIGNAL_NAMES, 0.0) | {"pairs": 0.5, "prior": 0.5}
    local = dict.fromkeys(LOCAL_NAMES, 0.0) | {"ease": 1.0}
    federated.engine.set_fusion_weights(
        dict.fromkeys(federated.engine.fusion_weights, FusionWeights(local, fused))
    )
    new = {"item_id": "new", "text": "private soap", "category": "c0"}
    assert client.post("/api/items", json=[new]).status_code == 201
    items = client.get("/api/recommend/u1?n=100&explain=true").json()["items"]
    (found,) = [entry for entry in items if entry["item_id"] == "new"]
    assert abs(found["score"]) < 0.3  # nothing is known of it, so it is near the mean
    assert items[0]["score"] > 0.5


def test_a_refresh_counts_pairs_with_the_new_events(federated, client) -> None:
    engine = federated.engine
    before = engine.sources.federated_ease
    for user in range(30):
        buy(client, f"new{user}", "i0", "i1", "i2")  # of three tastes: nobody bought them together
    assert refresh_engine(engine)
    found = engine.sources.federated_ease
    history = engine.interactions.history(len(engine.items))
    expected = fit_pairs(history, engine.sources.federated, time_unit="days")
    np.testing.assert_array_equal(found.known, expected.known)
    rows = engine.items.rows
    for item in ("i0", "i1", "i2", "i9"):
        found_scores, expected_scores = asked(found, rows[item]), asked(expected, rows[item])
        np.testing.assert_array_equal(found_scores.values, expected_scores.values)
    place = np.searchsorted(found.known, rows["i1"])
    np.testing.assert_array_equal(before.known, found.known)
    assert asked(found, rows["i0"]).values[place] > asked(before, rows["i0"]).values[place]


def test_nothing_is_served_of_a_release_that_cannot_be_told_from_noise(released, own) -> None:
    federated, _ = placed(replace(released, reliability=0.0, prior=None), own)
    space = ProfileSpace(
        ItemVectors.of(item_vectors()), np.eye(8, 9, dtype=np.float32), 120.0, 60.0
    )
    sources = SignalSources({}, space, "days", federated)
    rng = np.random.default_rng(0)
    targets = np.zeros((40, 30), np.bool_)
    targets[:, 3] = True
    signals = {name: rng.normal(size=(40, 30)).astype(np.float32) for name in SIGNAL_NAMES}
    signals["pairs"] += 9.0 * targets  # by chance, or because the server knows the answers
    nobody = History(own.select(slice(0, 0)), np.arange(30, dtype=np.int32), np.zeros(0))
    learned = fit_fusion_weights(
        fusion.Pool(signals, targets, targets.sum(axis=1)), "discover", sources, nobody
    )
    public = public_fusion_weights(sources)["discover"]
    for mix in (learned, public):
        assert mix is not None
        assert {name: mix.fused[name] for name in mix.local} == mix.local
        assert mix.fused["pairs"] == mix.fused["global"] == 0.0


def test_what_the_federation_says_ranks_hardly_below_the_local_signals(federated) -> None:
    engine = federated.engine
    n_learned = 0
    for seed in range(3):
        learned = learn_fusion_weights(engine.sources, engine.interactions, seed=seed)
        for mix in learned.weights.values():
            if mix.queries:
                assert {"global", "pairs", "prior"} <= set(mix.ndcg)
                # It released nothing but chance and calls it reliable; a loss within chance stays.
                assert mix.ndcg["fused"] >= 0.96 * mix.ndcg["local"]
                n_learned += 1
    assert n_learned


def test_a_public_mix_that_costs_something_here_is_not_taken(released, own) -> None:
    federated, _ = placed(replace(released, reliability=1.0, prior=None), own)
    space = ProfileSpace(
        ItemVectors.of(item_vectors()), np.eye(8, 9, dtype=np.float32), 120.0, 60.0
    )
    sources = SignalSources({}, space, "days", federated)
    nobody = History(own.select(slice(0, 0)), np.arange(40, dtype=np.int32), np.zeros(0))
    leaned = dict(public_fusion_weights(sources)["discover"].fused)
    stopped = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n, items = 30, 40
        targets = np.zeros((n, items), np.bool_)
        targets[np.arange(n), rng.integers(0, items, n)] = True
        signals = {name: rng.normal(size=(n, items)).astype(np.float32) for name in SIGNAL_NAMES}
        signals["text"] += 0.8 * targets  # the one signal that knows anything
        pool = fusion.Pool(signals, targets, targets.sum(axis=1))
        mix = fit_fusion_weights(pool, "discover", sources, nobody)
        assert mix is not None
        # With few queries a loss that chance explains is no evidence against public weights.
        gain = pool.ndcg(mix.fused) - pool.ndcg(mix.local)
        assert gain.mean() >= -1.5 * gain.std(ddof=1) / np.sqrt(n) - 1e-9
        stopped += bool(pool.ndcg(leaned).mean() < mix.ndcg["local"] - 1e-6)
    assert stopped  # leaning on public weights alone would have cost something
