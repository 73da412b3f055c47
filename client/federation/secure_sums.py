"""A shop's part in secure sums: five answers, of which the masked input alone needs its data.

The protocol is `shared.secure_aggregation.shop`; here it meets the shop's rules and its ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from client.federation.node_interface import DEFAULT_RULES, NodeConfig, PlanRules
from shared.errors import PrivacyError
from shared.keys.signing import SigningKey
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import Aggregation
from shared.protocol.messages import Plan
from shared.protocol.secure_sums import terms_of
from shared.runtime.file_store import make_folder
from shared.secure_aggregation.decisions import FolderDecisions
from shared.secure_aggregation.messages import (
    Confirmation,
    ConfirmRequest,
    DealtShares,
    KeyList,
    OpenedShares,
    OpenRequest,
    ShopKeys,
    SumBinding,
)
from shared.secure_aggregation.roster import SignedRoster
from shared.secure_aggregation.shop import ShopSide


@dataclass(frozen=True)
class SecureSums:
    """One shop among those of a roster, in whatever runs come.

    Attributes:
        ledger: The shop's ledger; its key signs.
        roster: That all shops signed.
        states: Folder of what the shop decided, one folder a run.
        rules: What the owner accepts.
    """

    ledger: Ledger
    roster: SignedRoster
    states: Path
    rules: PlanRules = DEFAULT_RULES

    @property
    def shop_id(self) -> str:
        """The owner's public name."""
        return self.ledger.shop

    def side(self, plan: Plan) -> ShopSide:
        """Returns the shop's side of a run.

        Raises:
            PrivacyError: The plan breaks a rule, or is not for the roster that this shop signed.
        """
        self.rules.check(plan)
        digest = self.roster.roster.digest()
        if plan.roster != digest:
            raise PrivacyError(
                f"must be {digest[:16]}…, which this shop has signed",
                name="roster",
                value=f"{plan.roster[:16]}…" if plan.roster else "none",
                remedy="plan for the roster that all shops have signed",
            )
        state = make_folder(self.states) / plan.digest()[:16]
        return ShopSide(
            self.ledger.shop, self.key, self.roster, FolderDecisions(make_folder(state))
        )

    @property
    def key(self) -> SigningKey:
        """The key of the shop in the roster: that of its ledger."""
        return self.ledger.signing_key

    def publish_keys(self, plan: Plan) -> ShopKeys:
        """Answers the request for keys; ends what other runs left, of which one is made at a time.

        Raises:
            PrivacyError: The plan breaks a rule, or the run has ended.
        """
        side = self.side(plan)
        self._end_others(plan)
        return side.publish_keys(terms_of(plan))

    def deal_shares(self, plan: Plan, request: KeyList) -> DealtShares:
        """Answers the request for shares; see `ShopSide.deal_shares`."""
        return self.side(plan).deal_shares(request)

    def note_roster(self, plan: Plan, setup: str) -> None:
        """Writes into the ledger, before a run's first release, under which terms it is made.

        Raises:
            PrivacyError: The run has others, or the disk refused.
        """
        roster = self.roster.roster
        self.ledger.record_aggregation(
            Aggregation(
                run=plan.digest()[:16],
                plan_digest=plan.digest(),
                roster=roster.digest(),
                keys=roster.keys,
                max_missing=roster.max_missing,
                max_colluding=roster.max_colluding,
                noise_shops=roster.noise_shops,
                setup=setup,
            )
        )

    def confirm(self, plan: Plan, request: ConfirmRequest) -> Confirmation:
        """Signs who is in a sum, after the ledger has it; see `ShopSide.confirm`."""

        def in_ledger(binding: SumBinding, survivors: tuple[str, ...]) -> None:
            self.ledger.decide_set(
                run=plan.digest()[:16],
                release=request.release,
                binding=binding.digest(),
                survivors=survivors,
            )

        signature = self.side(plan).confirm(request, before_signing=in_ledger)
        return Confirmation(shop=self.shop_id, signature=signature)

    def open_shares(self, plan: Plan, request: OpenRequest) -> OpenedShares:
        """Opens shares, and notes in the ledger who signed; see `ShopSide.open_shares`."""
        opened = self.side(plan).open_shares(request)
        self.ledger.record_opened(
            run=plan.digest()[:16], release=request.release, signatures=request.signatures
        )
        return opened

    def end(self, plan: Plan) -> None:
        """Removes the run's secrets."""
        self.side(plan).end()

    def _end_others(self, plan: Plan) -> None:
        for folder in sorted(self.states.iterdir()):
            if folder.name != plan.digest()[:16] and folder.is_dir():
                shop, key, roster = self.ledger.shop, self.key, self.roster
                ShopSide(shop, key, roster, FolderDecisions(folder)).end()


class SecureSumsSource(Protocol):
    """Opens a shop for the answers that need no data; small and picklable."""

    def secure_sums(self, node_config: NodeConfig) -> SecureSums:
        """Opens the shop of this machine, or of `node_config["partition-id"]` in a simulation.

        Raises:
            PrivacyError: It has signed no roster.
        """
        ...


def no_roster(shop: str) -> PrivacyError:
    """Returns the refusal of a shop that takes part in no secure sum."""
    return PrivacyError(
        "has signed no roster",
        name="shop",
        value=shop,
        remedy="let each shop add all of its noise with --noise shop, or make a roster with "
        "`fedprofile server roster make`",
    )
