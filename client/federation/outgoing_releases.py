"""What leaves the shop: noisy adapter updates, noisy item counts and noisy pair sums, no more.

Nothing else that is made of the shop's data is ever sent. Each of the three is first reserved in
the shop's ledger, then computed, then committed; only after that does it leave. Where the ledger
refuses, nothing is computed. A process that dies in between leaves the budget spent, never a
release that the ledger does not know.

Each is one `ReleaseTask`: what is asked, what it costs, which whole numbers answer. It leaves as
these numbers or, in a run under a roster, under masks that vanish in the sum over shops alone.

`client.federation.shop_node` computes the releases and adds their noise; `client.training` clips.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from client.federation.node_interface import (
    DEFAULT_RULES,
    Node,
    NodeConfig,
    NodeSource,
    PlanRules,
    plan_mechanisms,
)
from client.federation.release_tasks import (
    ReleaseTask,
    counting_task,
    pairing_task,
    training_task,
)
from client.federation.secure_sums import SecureSums, no_roster
from shared.errors import PrivacyError
from shared.privacy.ledger.admission import ReleaseRequest
from shared.privacy.ledger.ledger import Ledger, ReleasePermit
from shared.privacy.ledger.log.entries import LifetimeLimits, Planning
from shared.privacy.ledger.log.shop_files import (
    digest_arrays,
    file_stem,
    find_release,
    keep_release,
)
from shared.privacy.noise import Integers
from shared.protocol import messages
from shared.protocol.messages import Arrays, CodesArray, Plan, Release
from shared.protocol.secure_sums import asked_in, masked_arrays
from shared.secure_aggregation.messages import InputRequest
from shared.secure_aggregation.roster import SignedRoster
from shared.secure_aggregation.shop import Contribution

LOG = logging.getLogger("fedprofile.client")


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
        sums: The shop's part in secure sums; None where it has signed no roster.
    """

    node: Node
    ledger: Ledger
    rules: PlanRules = DEFAULT_RULES
    repeatable: bool = False
    planning: Planning | None = None
    releases: Path | None = None
    sums: SecureSums | None = None

    @property
    def shop_id(self) -> str:
        """The owner's public name."""
        return self.node.shop_id

    @property
    def n_items(self) -> int:
        """Items of the public catalogue."""
        return self.node.n_items

    def train(
        self,
        *,
        adapter: Arrays,
        plan: Plan,
        round: int,  # noqa: A002
        candidates: CodesArray,
    ) -> Release:
        """Trains one round; see `client.federation.node_interface.Node.train`.

        Raises:
            PrivacyError: The round is not paid for, or no round of this plan. Nothing was computed.
        """
        return self._release(
            training_task(
                self.node, adapter=adapter, plan=plan, number=round, candidates=candidates
            )
        )

    def item_counts(self, *, plan: Plan) -> Integers:
        """Releases the noisy item counts; see `client.federation.node_interface.Node.item_counts`.

        Raises:
            PrivacyError: They are not paid for. Nothing was computed.
        """
        return self._release(counting_task(self.node, plan=plan))[messages.COUNTS]

    def pair_sums(self, *, plan: Plan, head: CodesArray) -> Integers:
        """Releases the noisy pair sums; see `client.federation.node_interface.Node.pair_sums`.

        Raises:
            PrivacyError: They are not paid for, or the head is none. Nothing was computed.
        """
        return self._release(pairing_task(self.node, plan=plan, head=head))[messages.PAIRS]

    def masked(self, request: InputRequest) -> MaskedNode:
        """Returns the same shop, whose releases leave under the masks of a secure sum."""
        return MaskedNode(self, request)

    def _release(self, task: ReleaseTask) -> Release:
        """Checks the plan, reserves, runs and commits.

        The ledger checks the budget inside the reservation, before anything is computed. An
        exception after it leaves the round spent.

        A round that was released before is sent again from its stored copy, at no cost.
        """
        self.rules.check(task.plan)
        if task.plan.roster:
            raise PrivacyError(
                "leaves under masks alone in a run under a roster",
                name="release",
                value=task.sum_name,
                remedy="ask for it by secure aggregation",
            )
        request = self._request(task, task.asked)
        repeated = self._released_before(request)
        if repeated is not None:
            return repeated
        permit = self._reserve(request)
        # From here on the round is spent, whatever happens: after a crash nobody can tell whether
        # its release was seen.
        released = task.compute()
        # The copy comes before the commit: a committed round is only ever sent again from its copy,
        # since computing it anew would draw new noise and so spend twice.
        self._keep(permit.entry, released)
        self.ledger.commit(permit, digest_arrays(released))
        return released

    def mask(self, task: ReleaseTask, request: InputRequest) -> bytes:
        """Adds to a secure sum: checks the plan, then reserves, runs, masks, keeps and commits.

        Nothing leaves before it is committed, so that a round that a crash left without a commit
        is drawn again; after its commit the kept bytes alone are sent. The round is paid for in one
        set-up: the same numbers under other masks would be a second look at them.

        Raises:
            PrivacyError: It is not paid for, or the protocol refuses. Nothing was sent.
        """
        sums = self.sums
        if sums is None:
            raise no_roster(self.shop_id)
        side = sums.side(task.plan)
        paid = self._request(task, asked_in(side.setup_digest(), task.asked), kept_first=True)

        def numbers(setup: str) -> Integers:
            sums.note_roster(task.plan, setup)
            self._reserve(paid)
            released = task.compute()
            return np.concatenate([released[name].ravel() for name in sorted(released)])

        masked = side.mask(request, Contribution(task.sum_name, task.asked, numbers))
        self._keep(self.ledger.chain.rounds[paid.key], masked_arrays(masked))
        self.ledger.commit_round(paid, digest_arrays(masked_arrays(masked)))
        return masked

    def _request(
        self, task: ReleaseTask, inputs: str, *, kept_first: bool = False
    ) -> ReleaseRequest:
        digest = task.plan.digest()
        return ReleaseRequest(
            run=digest[:16],
            round=task.round,
            mechanism=task.mechanism,
            plan=plan_mechanisms(task.plan),
            plan_digest=digest,
            base_hash=task.plan.base_hash,
            inputs=inputs,
            repeatable=self.repeatable,
            kept_first=kept_first,
            planning=self.planning,
        )

    def _reserve(self, request: ReleaseRequest) -> ReleasePermit:
        permit = self.ledger.reserve(request, max_own_epsilon=self.rules.max_own_epsilon)
        if permit.alerts and not self.repeatable:
            LOG.warning(
                "shop=%s has spent epsilon %.4g, over %d%% of its lifetime limit of %g",
                self.shop_id,
                permit.epsilon,
                permit.alerts[-1],
                permit.limit,
            )
        return permit

    def _keep(self, entry: int, released: Mapping[str, npt.NDArray[Any]]) -> None:
        if self.releases is not None:
            keep_release(self.releases, self.shop_id, entry, released)

    def _released_before(self, request: ReleaseRequest) -> Release | None:
        """Returns the release that answered this very request before, if a copy was stored."""
        if self.releases is None:
            return None
        entry = self.ledger.committed(request)
        return None if entry is None else find_release(self.releases, self.shop_id, *entry)


@dataclass(frozen=True)
class MaskedNode:
    """A node whose releases leave under masks; see `client.federation.node_interface.Node`.

    Each method returns six bytes a number, in order of the arrays' names.

    Attributes:
        node: The shop.
        request: Which sum, and the letters that came with it.
    """

    node: AccountedNode
    request: InputRequest

    def train(
        self,
        *,
        adapter: Arrays,
        plan: Plan,
        round: int,  # noqa: A002
        candidates: CodesArray,
    ) -> bytes:
        """Trains one round."""
        return self._mask(
            training_task(
                self.node.node, adapter=adapter, plan=plan, number=round, candidates=candidates
            )
        )

    def item_counts(self, *, plan: Plan) -> bytes:
        """Counts items."""
        return self._mask(counting_task(self.node.node, plan=plan))

    def pair_sums(self, *, plan: Plan, head: CodesArray) -> bytes:
        """Sums pairs."""
        return self._mask(pairing_task(self.node.node, plan=plan, head=head))

    def _mask(self, task: ReleaseTask) -> bytes:
        return self.node.mask(task, self.request)


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
        roster: That all shops signed; None where there is none.
        states: Folder of what the shops decide in secure sums; needed with a roster.
    """

    source: NodeSource
    ledgers: Path
    limits: LifetimeLimits
    rules: PlanRules = DEFAULT_RULES
    repeatable: bool = False
    planning: Planning | None = None
    releases: Path | None = None
    keys: Path | None = None
    roster: SignedRoster | None = None
    states: Path | None = None

    def open(self, node_config: NodeConfig) -> AccountedNode:
        """Opens a shop and its ledger.

        Raises:
            PrivacyError: The ledger cannot be written, does not verify or has other limits.
        """
        node = self.source.open(node_config)
        ledger = self.ledger(node.shop_id)
        sums = None if self.roster is None else self._sums(ledger, self.roster)
        return AccountedNode(
            node, ledger, self.rules, self.repeatable, self.planning, self.releases, sums
        )

    def secure_sums(self, node_config: NodeConfig) -> SecureSums:
        """Opens a shop's ledger and key alone.

        Raises:
            PrivacyError: There is no roster, or the ledger cannot be used.
        """
        shop = self.source.open(node_config).shop_id
        if self.roster is None:
            raise no_roster(shop)
        return self._sums(self.ledger(shop), self.roster)

    def ledger(self, shop: str) -> Ledger:
        """Opens a shop's ledger, and begins it the first time.

        Raises:
            PrivacyError: It cannot be written, does not verify or has other limits.
        """
        return Ledger.open_or_create(self.ledgers, shop=shop, limits=self.limits, keys=self.keys)

    def _sums(self, ledger: Ledger, roster: SignedRoster) -> SecureSums:
        states = (self.states or self.ledgers / "sums") / file_stem(ledger.shop)
        return SecureSums(ledger, roster, states, self.rules)
