"""The estimate that a run hands on: the same whatever the vectors' lengths, and never a crash."""

from __future__ import annotations

import numpy as np
import pytest

from shared.protocol.messages import CodesArray, FloatArray
from shared.releases.noisy_statistics import PairRelease, estimate_pairs, release_pairs
from shared.releases.pair_sums import n_pairs

HEAD: CodesArray = np.arange(3, 63)
RNG = np.random.default_rng(0)
VECTORS: FloatArray = RNG.standard_normal((80, 6)).astype(np.float32)
POPULARITY: FloatArray = RNG.exponential(5, 80).astype(np.float32)
NOISY: FloatArray = (RNG.exponential(2, n_pairs(60)) + RNG.standard_normal(n_pairs(60))).astype(
    np.float32
)


def release(noisy: FloatArray = NOISY, *, std: float = 1.0, **changes: FloatArray) -> PairRelease:
    given = {"head": HEAD, "item_vectors": VECTORS, "popularity": POPULARITY} | changes
    found = release_pairs(noisy, std=std, **given)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_it_is_the_estimate_over_the_heads_unit_vectors_and_popularity() -> None:
    unit = VECTORS[HEAD] / np.linalg.norm(VECTORS[HEAD], axis=1, keepdims=True)
    expected = estimate_pairs(NOISY, std=1.0, vectors=unit, popularity=POPULARITY[HEAD])
    found = release()
    assert found.estimate() == pytest.approx(expected, rel=1e-4)
    assert (found.estimate().dtype, found.head.tolist()) == (np.float32, HEAD.tolist())
    longer = release(item_vectors=VECTORS * np.float32(7))
    assert longer.estimate() == pytest.approx(found.estimate(), rel=1e-4)


def test_a_shop_takes_its_own_part_out_before_the_estimate() -> None:
    own = RNG.exponential(1, n_pairs(60))
    without = release((NOISY - own).astype(np.float32)).estimate()
    assert release().estimate(own) == pytest.approx(without, rel=1e-4)
    assert release(np.abs(NOISY), std=0.0).estimate(np.abs(NOISY)).max() == 0.0


def test_without_noise_it_is_the_sums() -> None:
    assert release(np.abs(NOISY), std=0.0).estimate() == pytest.approx(np.abs(NOISY))


@pytest.mark.parametrize("size", [2, 3])
def test_the_smallest_heads_have_an_estimate(size: int) -> None:
    noisy = np.ones(n_pairs(size), np.float32)
    found = release(noisy, head=HEAD[:size])
    assert found.estimate().shape == (n_pairs(size),)
    assert np.isfinite(found.estimate()).all()


def test_one_item_has_no_pair() -> None:
    found = release_pairs(
        np.zeros(0, np.float32),
        head=HEAD[:1],
        std=1.0,
        item_vectors=VECTORS,
        popularity=POPULARITY,
    )
    assert found is None


def test_items_without_popularity_or_text_do_not_break_it() -> None:
    found = release(
        np.zeros_like(NOISY), popularity=np.zeros_like(POPULARITY), item_vectors=0 * VECTORS
    )
    assert np.isfinite(found.estimate()).all()
    assert (found.estimate() >= 0).all()
