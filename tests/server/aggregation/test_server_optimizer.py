import numpy as np
import pytest

from server.aggregation.averaging import OptimizerState, optimizer_step
from server.federation.server_state import ServerState, apply_update, averaging_starts
from shared.protocol.messages import LORA_A, LORA_B
from shared.settings.run_settings import FederationSettings

A, B = f"p.{LORA_A}", f"p.{LORA_B}"


def run(settings: FederationSettings, updates: list[float]) -> list[float]:
    state, changes = OptimizerState(), []
    for value in updates:
        change, state = optimizer_step(
            {"w": np.array([[value]], np.float32)}, state=state, settings=settings
        )
        assert change["w"].dtype == np.float32
        changes.append(float(change["w"][0, 0]))
    return changes


def test_none_scales_by_the_learning_rate() -> None:
    settings = FederationSettings(server_optimizer="none", server_learning_rate=0.5)
    assert run(settings, [1.0, 3.0]) == [0.5, 1.5]


def test_momentum_by_hand() -> None:
    settings = FederationSettings(server_momentum=0.5, server_learning_rate=2.0)
    assert run(settings, [1.0, 1.0, -1.0]) == [2.0, 3.0, -0.5]


def test_adam_follows_its_formula() -> None:
    settings = FederationSettings(
        server_optimizer="adam", server_momentum=0.9, server_learning_rate=0.1
    )
    m = v = 0.0
    expected = []
    for step, u in enumerate([1.0, -2.0, 0.5], start=1):
        m, v = 0.9 * m + 0.1 * u, 0.99 * v + 0.01 * u * u
        expected.append(0.1 * (m / (1 - 0.9**step)) / ((v / (1 - 0.99**step)) ** 0.5 + 1e-3))
    assert run(settings, [1.0, -2.0, 0.5]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("rounds", "share", "first"),
    [(8, 0.5, 5), (7, 0.5, 4), (10, 0.7, 4), (3, 1.0, 1), (5, 0.01, 5)],
)
def test_first_averaged_round(rounds: int, share: float, first: int) -> None:
    assert averaging_starts(rounds=rounds, average_last=share) == first


def start(seed: int = 0) -> ServerState:
    rng = np.random.default_rng(seed)
    return ServerState(
        0,
        {
            A: rng.standard_normal((2, 5)).astype(np.float32),
            B: rng.standard_normal((3, 2)).astype(np.float32),
        },
    )


def test_final_adapter_is_the_mean_of_the_last_iterates() -> None:
    settings = FederationSettings(server_optimizer="none", average_last=0.5)
    state = first = start()
    for value in (1.0, 2.0, 3.0, 4.0):
        update = {B: np.full((3, 2), value, np.float32)}
        state = apply_update(state, update, settings=settings, rounds=4)
    np.testing.assert_allclose(state.final_adapter()[B], first.adapter[B] + 8.0, rtol=1e-6)
    np.testing.assert_array_equal(state.final_adapter()[A], first.adapter[A])
    assert state.averaged == 2
    np.testing.assert_array_equal(first.adapter[B], start().adapter[B])


def test_fedsvd_takes_the_same_path_as_frozen_a_in_product_space() -> None:
    """With the updates carried over to the new A, only the factors differ, never the product."""
    rng = np.random.default_rng(1)
    common = {"server_momentum": 0.7, "average_last": 0.6}
    plain = turned = start()
    for _ in range(5):
        update = rng.standard_normal((3, 2)).astype(np.float32)
        carried = update @ plain.adapter[A] @ np.linalg.pinv(turned.adapter[A])
        plain = apply_update(plain, {B: update}, settings=FederationSettings(**common), rounds=5)
        turned = apply_update(
            turned,
            {B: carried.astype(np.float32)},
            settings=FederationSettings(aggregation="fedsvd", **common),
            rounds=5,
        )
    for one, other in [
        (plain.adapter, turned.adapter),
        (plain.final_adapter(), turned.final_adapter()),
    ]:
        np.testing.assert_allclose(other[B] @ other[A], one[B] @ one[A], atol=2e-5)
    A_now = turned.adapter[A]
    np.testing.assert_allclose(A_now @ A_now.T, np.eye(2), atol=1e-6)
