import numpy as np
import pytest
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from server.aggregation.averaging import (
    ExactSum,
    lora_pairs,
    orthonormal_factors,
    robust_mean,
    rotate,
)
from shared.errors import ModelError, RunError


@pytest.fixture(autouse=True)
def _identity() -> None:
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1


def of(*values: float) -> dict[str, np.ndarray]:
    return {"w": np.array([values], np.float32)}


def test_equal_and_public_weights_by_hand() -> None:
    total = ExactSum()
    total.add(of(1.0, 10.0))
    total.add(of(2.0, -4.0))
    np.testing.assert_array_equal(total.mean()["w"], [[1.5, 3.0]])
    np.testing.assert_array_equal(total.total()["w"], [[3.0, 6.0]])
    weighted = ExactSum()
    weighted.add(of(1.0, 10.0), weight=1.0)
    weighted.add(of(2.0, -4.0), weight=0.25)
    np.testing.assert_allclose(weighted.mean()["w"], [[1.2, 7.2]], rtol=1e-7)
    assert weighted.mean()["w"].dtype == np.float32


float32s = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


@settings(max_examples=60)
@given(st.lists(arrays(np.float32, 4, elements=float32s), min_size=1, max_size=12), st.randoms())
def test_the_mean_is_the_same_bits_in_every_order(updates, random) -> None:  # type: ignore[no-untyped-def]
    def mean(order: list[tuple[float, np.ndarray]]) -> np.ndarray:
        total = ExactSum()
        for weight, update in order:
            total.add({"w": update}, weight=weight)
        return total.mean()["w"]

    weights = [1 / (1 + number) for number in range(len(updates))]
    ordered = list(zip(weights, updates, strict=True))
    shuffled = list(ordered)
    random.shuffle(shuffled)
    expected = np.average(np.stack(updates).astype(np.float64), axis=0, weights=weights)
    np.testing.assert_array_equal(mean(ordered), mean(shuffled))
    np.testing.assert_allclose(mean(ordered), expected, rtol=1e-6, atol=1e-9)


def test_tiny_numbers_survive_next_to_large_ones() -> None:
    total = ExactSum()
    for value in (1e6, 1e-12, -1e6):
        total.add(of(value))
    np.testing.assert_allclose(total.total()["w"], [[np.float32(1e-12)]], rtol=1e-5)


def test_a_number_that_could_overflow_the_sum_is_refused() -> None:
    with pytest.raises(ValueError, match="1048576"):
        ExactSum().add(of(2.0**20))


def test_adding_does_not_change_the_update() -> None:
    update, total = of(1.0), ExactSum()
    total.add(update)
    total.add(update)
    np.testing.assert_array_equal(update["w"], [[1.0]])
    np.testing.assert_array_equal(total.total()["w"], [[2.0]])


def test_median_and_trimmed_mean_by_hand() -> None:
    updates = [of(v, -v) for v in (1.0, 2.0, 3.0, 10.0, 1000.0)]
    median = robust_mean(updates, method="median")["w"]
    trimmed = robust_mean(updates, method="trimmed-mean")["w"]
    np.testing.assert_array_equal(median, [[3.0, -3.0]])
    np.testing.assert_array_equal(trimmed, [[5.0, -5.0]])
    assert median.dtype == trimmed.dtype == np.float32


def test_krum_takes_one_of_the_honest_updates() -> None:
    updates = [of(1.0, 1.0), of(1.1, 1.0), of(1.0, 1.1), of(1.1, 1.1), of(500.0, -500.0)]
    chosen = robust_mean(updates, method="krum")["w"]
    assert any(np.array_equal(chosen, update["w"]) for update in updates[:4])


@pytest.mark.parametrize(("method", "least"), [("median", 3), ("trimmed-mean", 5), ("krum", 5)])
def test_a_robust_method_withstands_one_hostile_update_or_is_refused(
    method: str, least: int
) -> None:
    honest = [of(1.0 + number / 10) for number in range(least - 1)]
    assert 1.0 <= robust_mean([*honest, of(500.0)], method=method)["w"][0, 0] <= 2.0
    with pytest.raises(RunError, match=rf"federation.robust={method} needs {least} good updates"):
        robust_mean([*honest[1:], of(500.0)], method=method)


def test_pairs_and_what_is_none() -> None:
    names = ["b.lora_B.weight", "a.lora_A.weight", "b.lora_A.weight", "a.lora_B.weight"]
    assert lora_pairs(names) == [
        ("a.lora_A.weight", "a.lora_B.weight"),
        ("b.lora_A.weight", "b.lora_B.weight"),
    ]
    for bad in ([], ["a.lora_A.weight"], ["a.lora_B.weight"], [*names, "classifier.weight"]):
        with pytest.raises(ModelError, match="pairs"):
            lora_pairs(bad)


shapes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 4))


@settings(max_examples=60)
@given(shapes, st.integers(0, 2**32 - 1), st.booleans())
def test_fedsvd_keeps_product_and_momentum(shape, seed: int, singular: bool) -> None:  # type: ignore[no-untyped-def]
    out, rank, extra = shape
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((rank, rank + extra)).astype(np.float32)
    B = rng.standard_normal((out, rank)).astype(np.float32)
    if singular:
        B[:, 0] = 0
    M = rng.standard_normal((out, rank)).astype(np.float32)
    new_A, new_B = orthonormal_factors(A, B)
    assert (new_A.shape, new_B.shape) == (A.shape, B.shape)
    np.testing.assert_allclose(new_A @ new_A.T, np.eye(rank), atol=1e-5)
    np.testing.assert_allclose(new_B @ new_A, B @ A, atol=1e-4)
    np.testing.assert_allclose(rotate(M, old_A=A, new_A=new_A) @ new_A, M @ A, atol=1e-4)
    gram = new_B.T @ new_B
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-4)
    assert (np.diff(np.diag(gram)) <= 1e-4).all()


def test_fedsvd_of_an_untrained_adapter_is_orthonormal_too() -> None:
    A = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 3.0]], np.float32)
    new_A, new_B = orthonormal_factors(A, np.zeros((4, 2), np.float32))
    np.testing.assert_allclose(new_A @ new_A.T, np.eye(2), atol=1e-6)
    np.testing.assert_array_equal(new_B, np.zeros((4, 2)))
