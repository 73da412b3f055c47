"""What is promised: mechanisms, their bounds on one user, and the guarantee with its epsilon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

MechanismName = Literal["dp-sgd", "item-counts", "pair-sums"]
COUNTS_MAX_NORM = 1.0
"""L2 norm of one user's row in the item counts."""


@dataclass(frozen=True)
class Mechanism:
    """`steps` runs of a Poisson-sampled (or, at `sample_rate` 1, full-batch) Gaussian mechanism.

    Attributes:
        name: `dp-sgd`, `item-counts` or `pair-sums`.
        noise_multiplier: Standard deviation of the noise in units of the L2 sensitivity.
        sample_rate: Probability that a user takes part in a step.
        steps: Number of noisy releases.
        max_norm: L2 bound of one user's contribution to one step (the sensitivity).
        shared_by: Shops that add the noise together; above 1, `noise_multiplier` is that of their
            sum, and the guarantee holds for the sum alone.
        grid: Whole numbers that the sensitivity is worth, where what leaves are whole numbers with
            discrete Gaussian noise; 0 for noise in floating point, whose low bits can tell more
            than epsilon says (releases of before).
    """

    name: MechanismName
    noise_multiplier: float
    sample_rate: float
    steps: int
    max_norm: float
    shared_by: int = 1
    grid: int = 0

    @property
    def own_noise_multiplier(self) -> float:
        """Noise that one shop adds itself: all of it, or its equal share of the variance."""
        return own_noise(self.noise_multiplier, self.shared_by)


def own_noise(noise_multiplier: float, shops: int) -> float:
    """Returns what each of `shops` adds so that their sum has noise of `noise_multiplier`."""
    return noise_multiplier / math.sqrt(shops)


@dataclass(frozen=True)
class Guarantee:
    """What one shop's users get for all that leaves the shop in a run.

    Attributes:
        epsilon: By `accountant`.
        delta: Total.
        unit: What is protected: one user's whole contribution.
        adjacency: Neighbouring data sets differ by adding or removing one unit.
        sampling: `poisson` or `full-batch`.
        accountant: Library and method behind `epsilon`.
        epsilon_check: The same by `accountant_check`, an independent implementation.
        accountant_check: Library and method behind `epsilon_check`.
        trust: Against whom the guarantee holds.
        mechanisms: Everything that the shop releases.
    """

    epsilon: float
    delta: float
    unit: str
    adjacency: str
    sampling: str
    accountant: str
    epsilon_check: float
    accountant_check: str
    trust: str
    mechanisms: tuple[Mechanism, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values for `report.json`."""
        return asdict(self)


PAIRS_MAX_NORM = 1.0
"""L2 norm of a user with at least two head items in `pair_sums`; of all others 0."""

UNIT = "user: the whole history of one user, whose part in each release is bounded"
ADJACENCY = "add or remove one user"
TRUST = "the server, other shops and outsiders; the shop's own machine is trusted"

TRUST_SHARED = (
    "holds for sums over shops alone: it assumes secure aggregation, and that in each sum as many "
    "shops as share the noise add it honestly and do not help the server"
)


def trust(mechanisms: Sequence[Mechanism]) -> str:
    """Says against whom the guarantee of these mechanisms holds, and what it assumes."""
    return TRUST_SHARED if any(m.shared_by > 1 for m in mechanisms) else TRUST
