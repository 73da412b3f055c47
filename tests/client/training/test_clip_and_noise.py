"""Sampling, per-user gradients and the private optimizer, against naive oracles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from client.training.clip_and_noise import (
    PrivateOptimizer,
    check_per_user,
    clip_to_grid,
    per_user_gradients,
)
from client.training.dp_sgd import poisson_sample
from shared.errors import ModelError
from shared.privacy.noise import GRID, RandomSource, discrete_gaussian, grid_variance
from tests.client.training.tiny_lora_models import (
    EXAMPLES,
    USERS,
    SoftmaxLoss,
    TextLoss,
    bert_model,
    naive_gradients,
    projection_model,
)


def test_full_rate_takes_everyone_and_draws_nothing() -> None:
    random = RandomSource.from_seed(1)
    assert poisson_sample(5, 1.0, random).tolist() == [0, 1, 2, 3, 4]
    assert poisson_sample(0, 1.0, random).tolist() == []
    assert random.uniform(3).tolist() == RandomSource.from_seed(1).uniform(3).tolist()


def test_each_user_is_drawn_at_the_rate_and_independently() -> None:
    random, rate, n, draws = RandomSource.from_seed(1), 0.3, 20, 20_000
    taken = np.zeros((draws, n))
    for row in taken:
        row[poisson_sample(n, rate, random).numpy()] = 1
    error = 4.5 * np.sqrt(rate * (1 - rate) / draws)
    np.testing.assert_allclose(taken.mean(axis=0), rate, atol=error)
    correlation = np.corrcoef(np.hstack([taken[1:], taken[:-1]]).T)  # users, and steps apart
    assert np.abs(correlation - np.eye(2 * n)).max() < 5 / np.sqrt(draws)
    assert taken.sum(axis=1).var() == pytest.approx(n * rate * (1 - rate), rel=0.05)


def test_small_rates_give_empty_batches() -> None:
    random = RandomSource.from_seed(1)
    sizes = [len(poisson_sample(3, 0.1, random)) for _ in range(2000)]
    assert np.mean([size == 0 for size in sizes]) == pytest.approx(0.9**3, abs=0.04)
    assert poisson_sample(0, 0.5, random).tolist() == []


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (projection_model, SoftmaxLoss()),
        (projection_model, SoftmaxLoss(flat=True)),
        (bert_model, TextLoss()),
    ],
    ids=["projection", "projection-rows", "bert-rows"],
)
def test_gradients_match_one_backward_pass_a_user(model: Any, loss: Any) -> None:
    net = model()
    expected = naive_gradients(net, loss, USERS)
    with per_user_gradients(net, rows_per_user=loss.rows_per_user):
        loss(net, torch.arange(USERS)).sum().backward()
        for name, p in net.named_parameters():
            if p.requires_grad:
                oracle = torch.stack([gradients[name] for gradients in expected])
                largest = float(oracle.abs().max())
                assert largest > 1e-3
                torch.testing.assert_close(p.grad_sample, oracle, rtol=1e-4, atol=largest / 50_000)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_all_rows_of_a_user_make_one_gradient(rows: int) -> None:
    # Clipped row by row, a user of two rows would add up to twice the bound.
    torch.manual_seed(0)
    net, inputs = nn.Linear(4, 3), torch.randn(USERS * rows, 4)
    oracle = []
    for of_user in inputs.split(rows):
        net.zero_grad()
        net(of_user).square().sum().backward()
        oracle.append(net.weight.grad.clone())
    with per_user_gradients(net, rows_per_user=rows):
        net(inputs).square().sum().backward()
        torch.testing.assert_close(net.weight.grad_sample, torch.stack(oracle))


def test_bfloat16_forward_still_gives_float32_gradients() -> None:
    net, loss = projection_model(), SoftmaxLoss()
    expected = naive_gradients(net, loss, USERS)
    with per_user_gradients(net, rows_per_user=1):
        with torch.autocast("cpu", torch.bfloat16):
            losses = loss(net, torch.arange(USERS))
        losses.sum().backward()
        for name, p in net.named_parameters():
            if p.requires_grad:
                oracle = torch.stack([gradients[name] for gradients in expected])
                assert p.grad_sample.dtype == torch.float32
                assert (p.grad_sample - oracle).norm() < 0.03 * oracle.norm()
                rounded = p.grad_sample.bfloat16().float()
                assert (rounded != p.grad_sample).float().mean() > 0.5  # more than bf16 holds


def test_the_model_comes_out_as_it_went_in() -> None:
    net = projection_model(dropout=0.5)
    net.train()
    before = [(name, set(vars(p))) for name, p in net.named_parameters()]
    with per_user_gradients(net, rows_per_user=1):
        hooked = [module for module in net.modules() if module.training]
        assert [type(module) for module in hooked] == [nn.Linear, nn.Linear]  # no dropout
    assert [(name, set(vars(p))) for name, p in net.named_parameters()] == before
    assert all(module.training for module in net.modules())
    assert not any(m._forward_hooks or m._backward_hooks for m in net.modules())


def test_rows_that_do_not_divide_into_users_are_refused() -> None:
    net, loss = projection_model(), SoftmaxLoss(flat=True)
    with per_user_gradients(net, rows_per_user=EXAMPLES + 1):
        total = loss(net, torch.arange(USERS)).sum()
        with pytest.raises(ModelError, match=r"layer=21 must be a multiple of rows_per_user=4"):
            total.backward()


def test_gradients_of_rows_mistaken_for_users_are_refused() -> None:
    p = nn.Parameter(torch.zeros(2))
    p.grad_sample = torch.zeros(6, 2)  # type: ignore[attr-defined]
    check_per_user({"p": p}, 6)
    with pytest.raises(ModelError, match="parameter=p has 6 gradients but must have one for each"):
        check_per_user({"p": p}, 3)
    p.grad_sample = None  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="parameter=p has no part in the loss"):
        check_per_user({"p": p}, 3)


def optimizer_over(
    *gradients: list[Any], noise: float = 0.0, divisor: float = 1.0, clip: float = 1.0
) -> tuple[PrivateOptimizer, list[nn.Parameter]]:
    """Parameters at zero with the given per-user gradients, and plain SGD with step 1."""
    parameters = []
    for values in gradients:
        sample = torch.tensor(values, dtype=torch.float32)
        p = nn.Parameter(torch.zeros(sample.shape[1:]))
        p.grad_sample = sample  # type: ignore[attr-defined]
        parameters.append(p)
    optimizer = PrivateOptimizer(
        torch.optim.SGD(parameters, lr=1.0),
        noise_variance=grid_variance(noise),
        max_grad_norm=clip,
        divisor=divisor,
        random=RandomSource.from_seed(1),
    )
    return optimizer, parameters


def test_a_user_is_clipped_over_all_parameters_together() -> None:
    # User 0 has norm 5 over both parameters, user 1 has norm 0.5 and stays as it is.
    optimizer, (p, q) = optimizer_over([[3.0], [0.3]], [[4.0], [0.4]])
    optimizer.step()
    assert p.item() == pytest.approx(-(0.6 + 0.3), abs=1e-5)
    assert q.item() == pytest.approx(-(0.8 + 0.4), abs=1e-5)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_a_user_without_a_finite_norm_counts_as_zero(poison: float) -> None:
    optimizer, (p, q) = optimizer_over([[poison, poison], [0.3, 0]], [[0.1], [0.4]])
    optimizer.step()
    clean, (clean_p, clean_q) = optimizer_over([[0.3, 0]], [[0.4]])
    clean.step()
    assert torch.equal(p, clean_p)
    assert torch.equal(q, clean_q)


def test_a_gradient_that_overflows_float32_is_clipped_like_any_other() -> None:
    optimizer, (p,) = optimizer_over([[3e38, 3e38]])
    optimizer.step()
    assert p.tolist() == pytest.approx([-(0.5**0.5)] * 2, abs=1e-5)


def test_the_divisor_is_public_and_not_the_batch() -> None:
    for users in (1, 4):
        optimizer, (p,) = optimizer_over([[0.5]] * users, divisor=10.0)
        optimizer.step()
        assert p.item() == pytest.approx(-0.05 * users, rel=1e-4)


def test_noise_has_the_claimed_deviation_and_comes_from_the_source() -> None:
    zeros = np.zeros((3, 200, 100)).tolist()
    optimizer, (p,) = optimizer_over(zeros, noise=2.0, clip=0.5, divisor=4.0)
    optimizer.step()
    drawn = discrete_gaussian(RandomSource.from_seed(1), 20_000, variance=grid_variance(2.0))
    assert torch.equal(optimizer.released[0].flatten(), torch.from_numpy(drawn))
    expected = drawn.reshape(200, 100) * 0.5 / GRID
    np.testing.assert_allclose(p.detach().numpy(), -expected / 4, rtol=1e-6)
    assert p.std().item() == pytest.approx(2.0 * 0.5 / 4, rel=4 / np.sqrt(2 * p.numel()))


def test_an_empty_batch_steps_with_noise_alone() -> None:
    optimizer, (p,) = optimizer_over([[1.0] * 8])
    p.grad_sample = torch.zeros(0, 8)  # type: ignore[attr-defined]
    optimizer.noise_variance = grid_variance(1.0)
    optimizer.step()
    drawn = discrete_gaussian(RandomSource.from_seed(1), 8, variance=grid_variance(1.0))
    np.testing.assert_allclose(p.detach().numpy(), -drawn / GRID, rtol=1e-6)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(width=32), min_size=1, max_size=12),
    st.floats(min_value=0, exclude_min=True, allow_infinity=True),
)
def test_no_user_is_longer_than_the_grid_at_any_clip_norm(
    values: list[float], max_norm: float
) -> None:
    """Denormal clip norms, infinities and rounding included, counted in whole numbers."""
    half = len(values) // 2
    parts = [torch.tensor([values[:half]]), torch.tensor([values[half:]])]
    whole = [int(x) for part in clip_to_grid(parts, max_norm=max_norm) for x in part.flatten()]
    assert sum(x * x for x in whole) <= GRID * GRID


def test_a_clipped_user_nearly_fills_the_grid_and_a_short_one_keeps_its_length() -> None:
    long, short = clip_to_grid([torch.tensor([[30.0, 40.0], [0.3, 0.4]])], max_norm=1.0)[0]
    assert long.tolist() == pytest.approx([0.6 * GRID, 0.8 * GRID], abs=2)
    assert short.tolist() == pytest.approx([0.3 * GRID, 0.4 * GRID], abs=2)
