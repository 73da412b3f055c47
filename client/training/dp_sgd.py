"""User-level DP-SGD on a shop's own data: draws users, takes noisy steps.

Their noisy sums may leave the shop. `client.training.clip_and_noise` clips and adds the noise.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from client.training.clip_and_noise import PrivateOptimizer, check_per_user, per_user_gradients
from shared.errors import ModelError
from shared.privacy.noise import RandomSource


def poisson_sample(n_users: int, sample_rate: float, random: RandomSource) -> torch.Tensor:
    """Draws each user independently with the same public probability.

    Args:
        n_users: Users of the shop; 0 gives an empty sample.
        sample_rate: Probability of each user, in (0, 1]; 1 takes everyone and draws nothing.
        random: Source of the draws.

    Returns:
        Codes of the drawn users, ascending, `(b,)`, int64; b is binomial and may be 0.

    Guarantee:
        The sampling that accountants call Poisson: each user's draw is independent of all others
        and of the number of users (https://arxiv.org/abs/1607.00133).
    """
    if sample_rate == 1:  # the accountant counts the full batch without amplification
        return torch.arange(n_users)
    return torch.from_numpy(np.flatnonzero(random.uniform(n_users) < sample_rate))


# Inputs of the first trained layer need no gradient; shops may train on several threads, so that a
# filter for the time of one call would not do.
warnings.filterwarnings("ignore", message="Full backward hook is firing", module=__name__)


class UserLoss(Protocol):
    """The loss of each user's whole history; no user's loss may depend on another user.

    Losses with in-batch negatives, batch normalisation or raw popularity of the shop do depend on
    others: clipping them bounds nothing.
    """

    rows_per_user: int
    """Rows that each trainable layer sees for one user, user by user; 1 or a fixed number."""

    def __call__(self, model: nn.Module, users: torch.Tensor) -> torch.Tensor:
        """Computes losses `(b,)` of the users with the codes `(b,)`, int64, b at least 1."""
        ...


@dataclass(frozen=True)
class StepSpec:
    """Public parameters of the steps; none may depend on the shop's data.

    Attributes:
        steps: Number of steps.
        sample_rate: Probability that a user takes part in a step; 1 is the full batch.
        divisor: Divisor of the noisy sum of gradients, in users.
        max_grad_norm: L2 bound of one user's gradient.
        noise_variance: Of the discrete noise, for sensitivity `GRID`; 0 trains without privacy.
        learning_rate: Step size per unit of clipped gradient.
        physical_batch: Users in memory at once.
        bf16: Whether the forward pass runs in bfloat16 where PyTorch deems it safe.
    """

    steps: int
    sample_rate: float
    divisor: float
    max_grad_norm: float
    noise_variance: int
    learning_rate: float
    physical_batch: int
    bf16: bool = False


def train_privately(
    *,
    model: nn.Module,
    loss: UserLoss,
    n_users: int,
    spec: StepSpec,
    random: RandomSource,
    device: torch.device | str = "cpu",
) -> dict[str, torch.Tensor]:
    """Trains a model's trainable parameters with DP-SGD and returns the noisy sums of its steps.

    Args:
        model: Model on `device`, moved there before its adapter was made; left as it came.
        loss: Losses of single users.
        n_users: Users of the shop; with 0 every step is noise alone.
        spec: The steps.
        random: Draws the samples and the noise.
        device: Where the model is.

    Returns:
        Noisy sums of clipped gradients over all steps, int64 on the grid, on the CPU, for each
        parameter that requires a gradient, by its name in `named_parameters`. Minus learning rate
        over divisor and `GRID` times them is how far the parameters moved.

    Guarantee:
        `spec.steps` Poisson-sampled discrete Gaussian mechanisms with `spec.noise_variance` and L2
        sensitivity `GRID` under add or remove of one user; the sum over the steps, and the model
        between them, are post-processing.

    Assumes:
        Losses of different users are independent of each other; see `UserLoss`.

    Raises:
        ModelError: Nothing is trainable, the model is elsewhere, or gradients are not per user.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    _check_parameters(parameters, torch.device(device))
    initial = {name: p.detach().clone() for name, p in parameters.items()}
    # Divided by the clip norm, so that the step size does not change its meaning with the bound.
    sgd = torch.optim.SGD(parameters.values(), lr=spec.learning_rate / spec.max_grad_norm)
    try:
        with per_user_gradients(model, rows_per_user=loss.rows_per_user):
            optimizer = PrivateOptimizer(
                sgd,
                noise_variance=spec.noise_variance,
                max_grad_norm=spec.max_grad_norm,
                divisor=spec.divisor,
                random=random,
            )
            for _ in range(spec.steps):
                users = poisson_sample(n_users, spec.sample_rate, random)
                _step(model, loss, users.to(device), parameters, optimizer, spec)
        return dict(zip(parameters, optimizer.released, strict=True))
    finally:
        _restore(parameters, initial)


def _step(
    model: nn.Module,
    loss: UserLoss,
    users: torch.Tensor,
    parameters: dict[str, nn.Parameter],
    optimizer: PrivateOptimizer,
    spec: StepSpec,
) -> None:
    """Takes one noisy step; an empty batch steps too, as the accountant counts it."""
    batches = torch.split(users, spec.physical_batch)
    for i, batch in enumerate(batches):
        _backward(model, loss, batch, parameters, bf16=spec.bf16)
        optimizer.signal_skip_step(do_skip=i + 1 < len(batches))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _backward(
    model: nn.Module,
    loss: UserLoss,
    users: torch.Tensor,
    parameters: dict[str, nn.Parameter],
    *,
    bf16: bool,
) -> None:
    """Leaves `(b, *shape)` gradients in `grad_sample`: zeros where no loss can be moved."""
    if len(users):
        with torch.autocast(users.device.type, torch.bfloat16, enabled=bf16):
            losses = loss(model, users)
        if losses.shape != users.shape:
            raise ModelError(
                f"must be {tuple(users.shape)}, one a user",
                name="shape of the losses",
                value=tuple(losses.shape),
                remedy="sum over a user's examples",
            )
        if losses.requires_grad:
            losses.sum().backward()  # type: ignore[no-untyped-call]
            check_per_user(parameters, len(users))
            return
    for p in parameters.values():
        p.grad_sample = p.new_zeros((len(users), *p.shape))  # type: ignore[attr-defined]


def _check_parameters(parameters: dict[str, nn.Parameter], device: torch.device) -> None:
    if not parameters:
        raise ModelError(
            "must be at least 1", name="trainable parameters", value=0, remedy="add target_modules"
        )
    for name, p in parameters.items():
        if p.device.type != device.type:
            raise ModelError(
                f"is on {p.device}, must be on {device}",
                name="parameter",
                value=name,
                remedy="move the base model before the adapter is made",
            )


@torch.no_grad()
def _restore(parameters: dict[str, nn.Parameter], values: dict[str, torch.Tensor]) -> None:
    for name, p in parameters.items():
        p.copy_(values[name])
        p.grad = None
