"""Which users take part in a step."""

from __future__ import annotations

import numpy as np
import torch

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
    if sample_rate == 1:
        return torch.arange(n_users)
    return torch.from_numpy(np.flatnonzero(random.uniform(n_users) < sample_rate))
