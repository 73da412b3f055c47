"""Opens this machine's shop: its own data, ledger and randomness; nothing comes from the server."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace

from client.deploy.federated_model import OwnPairSumsFolder
from client.deploy.folder import NodeFolder
from client.deploy.node_ledger import open_ledger
from client.deploy.roster import signed_roster
from client.deploy.shop_data import load_shop, save_report
from client.federation.node_interface import NodeConfig, PlanRules
from client.federation.outgoing_releases import AccountedNode
from client.federation.secure_sums import SecureSums, no_roster
from client.federation.shop_node import ShopNode
from shared.errors import ModelError
from shared.model.profile_model import ProfileModel, build_base
from shared.model.text_vectors import encode_texts
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.noise import RandomSource
from shared.runtime.environment import describe_device, resolve_device

LOG = logging.getLogger("fedprofile.client")


@dataclass(frozen=True)
class DeployedShop:
    """Opens the shop of a node's folder.

    Attributes:
        folder: The node's folder.
    """

    folder: NodeFolder

    def open(self, node_config: NodeConfig) -> AccountedNode:  # noqa: ARG002
        """Opens data, base and ledger; nothing is spent by that.

        Raises:
            FedprofileError: The data, the base, the ledger or the settings cannot be used.
        """
        os.environ["FEDPROFILE_CACHE"] = str(self.folder.cache.resolve())
        settings, public_base = self.folder.settings(), self.folder.invitation().base
        data = load_shop(settings, public_base)
        save_report(self.folder, data)
        OwnPairSumsFolder(self.folder).follow_deletions(data.deletions)
        device = resolve_device(settings.device)
        LOG.info("device=%s", describe_device(device))
        whitening = public_base.whitening()
        vectors = encode_texts(public_base.texts, settings=public_base.model, device=device)

        def base() -> ProfileModel:
            return open_base(self.folder)

        checked_base = base()  # refuses before anything is reserved
        node = ShopNode(
            shop_id=settings.shop,
            events=data.events,
            n_users=data.n_users,
            item_vectors=whitening.apply(vectors),
            base=base,
            settings=public_base.model,
            randomness=fresh_randomness,
            device=device,
            texts=public_base.texts if checked_base.text_encoder is not None else (),
            save_own_pairs=OwnPairSumsFolder(self.folder).save,
        )
        ledger = open_ledger(self.folder)
        rules = replace(settings.rules(), base_hash=checked_base.base_hash)
        return AccountedNode(
            node,
            ledger,
            rules,
            repeatable=False,
            releases=self.folder.store,
            sums=self._sums(ledger, rules),
        )

    def secure_sums(self, node_config: NodeConfig) -> SecureSums:  # noqa: ARG002
        """Opens ledger and roster alone; no data are read and nothing is spent.

        Raises:
            FedprofileError: The ledger cannot be used, or not all shops have signed a roster that
                this shop's owner accepted.
        """
        base_hash = self.folder.invitation().base.base_hash
        rules = replace(self.folder.settings().rules(), base_hash=base_hash)
        ledger = open_ledger(self.folder)
        sums = self._sums(ledger, rules)
        if sums is None:
            raise no_roster(ledger.shop)
        return sums

    def _sums(self, ledger: Ledger, rules: PlanRules) -> SecureSums | None:
        roster = signed_roster(self.folder)
        return None if roster is None else SecureSums(ledger, roster, self.folder.sums, rules)


def fresh_randomness(*_: object) -> RandomSource:
    """Returns new randomness, whatever the plan's seed says."""
    return RandomSource.from_os()


def open_base(folder: NodeFolder) -> ProfileModel:
    """Builds the frozen base of the invitation.

    Raises:
        ModelError: The encoder here is another one.
    """
    public_base = folder.invitation().base
    base = build_base(public_base.model, public_base.whitening())
    if base.base_hash != public_base.base_hash:
        raise ModelError(
            f"gives base {base.base_hash[:16]}…, the invitation has {public_base.base_hash[:16]}…",
            name="encoder",
            value=public_base.model.encoder,
            remedy="use the encoder that the server's owner names",
        )
    return base
