"""Opens this machine's shop: its own data, ledger and randomness; nothing comes from the server."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace

from client.accounted_node import AccountedNode
from client.deploy.folder import NodeFolder
from client.deploy.kept_pairs import KeptPairs
from client.deploy.shop_data import load_shop
from client.node import NodeConfig
from client.shop_node import ShopNode
from shared.device import describe_device, resolve_device
from shared.errors import ModelError
from shared.model.profile_model import ProfileModel, build_base
from shared.model.text_cache import encode_texts
from shared.privacy.calibration import check_delta
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.noise import RandomSource

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
        settings, public = self.folder.settings(), self.folder.invitation().base
        data = load_shop(settings, public)
        check_delta(settings.limits.delta, data.n_users)
        device = resolve_device(settings.device)
        LOG.info("device=%s", describe_device(device))
        whitening = public.whitening()
        vectors = encode_texts(public.texts, settings=public.model, device=device)

        def base() -> ProfileModel:
            return open_base(self.folder)

        first = base()  # refuses before anything is reserved
        node = ShopNode(
            shop_id=settings.shop,
            events=data.events,
            n_users=data.n_users,
            item_vectors=whitening.apply(vectors),
            base=base,
            settings=public.model,
            randomness=fresh,
            device=device,
            texts=public.texts if first.text_encoder is not None else (),
            keep_own=KeptPairs(self.folder).keep,
        )
        return AccountedNode(
            node,
            open_ledger(self.folder),
            replace(settings.rules(), base_hash=first.base_hash),
            repeatable=False,
            releases=self.folder.store,
        )


def fresh(*_: object) -> RandomSource:
    """Returns new randomness, whatever the plan's seed says."""
    return RandomSource.from_os()


def open_base(folder: NodeFolder) -> ProfileModel:
    """Builds the frozen base of the invitation.

    Raises:
        ModelError: The encoder here is another one.
    """
    public = folder.invitation().base
    base = build_base(public.model, public.whitening())
    if base.base_hash != public.base_hash:
        raise ModelError(
            f"encoder={public.model.encoder} gives base {base.base_hash[:16]}…, the invitation "
            f"says {public.base_hash[:16]}…; use the encoder that the server's owner names"
        )
    return base


def open_ledger(folder: NodeFolder) -> Ledger:
    """Opens the shop's ledger.

    Raises:
        PrivacyError: It does not verify, or its limits are not those of the settings.
    """
    settings = folder.settings()
    return Ledger.open_or_create(folder.ledgers, shop=settings.shop, limits=settings.limits)
