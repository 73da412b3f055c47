"""What is audited: a plan, the installed code that carries it out, records of what was spent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from client.plan_rules import plan_mechanisms
from client.shop_node import RandomFactory
from shared.plan import Plan
from shared.privacy.guarantee import Mechanism
from shared.privacy.noise import RandomSource
from simulation.audit.records import ShopRecord

CPU = torch.device("cpu")


def os_randomness(*context: str | int) -> RandomSource:  # noqa: ARG001  # a release needs none
    """Makes the randomness of a release as a node does: keyed by the operating system."""
    return RandomSource.from_os()


@dataclass(frozen=True, eq=False)
class Subject:
    """What the checks look at.

    Attributes:
        plan: Public parameters of the training to be tested; private.
        delta: Total delta that is claimed for the plan.
        records: What was recorded as spent; may be empty.
        randomness: Makes a node's noise.
        device: Where training runs.
        canaries: Independent canaries of each test of noise.
        one_run_canaries: Canaries of the one-run audit.
        seed: Chooses which canaries take part; has no part in the noise.
    """

    plan: Plan
    delta: float
    records: tuple[ShopRecord, ...] = ()
    randomness: RandomFactory = os_randomness
    device: torch.device = CPU
    canaries: int = 100_000
    one_run_canaries: int = 2_000
    seed: int = 0

    @property
    def training(self) -> Mechanism | None:
        """What the plan claims of all its training steps, None if it trains nothing."""
        return self._named("dp-sgd")

    @property
    def counts(self) -> Mechanism | None:
        """What the plan claims of its item counts, None if it releases none."""
        return self._named("item-counts")

    @property
    def pairs(self) -> Mechanism | None:
        """What the plan claims of its pair sums, None if it releases none."""
        return self._named("pair-sums")

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """All that the plan claims to release."""
        return plan_mechanisms(self.plan)

    @property
    def own_noise_multiplier(self) -> float:
        """Noise of a training step that the audited shop adds itself."""
        return self.plan.own_noise(self.plan.noise_multiplier)

    def _named(self, name: str) -> Mechanism | None:
        return next((m for m in self.mechanisms if m.name == name), None)

    def noise(self, *context: str | int) -> RandomSource:
        """Makes one release's randomness, in the form that a node asks for it."""
        return self.randomness(self.plan.seed, "audit", *context)

    def choice(self, name: str) -> np.random.Generator:
        """Returns the generator of a check's own choices."""
        return np.random.default_rng([self.seed, *name.encode()])
