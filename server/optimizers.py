"""What the server does with an aggregated update, in float32, with state that can be saved."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from shared.config import FederationSettings
from shared.messages import Arrays

ADAM_BETA2 = 0.99
ADAM_TAU = 1e-3
"""Second-moment decay and adaptivity of Adam (https://arxiv.org/abs/2003.00295, section 4)."""


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """Moments of the server's optimizer, by matrix name; empty before the first step.

    Attributes:
        first: Momentum, or Adam's first moment.
        second: Adam's second moment.
        steps: Steps taken.
    """

    first: Arrays = field(default_factory=dict)
    second: Arrays = field(default_factory=dict)
    steps: int = 0


def optimizer_step(
    update: Arrays, *, state: OptimizerState, settings: FederationSettings
) -> tuple[Arrays, OptimizerState]:
    """Turns an aggregated update into the change of the adapter.

    `none`: eta u. `momentum` (https://arxiv.org/abs/1909.06335): m = beta m + u, eta m. `adam`
    (https://arxiv.org/abs/2003.00295): eta m / (sqrt(v) + tau), both moments without bias.

    Args:
        update: Aggregated update, float32.
        state: Of the steps before.
        settings: Optimizer, learning rate eta and momentum beta.

    Returns:
        Change of each matrix, float32, and the state for the next step.
    """
    eta, beta = np.float32(settings.server_learning_rate), np.float32(settings.server_momentum)
    steps = state.steps + 1
    if settings.server_optimizer == "none":
        return _scaled(update, eta), OptimizerState(steps=steps)
    if settings.server_optimizer == "momentum":
        first = _blend(state.first, update, decay=beta, gain=np.float32(1))
        return _scaled(first, eta), OptimizerState(first=first, steps=steps)
    first = _blend(state.first, update, decay=beta, gain=1 - beta)
    squares = {name: np.square(array) for name, array in update.items()}
    b2 = np.float32(ADAM_BETA2)
    second = _blend(state.second, squares, decay=b2, gain=1 - b2)
    bias1, bias2 = 1 - float(beta) ** steps, 1 - float(b2) ** steps
    change = {
        name: (
            eta
            * (first[name] / np.float32(bias1))
            / (np.sqrt(second[name] / np.float32(bias2)) + np.float32(ADAM_TAU))
        )
        for name in first
    }
    return change, OptimizerState(first=first, second=second, steps=steps)


def _scaled(arrays: Arrays, factor: np.float32) -> Arrays:
    return {name: factor * array for name, array in arrays.items()}


def _blend(old: Arrays, new: Arrays, *, decay: np.float32, gain: np.float32) -> Arrays:
    return {
        name: (decay * old[name] + gain * array if name in old else gain * array)
        for name, array in new.items()
    }
