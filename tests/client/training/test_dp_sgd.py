"""The DP trainer end to end: oracle, neighbours, noise, micro-batches, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from client.training.dp_sgd import StepSpec, poisson_sample, train_privately
from shared.errors import ModelError
from shared.privacy.noise import GRID, RandomSource, grid_variance
from tests.client.training.tiny_lora_models import (
    USERS,
    Projection,
    SoftmaxLoss,
    TextLoss,
    bert_model,
    lora,
    naive_gradients,
    projection_model,
)

SPEC = StepSpec(
    steps=1,
    sample_rate=1.0,
    divisor=5.0,
    max_grad_norm=0.5,
    noise_variance=0,
    learning_rate=0.1,
    physical_batch=64,
)
Update = dict[str, torch.Tensor]


def train(loss: Any, spec: StepSpec, *, model: Any = None, n_users: int = USERS) -> Update:
    sums = train_privately(
        model=model or projection_model(),
        loss=loss,
        n_users=n_users,
        spec=spec,
        random=RandomSource.from_seed(1),
    )
    return moved_by(sums, spec)


def moved_by(sums: Update, spec: StepSpec) -> Update:
    """What the server makes of a release: how far the parameters move."""
    scale = -spec.learning_rate / (spec.divisor * GRID)
    return {name: (values * scale).float() for name, values in sums.items()}


def flat(update: Update) -> torch.Tensor:
    return torch.cat([values.flatten() for values in update.values()])


def naive_update(model: nn.Module, loss: Any, spec: StepSpec, n_users: int) -> Update:
    """DP-SGD without noise, user by user in plain loops."""
    random = RandomSource.from_seed(1)
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    initial = {n: p.detach().clone() for n, p in parameters.items()}
    for _ in range(spec.steps):
        gradients = naive_gradients(model, loss, n_users)
        total = {n: torch.zeros_like(p) for n, p in parameters.items()}
        for user in poisson_sample(n_users, spec.sample_rate, random).tolist():
            norm = flat(gradients[user]).norm()
            for n, g in gradients[user].items():
                total[n] += g * min(1.0, spec.max_grad_norm / float(norm))
        with torch.no_grad():
            for n, p in parameters.items():
                p -= spec.learning_rate / spec.max_grad_norm * total[n] / spec.divisor
    return {n: p.detach() - initial[n] for n, p in parameters.items()}


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (projection_model, SoftmaxLoss()),
        (projection_model, SoftmaxLoss(flat=True)),
        (bert_model, TextLoss()),
    ],
    ids=["projection", "projection-rows", "bert-rows"],
)
def test_training_matches_naive_loops(model: Any, loss: Any) -> None:
    spec = replace(SPEC, steps=3, sample_rate=0.6, physical_batch=2)
    expected = naive_update(model(), loss, spec, USERS)
    update = train(loss, spec, model=model())
    assert update.keys() == expected.keys()
    for name, values in expected.items():
        assert values.abs().max() > 1e-4
        torch.testing.assert_close(update[name], values, rtol=1e-4, atol=1e-6)


@settings(max_examples=8, deadline=None)
@given(physical_batch=st.integers(1, USERS + 1))
def test_micro_batches_change_nothing_but_rounding(physical_batch: int) -> None:
    spec = replace(SPEC, steps=2, noise_variance=grid_variance(1.0))
    whole = train(SoftmaxLoss(), spec)
    split = train(SoftmaxLoss(), replace(spec, physical_batch=physical_batch))
    torch.testing.assert_close(flat(split), flat(whole), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_the_batch_moves_a_users_whole_numbers_by_one_step_at_most(batch: int) -> None:
    """Kernels add up the last rows of a batch in another order: see docs/privacy.md."""
    spec = replace(SPEC, max_grad_norm=0.1)
    sums = [
        train_privately(
            model=projection_model(),
            loss=SoftmaxLoss(),
            n_users=USERS,
            spec=replace(spec, physical_batch=size),
            random=RandomSource.from_seed(1),
        )
        for size in (batch, USERS)
    ]
    for name, values in sums[1].items():
        assert values.dtype == torch.int64
        assert values.abs().max() > GRID // 100
        assert (sums[0][name] - values).abs().max() <= USERS


def test_same_source_same_result_bit_for_bit() -> None:
    spec = replace(SPEC, steps=3, noise_variance=grid_variance(1.0), sample_rate=0.5)
    model = projection_model(dropout=0.5)
    assert torch.equal(
        flat(train(SoftmaxLoss(), spec, model=model)), flat(train(SoftmaxLoss(), spec, model=model))
    )


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_poisoned_user_is_as_good_as_absent(poison: float) -> None:
    loss = SoftmaxLoss()
    loss.contexts[3, 1, 2] = poison
    spec = replace(SPEC, steps=2, noise_variance=grid_variance(1.0))
    update = flat(train(loss, spec))
    removed = flat(train(loss.without(3), spec, n_users=USERS - 1))
    assert update.isfinite().all()
    torch.testing.assert_close(update, removed, rtol=0, atol=1e-6)


def test_one_user_moves_the_sum_by_the_clip_norm_at_most() -> None:
    spec = replace(SPEC, noise_variance=grid_variance(1.0), max_grad_norm=0.1)
    loss = SoftmaxLoss()
    update = flat(train(loss, spec))
    for user in range(USERS):
        moved = (update - flat(train(loss.without(user), spec, n_users=USERS - 1))).norm()
        bound = spec.learning_rate / spec.divisor  # the clip norm in units of the update
        assert moved <= bound * (1 + 1e-6)  # the update is float32
        assert moved > 0.9 * bound  # gradients here are far above the clip norm


class FlatForSome(SoftmaxLoss):
    """A loss with no gradient for the users from `first_flat` on."""

    first_flat = USERS

    def __call__(self, model: nn.Module, users: torch.Tensor) -> torch.Tensor:
        return super().__call__(model, users % USERS) * (users < self.first_flat)


def test_users_without_a_gradient_change_nothing_and_the_noise_stays() -> None:
    spec = replace(SPEC, steps=2, noise_variance=grid_variance(1.0))
    alone = flat(train(FlatForSome(), spec))
    crowded = flat(train(FlatForSome(), spec, n_users=USERS + 4))
    torch.testing.assert_close(crowded, alone, rtol=0, atol=1e-7)


def test_an_empty_shop_sends_noise_of_the_claimed_size() -> None:
    spec = replace(SPEC, steps=4, noise_variance=grid_variance(3.0))
    model = lora(Projection(128, 64), ["profile_projection"], rank=32)
    noise = flat(train(SoftmaxLoss(), spec, model=model, n_users=0))
    std = spec.learning_rate * 3.0 / spec.divisor * np.sqrt(spec.steps)
    assert noise.std().item() == pytest.approx(std, rel=4 / np.sqrt(2 * len(noise)))
    assert abs(noise.mean().item()) < 4 * std / np.sqrt(len(noise))


def test_empty_samples_step_with_noise_and_skip_the_forward_pass() -> None:
    def refuse(_: nn.Module, users: torch.Tensor) -> torch.Tensor:
        raise AssertionError(f"called with {users}")

    refuse.rows_per_user = 1  # type: ignore[attr-defined]
    spec = replace(SPEC, steps=5, sample_rate=1e-9, noise_variance=grid_variance(1.0))
    assert flat(train(refuse, spec)).abs().min() > 0


def test_every_step_draws_fresh_noise() -> None:
    spec = replace(SPEC, noise_variance=grid_variance(1.0))
    one = flat(train(SoftmaxLoss(), spec, n_users=0))
    two = flat(train(SoftmaxLoss(), replace(spec, steps=2), n_users=0))
    second = two - one
    assert not torch.isclose(second, one, rtol=1e-3).any()
    assert second.std().item() == pytest.approx(one.std().item(), rel=0.7)


def test_update_scales_with_public_numbers_alone() -> None:
    update = flat(train(SoftmaxLoss(), SPEC))
    halved = flat(train(SoftmaxLoss(), replace(SPEC, divisor=2 * SPEC.divisor)))
    torch.testing.assert_close(halved, update / 2, rtol=1e-4, atol=1e-7)
    tripled = flat(train(SoftmaxLoss(), replace(SPEC, learning_rate=3 * SPEC.learning_rate)))
    torch.testing.assert_close(tripled, update * 3, rtol=1e-4, atol=1e-6)


def test_users_whose_loss_cannot_move_leave_the_noise() -> None:
    def constant(_: nn.Module, users: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(users))

    constant.rows_per_user = 1  # type: ignore[attr-defined]
    spec = replace(SPEC, noise_variance=grid_variance(1.0))
    assert torch.equal(flat(train(constant, spec)), flat(train(constant, spec, n_users=0)))


def test_model_is_left_as_it_came_and_frozen_matrices_stay_out() -> None:
    model = projection_model()
    for name, p in model.named_parameters():
        p.requires_grad_(requires_grad="lora_B" in name)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    update = train(SoftmaxLoss(), replace(SPEC, noise_variance=grid_variance(1.0)), model=model)
    assert list(update) == ["base_model.model.profile_projection.lora_B.default.weight"]
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert not any(hasattr(p, "grad_sample") or p.grad is not None for p in model.parameters())


def test_model_is_left_as_it_came_after_an_error() -> None:
    loss, model = SoftmaxLoss(), projection_model()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    loss.targets[:] = 99
    with pytest.raises(IndexError):
        train(loss, replace(SPEC, physical_batch=2), model=model)
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert not any(hasattr(p, "grad_sample") for p in model.parameters())


def test_bfloat16_trains_nearly_the_same() -> None:
    full, half = (flat(train(SoftmaxLoss(), replace(SPEC, bf16=bf16))) for bf16 in (False, True))
    assert 0 < (half - full).norm() < 0.05 * full.norm()


def test_coupled_losses_of_the_wrong_shape_are_refused() -> None:
    class Mean(SoftmaxLoss):
        def __call__(self, model: nn.Module, users: torch.Tensor) -> torch.Tensor:
            return super().__call__(model, users).mean()

    with pytest.raises(ModelError, match=r"shape of the losses=\(\) must be \(7,\)"):
        train(Mean(), SPEC)


def test_a_model_without_trainable_parameters_is_refused() -> None:
    model = Projection().requires_grad_(requires_grad=False)
    with pytest.raises(ModelError, match="trainable parameters=0 must be at least 1"):
        train(SoftmaxLoss(), SPEC, model=model)


def test_a_model_on_another_device_is_refused() -> None:
    with pytest.raises(ModelError, match="is on cpu, must be on meta; move the base model before"):
        train_privately(
            model=projection_model(),
            loss=SoftmaxLoss(),
            n_users=USERS,
            spec=SPEC,
            random=RandomSource.from_seed(1),
            device="meta",
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_update() -> None:
    torch.testing.assert_close(train_on("cuda"), train_on("cpu"), rtol=1e-3, atol=1e-5)


def train_on(device: str) -> torch.Tensor:
    model = projection_model().to(device)
    loss = SoftmaxLoss()
    for name in ("contexts", "targets", "candidates"):
        setattr(loss, name, getattr(loss, name).to(device))
    update = train_privately(
        model=model,
        loss=loss,
        n_users=USERS,
        spec=replace(SPEC, steps=2, noise_variance=grid_variance(1.0)),
        random=RandomSource.from_seed(1),
        device=device,
    )
    return flat(moved_by(update, SPEC))
