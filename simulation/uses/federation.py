"""The one release for all federated heads, as a simulation makes it: clean sums, noise, sum.

All federated uses are in one sum with one noise: `K` of them share a user's norm, so that each has
`sqrt(K)` times the noise that it would have alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from dp_accounting.gaussian_mechanism import get_sigma_gaussian

from client.uses.heads import target
from shared.privacy.accounting.calibration import check_delta, check_epsilon, round_up
from shared.privacy.accounting.roster_bounds import RosterBounds
from shared.privacy.noise import Integers, RandomSource, discrete_gaussian, grid_variance
from shared.releases.moments import grid_user_moments, label_block, user_blocks
from shared.uses.history import Floats
from shared.uses.interface import Examples, Use


@dataclass(frozen=True)
class MomentsPlan:
    """What the release costs and how noisy it is, fixed before any sum is made.

    Attributes:
        epsilon: Of the whole run; None releases without noise, for comparison.
        delta: Of the whole run.
        share: Share of the run's mu^2 that uses get.
        noise: `shop`, or `shared` where secure aggregation shows the sum alone.
    """

    epsilon: float | None
    delta: float
    share: float
    noise: Literal["shop", "shared"]

    @property
    def noise_multiplier(self) -> float:
        """Noise of the release in units of a user's norm; 0 without privacy.

        Guarantee:
            With Gaussian mechanisms of the other `1 - share` of mu^2 it makes (epsilon, delta).

        Raises:
            PrivacyError: Epsilon or delta is out of bounds.
        """
        if self.epsilon is None:
            return 0.0
        check_epsilon(self.epsilon)
        check_delta(self.delta)
        sigma: float = get_sigma_gaussian(self.epsilon, self.delta)
        return round_up(sigma / math.sqrt(self.share))

    def noise_shops(self, n_shops: int) -> int:
        """Shops that make up the noise together: 1, or those that are sure to add theirs.

        Raises:
            PrivacyError: There are too few shops for shared noise.
        """
        return RosterBounds.usual(n_shops).check().noise_shops if self.noise == "shared" else 1


def clean_moments(uses: Sequence[Use], examples: Mapping[str, Examples], n_users: int) -> Integers:
    """Returns one shop's clean sum over all federated uses, in steps of 1 / `GRID`."""
    blocks = []
    for use in uses:
        own = examples[use.name]
        blocks.append(
            label_block(own, target(use, own.label), n_users=n_users, centre=use.label.centre)
        )
    return grid_user_moments(blocks, [use.bound for use in uses])


def released(
    sums: Sequence[Integers], uses: Sequence[Use], plan: MomentsPlan, *, seed: int, run: str
) -> dict[str, Floats]:
    """Adds up shops' sums with the noise of each and returns every use's block.

    Args:
        sums: Clean sums of the shops that take part.
        uses: In the order of the sums.
        plan: The noise.
        seed: Public seed of the simulation.
        run: Which federation it is, so that no two have the same noise.
    """
    n_shops = len(sums)
    variance = 0
    if plan.noise_multiplier:
        variance = grid_variance(plan.noise_multiplier, shops=plan.noise_shops(n_shops))
    total = np.sum(sums, axis=0)
    for shop in range(n_shops):
        random = RandomSource.from_seed(seed, "moments", run, shop)
        total = total + discrete_gaussian(random, len(total), variance=variance)
    widths = [1 + len(use.columns) for use in uses]
    blocks = user_blocks(total.astype(np.float64), widths, [use.bound for use in uses])
    return {use.name: block for use, block in zip(uses, blocks, strict=True)}
