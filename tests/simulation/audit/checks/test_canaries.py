"""Canaries and the hook that watches real training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from client.training.dp_sgd import StepSpec
from shared.privacy.noise import RandomSource, discrete_gaussian, grid_variance
from simulation.audit.checks.canaries import observe_training


def spec(**changes: float | int) -> StepSpec:
    given = {
        "steps": 5, "sample_rate": 1.0, "divisor": 100.0, "max_grad_norm": 0.01,
        "noise_variance": 0, "learning_rate": 0.3, "physical_batch": 3, **changes,
    }  # fmt: skip
    return StepSpec(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("clip", [1e-3, 0.01, 50.0])
def test_without_noise_a_canary_scores_one_and_an_absent_one_zero(clip: float) -> None:
    watched = observe_training(
        spec(max_grad_norm=clip),
        canary_of=np.array([0, 2, 3, 6]),
        n_canaries=7,
        random=RandomSource.from_seed(1),
    )
    expected = np.tile([1, 0, 1, 1, 0, 0, 1], (5, 1))
    np.testing.assert_allclose(watched.scores, expected, atol=1e-4)
    np.testing.assert_allclose(watched.moves[:, :, 0], np.sqrt(0.5), atol=1e-4)


def test_noise_has_the_plans_size_in_every_step() -> None:
    watched = observe_training(
        spec(noise_variance=grid_variance(1.7)),
        canary_of=np.zeros(0, dtype=np.int64),
        n_canaries=4000,
        random=RandomSource.from_seed(1),
    )
    assert watched.moves.shape == (5, 2, 4000)
    np.testing.assert_allclose(watched.scores.std(axis=1), 1.7, rtol=0.05)


def test_users_of_each_step_are_seen_and_empty_steps_too() -> None:
    watched = observe_training(
        spec(steps=40, sample_rate=0.2, noise_variance=grid_variance(1.0)),
        canary_of=np.arange(8),
        n_canaries=8,
        random=RandomSource.from_seed(3),
    )
    source = RandomSource.from_seed(3)
    for users in watched.users:  # a draw of users, then the noise of two tensors
        np.testing.assert_array_equal(users, np.flatnonzero(source.uniform(8) < 0.2))
        for _ in range(2):
            discrete_gaussian(source, 8, variance=grid_variance(1.0))
    assert len(watched.users) == 40
    assert min(len(users) for users in watched.users) == 0


def test_other_optimizers_are_not_watched() -> None:
    other = torch.nn.Parameter(torch.zeros(1))
    other.grad = torch.ones(1)
    sgd = torch.optim.SGD([other], lr=1.0)

    class Stepping(RandomSource):
        def words(self, n: int):  # type: ignore[no-untyped-def]
            sgd.step()
            return super().words(n)

    watched = observe_training(
        spec(noise_variance=grid_variance(1.0)),
        canary_of=np.arange(2),
        n_canaries=2,
        random=Stepping(bytes(32), repeatable=True),
    )
    assert len(watched.moves) == 5
    assert other.item() <= -10.0
