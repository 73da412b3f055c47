from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ModelError
from shared.model.profile_space import REGULARISATION, fit_whitening
from shared.settings.run_settings import ModelSettings


def texts(n: int, width: int, *, rank: int | None = None, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((n, rank or width)) * np.geomspace(3, 0.3, rank or width)
    mixing, _ = np.linalg.qr(rng.standard_normal((width, width)))
    return (factors @ mixing[: rank or width] + 0.5).astype(np.float32)


def test_two_points_by_hand() -> None:
    # mean (1, 3); one axis, (1, 0), of variance 1; the mean of both axes' variances is 1/2
    whitening = fit_whitening(np.array([[0, 3], [2, 3]], dtype=np.float32), dim=2)
    np.testing.assert_allclose(whitening.mean, [1, 3])
    np.testing.assert_allclose(whitening.components, [[1.0005**-0.5], [0]], atol=1e-7)
    vectors = np.array([[2.0, 0.5], [4.0, 9.0], [0.5, 0.0], [0.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(whitening.apply(vectors), [[1], [1], [-1], [0]])


@settings(max_examples=30, deadline=None)
@given(n=st.integers(30, 80), width=st.integers(2, 8), seed=st.integers(0, 1000))
def test_whitened_catalogue_is_centred_and_white(n: int, width: int, seed: int) -> None:
    vectors = texts(n, width, seed=seed)
    whitening = fit_whitening(vectors, dim=width)
    raw = (vectors - whitening.mean).astype(np.float64) @ whitening.components
    np.testing.assert_allclose(raw.mean(axis=0), 0.0, atol=1e-5)
    values = np.linalg.eigvalsh(np.cov(vectors.T.astype(np.float64), bias=True))[::-1]
    expected = np.diag(values / (values + REGULARISATION * values.mean()))
    np.testing.assert_allclose(raw.T @ raw / n, expected, atol=1e-4)
    lengths = np.linalg.norm(whitening.apply(vectors), axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-5)


def test_dimensions_are_sorted_by_variance() -> None:
    vectors = texts(500, 6)
    whitening = fit_whitening(vectors, dim=4)
    scales = np.linalg.norm(whitening.components, axis=0)
    assert (np.diff(scales) > 0).all()
    values = np.linalg.eigvalsh(np.cov(vectors.T, bias=True))[::-1]
    np.testing.assert_allclose(scales, (values + 1e-3 * values.mean())[:4] ** -0.5, rtol=1e-4)


@pytest.mark.parametrize(("n", "rank", "kept"), [(5, None, 4), (50, 3, 3)])
def test_a_catalogue_that_spans_little_gets_fewer_dimensions(
    n: int, rank: int | None, kept: int
) -> None:
    whitening = fit_whitening(texts(n, 16, rank=rank), dim=10)
    assert whitening.dim == kept
    assert whitening.note.startswith(f"dim=10 reduced to {kept}")
    assert fit_whitening(texts(50, 16), dim=10).note == ""
    fitted = whitening.fit_settings(ModelSettings(dim=10, rank=8, alpha=16.0))
    assert (fitted.dim, fitted.rank, fitted.alpha) == (kept, kept + 1, 2.0 * (kept + 1))


def test_items_without_text_neither_count_nor_get_a_vector() -> None:
    vectors = texts(40, 5)
    padded = np.concatenate([np.zeros((7, 5), dtype=np.float32), vectors])
    with_empty, without = fit_whitening(padded, dim=3), fit_whitening(vectors, dim=3)
    np.testing.assert_allclose(with_empty.components, without.components, atol=1e-5)
    assert not with_empty.apply(padded)[:7].any()
    np.testing.assert_allclose(with_empty.apply(padded)[7:], without.apply(vectors), atol=1e-5)


def test_order_of_items_does_not_matter() -> None:
    vectors = texts(60, 6)
    one, two = fit_whitening(vectors, dim=6), fit_whitening(vectors[::-1], dim=6)
    np.testing.assert_allclose(one.components, two.components, atol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_texts_that_are_all_alike_are_refused(n: int) -> None:
    row = np.random.default_rng(0).standard_normal(384).astype(np.float32)
    vectors = np.concatenate([np.zeros((2, 384), dtype=np.float32), np.tile(row, (n, 1))])
    with pytest.raises(ModelError, match=rf"{n} of {n + 2} items have text.*at least 2 different"):
        fit_whitening(vectors, dim=8)


def test_base_hash_covers_arrays_and_text_space() -> None:
    whitening = fit_whitening(texts(40, 5), dim=3)
    again = fit_whitening(texts(40, 5), dim=3)
    assert whitening.base_hash("a") == again.base_hash("a")
    assert whitening.base_hash("a") != whitening.base_hash("b")
    for array in (again.mean, again.components):
        array.flat[0] += 1e-6
        assert whitening.base_hash("a") != again.base_hash("a")
        array.flat[0] -= 1e-6
    assert fit_whitening(texts(40, 5), dim=2).base_hash("a") != whitening.base_hash("a")


def test_signs_do_not_depend_on_the_linear_algebra_library() -> None:
    components = fit_whitening(texts(60, 6), dim=6).components
    largest = np.abs(components).argmax(axis=0)
    assert (components[largest, np.arange(6)] > 0).all()
