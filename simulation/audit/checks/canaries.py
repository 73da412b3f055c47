"""Canaries: users who each pull on coordinates of their own, watched through real training.

A canary is the worst user that clipping allows: its gradient points along two coordinates that no
other user touches, one in each of two parameter tensors, and is far longer than the clip norm. What
a training step did to those coordinates is then the clip norm if the user took part, 0 if not, plus
noise: one sample of the mechanism that the accountant speaks of. The steps run in
`client.training.dp_sgd.train_privately`, the function that trains in production; a hook of PyTorch
reads the parameters after each step that really moved them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from client.training import dp_sgd as trainer
from client.training.dp_sgd import StepSpec
from shared.privacy.noise import RandomSource
from shared.protocol.messages import CodesArray
from simulation.audit.checks.subject import Subject

Moves = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ObservedTraining:
    """What training did to the canaries.

    Attributes:
        moves: How far each step moved each coordinate, in clip norms summed over users (one canary
            alone moves each of its two by 1 / sqrt(2)), `(steps, 2, n_canaries)`.
        users: Codes of the users whose loss each step asked for, in order, one array a step.
    """

    moves: Moves
    users: tuple[CodesArray, ...]

    @property
    def scores(self) -> Moves:
        """Moves along each canary, 1 where it took part and 0 where not, plus the noise."""
        scores: Moves = self.moves.sum(axis=1) / np.sqrt(2)
        return scores


def observe_training(
    spec: StepSpec,
    *,
    canary_of: CodesArray,
    n_canaries: int,
    random: RandomSource,
    device: torch.device | str = "cpu",
) -> ObservedTraining:
    """Trains a throw-away model on canaries with the code that trains in production.

    Args:
        spec: The steps.
        canary_of: Canary that each user pulls on, `(n_users,)`.
        n_canaries: Canaries, whether anybody pulls on them or not.
        random: Draws the samples and the noise.
        device: Where training runs.

    Returns:
        Every step that moved the parameters, however many were asked for.
    """
    model = _CanaryModel(n_canaries).to(device)
    loss = _CanaryLoss(
        torch.eye(n_canaries, device=device)[torch.from_numpy(canary_of).to(device)],
        strength=100 * max(spec.max_grad_norm, 0.01),
    )
    with _observing(model, loss) as seen:
        trainer.train_privately(
            model=model,
            loss=loss,
            n_users=len(canary_of),
            spec=spec,
            random=random,
            device=device,
        )
    unit = spec.divisor / spec.learning_rate
    states = np.stack([np.zeros(2 * n_canaries, np.float32), *seen.states]).astype(np.float64)
    return ObservedTraining(
        moves=np.diff(states, axis=0).reshape(-1, 2, n_canaries) * unit,
        users=tuple(seen.users),
    )


def step_spec(subject: Subject, **changes: Any) -> StepSpec:
    """Returns the plan's steps as a shop takes them, with changes."""
    plan = subject.plan
    spec = StepSpec(
        steps=plan.local_steps,
        sample_rate=plan.sample_rate,
        divisor=plan.divisor,
        max_grad_norm=plan.max_grad_norm,
        noise_variance=plan.own_variance(plan.noise_multiplier),
        learning_rate=plan.learning_rate,
        physical_batch=plan.physical_batch,
        bf16=subject.device.type == "cuda",
    )
    return replace(spec, **changes)


class _CanaryModel(nn.Module):
    """Two linear maps to one number: a canary has one weight in each."""

    def __init__(self, n_canaries: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_canaries, 1, bias=False)
        self.second = nn.Linear(n_canaries, 1, bias=False)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(b, n_canaries)` to `(b,)`."""
        total: Tensor = (self.first(x) + self.second(x))[:, 0]
        return total


@dataclass
class _CanaryLoss:
    """A user's loss falls along its canary's two weights; remembers whose loss was asked for."""

    directions: Tensor
    strength: float
    asked: list[CodesArray] = field(default_factory=list)
    rows_per_user: int = 1

    def __call__(self, model: nn.Module, users: Tensor) -> Tensor:
        self.asked.append(users.cpu().numpy())
        losses: Tensor = -self.strength * model(self.directions[users])
        return losses


@dataclass
class _Seen:
    states: list[npt.NDArray[np.float32]] = field(default_factory=list)
    users: list[CodesArray] = field(default_factory=list)


@contextmanager
def _observing(model: nn.Module, loss: _CanaryLoss) -> Iterator[_Seen]:
    """Reads the model's parameters after every optimizer step in the process that moved them."""
    parameters = list(model.parameters())
    seen = _Seen()

    def read(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if id(parameters[0]) in moved:
            flat = torch.cat([p.detach().flatten() for p in parameters])
            seen.states.append(flat.cpu().numpy().copy())
            seen.users.append(np.concatenate([np.zeros(0, np.int64), *loss.asked]))
            loss.asked.clear()

    handle = register_optimizer_step_post_hook(read)
    try:
        yield seen
    finally:
        handle.remove()
