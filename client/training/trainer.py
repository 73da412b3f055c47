"""User-level DP-SGD on a shop's own data: what comes out may leave the shop."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from client.training.optimizer import PrivateOptimizer
from client.training.per_user import check_per_user, per_user_gradients
from client.training.sampling import poisson_sample
from shared.errors import ModelError
from shared.privacy.noise import RandomSource

# Inputs of the first trained layer need no gradient; shops may train on several threads, so that a
# filter for the time of one call would not do.
warnings.filterwarnings("ignore", message="Full backward hook is firing", module=__name__)


class UserLoss(Protocol):
    """The loss of each user's whole bounded history; no user's loss may depend on another user.

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
        noise_multiplier: Noise in units of `max_grad_norm`; 0 trains without privacy.
        learning_rate: Step size per unit of clipped gradient.
        physical_batch: Users in memory at once.
        bf16: Whether the forward pass runs in bfloat16 where PyTorch deems it safe.
    """

    steps: int
    sample_rate: float
    divisor: float
    max_grad_norm: float
    noise_multiplier: float
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
    """Trains a model's trainable parameters with DP-SGD and returns how far they moved.

    Args:
        model: Model on `device`, moved there before its adapter was made; left as it came.
        loss: Losses of single users.
        n_users: Users of the shop; with 0 every step is noise alone.
        spec: The steps.
        random: Draws the samples and the noise.
        device: Where the model is.

    Returns:
        Trained minus initial, on the CPU, for each parameter that requires a gradient, by its name
        in `named_parameters`.

    Guarantee:
        `spec.steps` Poisson-sampled Gaussian mechanisms with `spec.noise_multiplier` and
        sensitivity 1 in units of the clip norm, under add or remove of one user.

    Assumes:
        Losses of different users are independent of each other; see `UserLoss`.

    Raises:
        ModelError: Nothing is trainable, the model is elsewhere, or gradients are not per user.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    _check_parameters(parameters, torch.device(device))
    initial = {name: p.detach().clone() for name, p in parameters.items()}
    sgd = torch.optim.SGD(parameters.values(), lr=spec.learning_rate / spec.max_grad_norm)
    try:
        with per_user_gradients(model, rows_per_user=loss.rows_per_user):
            optimizer = PrivateOptimizer(
                sgd,
                noise_multiplier=spec.noise_multiplier,
                max_grad_norm=spec.max_grad_norm,
                divisor=spec.divisor,
                random=random,
            )
            for _ in range(spec.steps):
                users = poisson_sample(n_users, spec.sample_rate, random)
                _step(model, loss, users.to(device), parameters, optimizer, spec)
        return {name: (p.detach() - initial[name]).cpu() for name, p in parameters.items()}
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
                f"losses of shape {tuple(losses.shape)} must have shape {tuple(users.shape)}, one "
                "a user; sum over a user's examples"
            )
        if losses.requires_grad:
            losses.sum().backward()  # type: ignore[no-untyped-call]
            check_per_user(parameters, len(users))
            return
    for p in parameters.values():
        p.grad_sample = p.new_zeros((len(users), *p.shape))  # type: ignore[attr-defined]


def _check_parameters(parameters: dict[str, nn.Parameter], device: torch.device) -> None:
    if not parameters:
        raise ModelError("trainable parameters=0 must be at least 1; add target_modules")
    for name, p in parameters.items():
        if p.device.type != device.type:
            raise ModelError(
                f"parameter={name} is on {p.device}, must be on {device}; move the base model "
                "before the adapter is made"
            )


@torch.no_grad()
def _restore(parameters: dict[str, nn.Parameter], values: dict[str, torch.Tensor]) -> None:
    for name, p in parameters.items():
        p.copy_(values[name])
        p.grad = None
