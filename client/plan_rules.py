"""What a plan releases, and what a shop's owner accepts of it whatever budget is left."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shared.config import MAX_HEAD
from shared.errors import PrivacyError
from shared.plan import Plan
from shared.privacy.accounting import MIN_NOISE
from shared.privacy.guarantee import COUNTS_MAX_NORM, Mechanism
from shared.releases.pairs import MAX_NORM as PAIRS_MAX_NORM


@dataclass(frozen=True)
class PlanRules:
    """What a shop's owner accepts in a plan, whatever budget is left.

    Attributes:
        min_noise_multiplier: Least noise that this shop itself adds in any mechanism.
        max_sample_rate: Largest probability that a user takes part in a step.
        max_steps: Most noisy steps over all rounds.
        max_grad_norm: Largest clip norm.
        max_head_items: Most items whose pairs are released; bounds the work and the message.
        allow_shared: Whether noise may be shared with other shops. Without secure aggregation,
            which is not part of this software, only a simulation may set it.
        base_hash: The only base that is trained on; None takes any.
    """

    min_noise_multiplier: float = MIN_NOISE
    max_sample_rate: float = 1.0
    max_steps: int = 100_000
    max_grad_norm: float = math.inf
    max_head_items: int = MAX_HEAD
    allow_shared: bool = False
    base_hash: str | None = None

    def check(self, plan: Plan) -> None:
        """Refuses a plan before anything is reserved.

        Raises:
            PrivacyError: A parameter breaks a rule, or something would leave without noise.
        """
        if not plan.private:
            raise PrivacyError(
                "private=False must be True: this shop releases nothing without noise"
            )
        if self.base_hash not in (None, plan.base_hash):
            raise PrivacyError(
                f"base_hash={plan.base_hash[:16]}… must be {self.base_hash}; plan for this base"
            )
        self._check_shared(plan)
        for mechanism in plan_mechanisms(plan):
            own = mechanism.own_noise_multiplier
            if not own >= self.min_noise_multiplier:
                of = "" if mechanism.shared_by == 1 else f" (one of {mechanism.shared_by} shares)"
                raise PrivacyError(
                    f"noise_multiplier={own:g}{of} of {mechanism.name} must be at least "
                    f"{self.min_noise_multiplier:g}; raise the noise"
                )
        bounds = {
            "sample_rate": (plan.sample_rate, self.max_sample_rate),
            "rounds * local_steps": (plan.rounds * plan.local_steps, self.max_steps),
            "max_grad_norm": (plan.max_grad_norm, self.max_grad_norm),
        }
        if plan.pairs_release:
            bounds["head_items"] = (plan.head_items, self.max_head_items)
        for name, (value, most) in bounds.items():
            if not value <= most:
                raise PrivacyError(f"{name}={value:g} must be at most {most:g}; lower it")

    def _check_shared(self, plan: Plan) -> None:
        if plan.noise_shops > 1 and not self.allow_shared:
            raise PrivacyError(
                f"noise_shops={plan.noise_shops} must be 1: this shop has no secure aggregation, "
                f"without which its own release would hold 1/{plan.noise_shops} of the noise's "
                "variance; send a plan with --noise shop"
            )
        if plan.noise_shops > 1 and plan.local_steps > 1:
            raise PrivacyError(
                f"local_steps={plan.local_steps} must be 1 where noise_shops={plan.noise_shops}: "
                "a second step would build on a share of the noise alone; take more rounds"
            )


DEFAULT_RULES = PlanRules()
"""What a shop accepts unless its owner says otherwise."""


def plan_mechanisms(plan: Plan) -> tuple[Mechanism, ...]:
    """Returns all that a plan releases, in the order of the calibration."""
    found, shops = [], plan.noise_shops
    if plan.rounds > 0:
        steps, noise = plan.rounds * plan.local_steps, plan.noise_multiplier
        found.append(Mechanism("dp-sgd", noise, plan.sample_rate, steps, plan.max_grad_norm, shops))
    if plan.counts_release:
        noise = plan.counts_noise_multiplier
        found.append(Mechanism("item-counts", noise, 1.0, 1, COUNTS_MAX_NORM, shops))
    if plan.pairs_release:
        noise = plan.pairs_noise_multiplier
        found.append(Mechanism("pair-sums", noise, 1.0, 1, PAIRS_MAX_NORM, shops))
    return tuple(found)


def planned(name: str, plan: Plan) -> Mechanism:
    """Returns the one mechanism of a plan with this name; it must be there."""
    (found,) = (m for m in plan_mechanisms(plan) if m.name == name)
    return found
