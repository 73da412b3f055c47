"""The inverse by users, by items and in place, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from simulation.evaluation.ridge_inverse import (
    ByItems,
    ByUsers,
    Exact,
    Floats,
    fit_ridge,
    invert_in_place,
    write_gram,
)


def rows(n: int, c: int, seed: int = 0) -> sp.csr_array:
    drawn = sp.random_array((n, c), density=0.15, rng=np.random.default_rng(seed))
    return sp.csr_array(drawn.astype(np.float32))


def naive(x: sp.csr_array, l2: float) -> Exact:
    dense = x.toarray().astype(np.float64)
    return l2 * np.linalg.inv(dense.T @ dense + l2 * np.eye(x.shape[1]))


@pytest.mark.parametrize("n", [0, 1, 255, 256, 700])
def test_inverse_in_place_is_numpys_and_half_as_large(n: int) -> None:
    x = rows(n, 80)
    dense = x.toarray().astype(np.float64)
    inverse = invert_in_place(n, lambda exact: write_gram(x, 2.0, exact))
    np.testing.assert_allclose(inverse, np.linalg.inv(dense @ dense.T + 2.0 * np.eye(n)), atol=1e-6)
    np.testing.assert_array_equal(inverse, inverse.T)
    base: Floats = inverse
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert base.nbytes <= 4 * n * n + 8


def test_what_is_not_positive_definite_is_refused() -> None:
    def fill(exact: Exact) -> None:
        exact[:] = -np.eye(3)

    with pytest.raises(ValueError, match=r"\(3, 3\) is not positive definite"):
        invert_in_place(3, fill)


@pytest.mark.parametrize(("n", "c"), [(30, 90), (90, 30)])
def test_by_users_and_by_items_equal_the_naive_form(n: int, c: int) -> None:
    x, asked = rows(n, c), rows(7, c, seed=1)
    expected = naive(x, 5.0)
    everything = np.arange(c)
    columns = x.T.tocsr()
    for ridge in (
        ByUsers(x, 5.0),
        ByItems(c, everything, lambda exact: write_gram(columns, 5.0, exact), 5.0),
        fit_ridge(x, 5.0),
    ):
        np.testing.assert_allclose(ridge.of(asked), asked @ expected, atol=1e-5)
        np.testing.assert_allclose(ridge.diagonal, np.diag(expected), atol=1e-5)
        some = np.arange(3, c, 4)
        part = asked[:, some]
        inside = part @ expected[np.ix_(some, some)]
        np.testing.assert_allclose(ridge.restrict(some).of(part), inside, atol=1e-5)
    assert isinstance(fit_ridge(x, 5.0), ByUsers if n < c else ByItems)


def test_beyond_the_largest_matrix_the_items_of_most_users_count() -> None:
    x, asked = rows(90, 60), rows(7, 60, seed=1)
    ridge = fit_ridge(x, 5.0, largest=20)
    users = (x > 0).sum(axis=0)
    head = np.sort(np.argsort(-users, kind="stable")[:20])
    others = np.setdiff1d(np.arange(60), head)
    inside = asked[:, head] @ naive(x[:, head], 5.0)
    np.testing.assert_allclose(ridge.of(asked)[:, head], inside, atol=1e-5)
    # A score `x - xQ / diag Q` of 0: nothing is known of them.
    np.testing.assert_array_equal(ridge.of(asked)[:, others], asked[:, others].toarray())
    assert (ridge.diagonal[others] == 1.0).all()
