"""A shop that releases nothing that its ledger has not paid for: reserve, check, run, commit."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from client.node import Node, NodeConfig, NodeSource
from shared import messages
from shared.errors import PrivacyError
from shared.messages import Arrays, CodesArray, FloatArray
from shared.plan import Plan
from shared.privacy.accounting import MIN_NOISE
from shared.privacy.guarantee import COUNTS_MAX_NORM, Mechanism
from shared.privacy.ledger.admission import Request
from shared.privacy.ledger.digests import digest_arrays
from shared.privacy.ledger.entries import Limits, Planning
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.releases import find_release, keep_release

LOG = logging.getLogger("fedprofile.client")


@dataclass(frozen=True)
class PlanRules:
    """What a shop's owner accepts in a plan, whatever budget is left.

    Attributes:
        min_noise_multiplier: Least noise of any mechanism.
        max_sample_rate: Largest probability that a user takes part in a step.
        max_steps: Most noisy steps over all rounds.
        max_grad_norm: Largest clip norm.
        base_hash: The only base that is trained on; None takes any.
    """

    min_noise_multiplier: float = MIN_NOISE
    max_sample_rate: float = 1.0
    max_steps: int = 100_000
    max_grad_norm: float = math.inf
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
        for mechanism in plan_mechanisms(plan):
            if not mechanism.noise_multiplier >= self.min_noise_multiplier:
                raise PrivacyError(
                    f"noise_multiplier={mechanism.noise_multiplier} of {mechanism.name} must be at "
                    f"least {self.min_noise_multiplier}; raise the noise"
                )
        bounds = {
            "sample_rate": (plan.sample_rate, self.max_sample_rate),
            "rounds * local_steps": (plan.rounds * plan.local_steps, self.max_steps),
            "max_grad_norm": (plan.max_grad_norm, self.max_grad_norm),
        }
        for name, (value, most) in bounds.items():
            if not value <= most:
                raise PrivacyError(f"{name}={value:g} must be at most {most:g}; lower it")


@dataclass(frozen=True)
class AccountedNode:
    """A node whose every release is reserved before it is computed and committed before it leaves.

    Attributes:
        node: The shop.
        ledger: Its ledger.
        rules: What the owner accepts.
        repeatable: Whether the node's noise comes from the plan's seed, as in a simulation: a
            repeated round is then the same release. On a real node False.
        planning: None lets the ledger decide whether a run counts as planned.
        releases: Folder whose `releases/` gets copies of what leaves; None keeps none.
    """

    node: Node
    ledger: Ledger
    rules: PlanRules = PlanRules()
    repeatable: bool = False
    planning: Planning | None = None
    releases: Path | None = None

    @property
    def shop_id(self) -> str:
        """The owner's public name."""
        return self.node.shop_id

    def train(
        self,
        *,
        adapter: Arrays,
        plan: Plan,
        round: int,  # noqa: A002
        candidates: CodesArray,
    ) -> Arrays:
        """Trains one round; see `client.node.Node.train`.

        Raises:
            PrivacyError: The round is not paid for. Nothing was computed.
        """
        if not 1 <= round <= plan.rounds:
            raise PrivacyError(f"round={round} must be between 1 and rounds={plan.rounds}")
        inputs: dict[str, npt.NDArray[Any]] = {**adapter, messages.CANDIDATES: candidates}
        (training, *_) = plan_mechanisms(plan)
        return self._release(
            plan,
            replace(training, steps=plan.local_steps),
            round=round,
            inputs=digest_arrays(inputs, "train", round),
            make=lambda: self.node.train(
                adapter=adapter, plan=plan, round=round, candidates=candidates
            ),
        )

    def counts(self, *, plan: Plan) -> FloatArray:
        """Releases the noisy item counts; see `client.node.Node.counts`.

        Raises:
            PrivacyError: They are not paid for. Nothing was computed.
        """
        if not plan.counts_release:
            raise PrivacyError("counts_release=False must be True where item counts are asked for")
        (_, counts) = plan_mechanisms(plan)
        released = self._release(
            plan,
            counts,
            round=0,
            inputs=digest_arrays({}, "counts"),
            make=lambda: {messages.COUNTS: self.node.counts(plan=plan)},
        )
        return released[messages.COUNTS]

    def _release(
        self,
        plan: Plan,
        mechanism: Mechanism,
        *,
        round: int,  # noqa: A002
        inputs: str,
        make: Callable[[], Arrays],
    ) -> Arrays:
        """Reserves, checks, runs and commits; an exception on the way leaves the round spent.

        A round that was released before is sent again from the kept copy, at no cost.
        """
        self.rules.check(plan)
        digest = plan.digest()
        request = Request(
            run=digest[:16],
            round=round,
            mechanism=mechanism,
            plan=plan_mechanisms(plan),
            plan_digest=digest,
            base_hash=plan.base_hash,
            inputs=inputs,
            repeatable=self.repeatable,
            planning=self.planning,
        )
        kept = self._kept(request)
        if kept is not None:
            return kept
        reservation = self.ledger.reserve(request)
        if reservation.alerts and not self.repeatable:
            LOG.warning(
                "shop=%s has spent epsilon %.4g, over %d%% of its lifetime limit of %g",
                self.shop_id,
                reservation.epsilon,
                reservation.alerts[-1],
                reservation.limit,
            )
        released = make()
        if self.releases is not None:
            keep_release(self.releases, self.shop_id, reservation.entry, released)
        self.ledger.commit(reservation, digest_arrays(released))
        return released

    def _kept(self, request: Request) -> Arrays | None:
        """Returns the release that answered this very request before, if a copy was kept."""
        before = self.ledger.committed(request) if self.releases is not None else None
        if before is None or self.releases is None:
            return None
        return find_release(self.releases, self.shop_id, *before)


@dataclass(frozen=True)
class AccountedSource:
    """Opens shops with their ledgers; picklable, so it works on every engine.

    Attributes:
        source: Opens the shops.
        ledgers: Folder with one ledger a shop; keys and ledgers are made when first opened.
        limits: Lifetime limits of every shop.
        rules: What the owners accept.
        repeatable: Whether the shops' noise comes from the plan's seed.
        planning: None lets each ledger decide whether a run counts as planned.
        releases: Folder whose `releases/` gets copies of what leaves; None keeps none.
        keys: Folder of keys and anchors; None takes `keys/` in `ledgers`.
    """

    source: NodeSource
    ledgers: Path
    limits: Limits
    rules: PlanRules = PlanRules()
    repeatable: bool = False
    planning: Planning | None = None
    releases: Path | None = None
    keys: Path | None = None

    def open(self, node_config: NodeConfig) -> AccountedNode:
        """Opens a shop and its ledger.

        Raises:
            PrivacyError: The ledger cannot be written, does not verify or has other limits.
        """
        node = self.source.open(node_config)
        ledger = Ledger.open_or_create(
            self.ledgers, shop=node.shop_id, limits=self.limits, keys=self.keys
        )
        return AccountedNode(
            node, ledger, self.rules, self.repeatable, self.planning, self.releases
        )


def plan_mechanisms(plan: Plan) -> tuple[Mechanism, ...]:
    """Returns all that a plan releases, in the order of the calibration."""
    training = Mechanism(
        "dp-sgd",
        plan.noise_multiplier,
        plan.sample_rate,
        plan.rounds * plan.local_steps,
        plan.max_grad_norm,
    )
    if not plan.counts_release:
        return (training,)
    counts = Mechanism("item-counts", plan.counts_noise_multiplier, 1.0, 1, COUNTS_MAX_NORM)
    return (training, counts)
