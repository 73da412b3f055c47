"""Users of whom little is known are ranked no worse than by popularity."""

from __future__ import annotations

import numpy as np
import pytest

from client.fusion.fusion_weights import is_cautious, local_weights
from client.fusion.scores import Pool
from client.fusion.short_histories import (
    fuse_by_history,
    new_user_share,
    new_user_weights,
)

NAMES = ("popularity", "ease", "text")


def pool_of(n: int, **hits: float) -> Pool:
    """Signals of chance, each of which knows the answer of a share of the queries."""
    rng = np.random.default_rng(1)
    targets = np.zeros((n, 40), np.bool_)
    targets[np.arange(n), rng.integers(0, 40, n)] = True
    signals = {name: rng.normal(size=(n, 40)).astype(np.float32) for name in NAMES}
    for name, share in hits.items():
        knows = np.arange(n) < share * n
        signals[name] += 6.0 * (targets & knows[:, None])
    return Pool(signals, targets, targets.sum(axis=1))


def test_the_share_of_a_new_user_falls_smoothly_by_what_is_usual_in_the_shop() -> None:
    n_items = np.arange(0, 400)
    for usual in (0.0, 7.0, 250.0):
        share = new_user_share(n_items, usual)
        assert share[0] == share[1] == 1.0
        assert (np.diff(share) <= 0).all()
        assert share[-1] == 0.0
        assert np.diff(share).min() >= -0.5
    assert new_user_share(5, 7.0) < 0.1 < 0.8 < new_user_share(5, 250.0)


def test_weights_leave_popularity_only_for_a_clear_gain() -> None:
    learned = [{"popularity": 0.0, "ease": 0.0, "text": 1.0}]
    clear = new_user_weights(pool_of(60, text=0.9, popularity=0.1), learned, public=None)
    assert clear["text"] > 0.5
    slight = new_user_weights(pool_of(60, text=0.33, popularity=0.3), learned, public=None)
    assert slight == {"popularity": 1.0, "ease": 0.0, "text": 0.0}


def test_few_queries_of_a_shop_of_short_histories_follow_its_texts() -> None:
    public = {"popularity": 0.0, "ease": 0.2, "text": 0.8}
    texts = pool_of(5, text=1.0)
    assert new_user_weights(texts, [public], public=public) == public
    known = pool_of(5, popularity=1.0)
    assert new_user_weights(known, [public], public=public)["popularity"] == 1.0


@pytest.mark.parametrize("sparse", [True, False])
def test_new_users_of_many_queries_are_never_below_popularity_on_them(sparse: bool) -> None:
    for seed, shares in enumerate(({"popularity": 0.5}, {"ease": 0.5}, {"text": 0.2})):
        pool = pool_of(40 + seed, **shares)
        weights = local_weights(pool, "new-user", NAMES, sparse=sparse)
        assert pool.ndcg(weights).mean() >= pool.ndcg({"popularity": 1.0}).mean()
    assert is_cautious("new-user", sparse=False)
    assert not is_cautious("new-user", sparse=True)
    assert not is_cautious("discover", sparse=False)


def test_scores_of_a_query_lie_between_those_of_both_weights() -> None:
    rng = np.random.default_rng(0)
    signals = {name: rng.normal(size=(4, 9)).astype(np.float32) for name in NAMES}
    whole, new = {"ease": 1.0}, {"text": 1.0}
    n_items = np.array([0, 1, 2, 500])
    found = fuse_by_history(signals, whole, new, n_items=n_items, usual=8.0, smooth=True)
    np.testing.assert_array_equal(found[0], signals["popularity"][0])
    np.testing.assert_array_equal(found[1], signals["text"][1])
    np.testing.assert_allclose(found[2], (signals["text"][2] + signals["ease"][2]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(found[3], signals["ease"][3])
    plain = fuse_by_history(signals, whole, new, n_items=n_items, usual=8.0, smooth=False)
    np.testing.assert_array_equal(plain[0], signals["popularity"][0])
    np.testing.assert_array_equal(plain[1:], signals["ease"][1:])
