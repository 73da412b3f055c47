"""What the federation asks of a shop, and what its owner accepts of it whatever budget is left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from flwr.app import ConfigRecord

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import MIN_NOISE
from shared.privacy.accounting.guarantee import COUNTS_MAX_NORM, PAIRS_MAX_NORM, Mechanism
from shared.privacy.noise import GRID, Integers
from shared.protocol.messages import Arrays, CodesArray, Plan, Release
from shared.settings.plan_bounds import MAX_ADAPTER_VALUE, MAX_HEAD


@dataclass(frozen=True)
class PlanRules:
    """What a shop's owner accepts in a plan, whatever budget is left.

    Attributes:
        min_noise_multiplier: Least noise of any mechanism, of the sum where shops share it.
        max_sample_rate: Largest probability that a user takes part in a step.
        max_steps: Most noisy steps over all rounds.
        max_grad_norm: Largest clip norm.
        max_head_items: Most items whose pairs are released; bounds the work and the message.
        allow_shared: Whether noise may be shared with other shops without secure aggregation, as
            in a simulation of the sum alone. Under a roster it may be shared always.
        base_hash: The only base that is trained on; None takes any.
        max_own_epsilon: Largest epsilon of the shop's own guarantee over everything that it ever
            releases, which holds if all other shops help the server; None sets no limit.
    """

    min_noise_multiplier: float = MIN_NOISE
    max_sample_rate: float = 1.0
    max_steps: int = 100_000
    max_grad_norm: float = math.inf
    max_head_items: int = MAX_HEAD
    allow_shared: bool = False
    base_hash: str | None = None
    max_own_epsilon: float | None = None

    def check(self, plan: Plan) -> None:
        """Refuses a plan before anything is reserved.

        Raises:
            PrivacyError: A parameter breaks a rule, or something would leave without noise.
        """
        if not plan.private:
            raise PrivacyError(
                "must be True: this shop releases nothing without noise",
                name="private",
                value=False,
                remedy="send a private plan",
            )
        if self.base_hash not in (None, plan.base_hash):
            raise PrivacyError(
                f"must be {self.base_hash}",
                name="base_hash",
                value=f"{plan.base_hash[:16]}…",
                remedy="plan for this base",
            )
        self._check_shared(plan)
        for mechanism in plan_mechanisms(plan):
            noise = mechanism.noise_multiplier
            # `not >=` in place of `<`, here and below: NaN is refused too.
            if not noise >= self.min_noise_multiplier:
                shops = mechanism.shared_by
                shared = "" if shops == 1 else f" (shared by {shops} shops)"
                raise PrivacyError(
                    f"must be at least {self.min_noise_multiplier:g} in {mechanism.name}",
                    name="noise_multiplier",
                    value=f"{noise:g}{shared}",
                    remedy="raise the noise",
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
                raise PrivacyError(
                    f"must be at most {most:g}", name=name, value=f"{value:g}", remedy="lower it"
                )

    def _check_shared(self, plan: Plan) -> None:
        if plan.noise_shops > 1 and not (plan.roster or self.allow_shared):
            raise PrivacyError(
                "must be 1 in a plan without a roster: without secure aggregation this shop's own "
                f"release would hold 1/{plan.noise_shops} of the noise's variance",
                name="noise_shops",
                value=plan.noise_shops,
                remedy="send a plan with --noise shop, or for a roster",
            )
        if plan.noise_shops > 1 and plan.local_steps > 1:
            raise PrivacyError(
                f"must be 1 where noise_shops={plan.noise_shops}: a second step would build on a "
                "share of the noise alone",
                name="local_steps",
                value=plan.local_steps,
                remedy="take more rounds",
            )


DEFAULT_RULES = PlanRules()
"""What a shop accepts unless its owner says otherwise."""


def plan_mechanisms(plan: Plan) -> tuple[Mechanism, ...]:
    """Returns all that a plan releases, in the order of the calibration."""
    mechanisms, shops = [], plan.noise_shops
    if plan.rounds > 0:
        steps, noise = plan.rounds * plan.local_steps, plan.noise_multiplier
        mechanisms.append(
            Mechanism("dp-sgd", noise, plan.sample_rate, steps, plan.max_grad_norm, shops, GRID)
        )
    if plan.counts_release:
        noise = plan.counts_noise_multiplier
        mechanisms.append(Mechanism("item-counts", noise, 1.0, 1, COUNTS_MAX_NORM, shops, GRID))
    if plan.pairs_release:
        noise = plan.pairs_noise_multiplier
        mechanisms.append(Mechanism("pair-sums", noise, 1.0, 1, PAIRS_MAX_NORM, shops, GRID))
    return tuple(mechanisms)


def planned_mechanism(name: str, plan: Plan) -> Mechanism:
    """Returns the one mechanism of a plan with this name; it must be there."""
    (mechanism,) = (m for m in plan_mechanisms(plan) if m.name == name)
    return mechanism


NodeConfig = Mapping[str, str | int | float | bool]
"""What the owner's machine was started with; in a simulation `partition-id` and `num-partitions`.
"""


class Node(Protocol):
    """One shop, opened for one request."""

    @property
    def shop_id(self) -> str:
        """The owner's public name."""
        ...

    @property
    def n_items(self) -> int:
        """Items of the public catalogue."""
        ...

    def train(
        self,
        *,
        adapter: Arrays,
        plan: Plan,
        round: int,  # noqa: A002
        candidates: CodesArray,
    ) -> Release:
        """Trains one round on the shop's users.

        Args:
            adapter: The global LoRA matrices, A `(rank, in)` and B `(out, rank)`.
            plan: The public plan, to be checked against the shop's own limits.
            round: From 1.
            candidates: Public item codes `(n,)` of the round's training softmax; may be empty.

        Returns:
            Noisy sums of clipped gradients over the round's steps, on the grid, for the names of
            `shared.protocol.messages.trainable_names`; the server applies learning rate and
            divisor (`Plan.update_scale`).
        """
        ...

    def item_counts(self, *, plan: Plan) -> Integers:
        """Returns the shop's noisy item counts `(n_items,)`, on the grid."""
        ...

    def pair_sums(self, *, plan: Plan, head: CodesArray) -> Integers:
        """Returns the shop's noisy pair sums over the head, on the grid.

        Args:
            plan: The public plan, to be checked against the shop's own limits.
            head: Public item codes `(h,)`, ascending.

        Returns:
            The upper triangle by rows, diagonal left out, `(h (h - 1) / 2,)`.
        """
        ...


class NodeSource(Protocol):
    """Opens shops; small and picklable, since Ray ships it with every request."""

    def open(self, node_config: NodeConfig) -> Node:
        """Opens the shop of this machine, or of `node_config["partition-id"]` in a simulation."""
        ...


def shop_name(node_config: NodeConfig) -> str:
    """Names a shop that could not be opened, from the owner's own configuration."""
    return str(node_config.get("shop", f"partition-{node_config.get('partition-id', '?')}"))


def read_plan(record: ConfigRecord, *, round_key: str) -> tuple[Plan, int]:
    """Reads the plan and the round's number (0 where none is asked for) from a request.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or out of its bounds.
        PrivacyError: The round is no whole number.
    """
    fields = dict(record)
    number = fields.pop(round_key, 0)
    if type(number) is not int:  # a truth value is none
        raise PrivacyError(
            "must be a whole number", name=round_key, value=str(number)[:40], remedy="number it"
        )
    return Plan.model_validate(fields), number


def check_round(plan: Plan, *, adapter: Arrays, candidates: CodesArray, n_items: int) -> None:
    """Refuses what a round is asked to train on, before anything is reserved.

    Whether the matrices fit the shop's model, the model says when they are loaded.

    Args:
        plan: The public plan.
        adapter: As received.
        candidates: As received.
        n_items: Items of the public catalogue.

    Raises:
        PrivacyError: Something is not what a plan of this kind sends.
    """
    most = plan.candidates
    if candidates.ndim != 1 or len(candidates) > most:
        raise PrivacyError(
            f"must be (n,) with n at most {most}",
            name="shape of the candidates",
            value=candidates.shape,
            remedy="send the candidates that the plan allows",
        )
    if len(candidates) and not 0 <= candidates.min() <= candidates.max() < n_items:
        raise PrivacyError(
            f"must be from 0 to {n_items - 1}",
            name="candidates",
            value=f"{candidates.min()} to {candidates.max()}",
            remedy="send codes of the catalogue",
        )
    for name, array in adapter.items():
        largest = np.abs(array).max(initial=0) if array.dtype == np.float32 else math.nan
        if not largest <= MAX_ADAPTER_VALUE:
            raise PrivacyError(
                f"must be float32 with entries up to {MAX_ADAPTER_VALUE:g}",
                name=f"adapter: {name[-80:]}",
                value=f"{array.dtype} up to {largest:g}",
                remedy="send an adapter that was trained",
            )
