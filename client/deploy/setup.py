"""`fedprofile node key` and `node init`: keys, settings, ledger and store of a new node."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from client.deploy.folder import NodeFolder, NodeSettings
from shared.deploy.bundle import bundle_hash, package_hash, thin_bundle
from shared.deploy.invitation import Invitation
from shared.deploy.owner_files import make_folder, write_owner_file
from shared.deploy.settings_file import write_settings
from shared.errors import ConfigError, RunExistsError
from shared.privacy.calibration import check_delta
from shared.privacy.key_lock import LOCK, key_pem
from shared.privacy.ledger.entries import Limits
from shared.privacy.ledger.ledger import Ledger


def make_node_key(root: Path) -> Path:
    """Makes the node's ECDSA P-384 key and returns the public part's file.

    The key is encrypted where this process has a passphrase.

    Raises:
        RunExistsError: There is a key already.
    """
    folder = NodeFolder(root)
    if folder.key.exists():
        raise RunExistsError(f"key={folder.key} exists; a node keeps its key")
    make_folder(root)
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    write_owner_file(folder.key, key_pem(key, LOCK.passphrase))
    write_owner_file(folder.public_key, public + b"\n")
    return folder.public_key


def new_node(
    *, data: Path, order_column: str | None, limits: Limits, encoder: str | None, offer: Invitation
) -> NodeSettings:
    """Builds the settings of a new node from what its owner said and the invitation's limits.

    Raises:
        PrivacyError: Delta is out of its bounds.
        ConfigError: The data do not exist.
    """
    check_delta(limits.delta)
    if not data.exists():
        raise ConfigError(f"--data {data}: does not exist; give the folder of the shop's events")
    return NodeSettings(
        shop=offer.shop,
        data=str(data.resolve()),
        order_column=order_column,
        unit="user",
        limits=limits,
        max_sample_rate=offer.limits.sample_rate,
        max_grad_norm=offer.limits.max_grad_norm,
        bundles=(bundle_hash(thin_bundle()),),
        package=package_hash(),
        encoder=encoder,
    )


def init_node(root: Path, settings: NodeSettings, offer: Invitation) -> None:
    """Writes settings and invitation and begins the ledger.

    Raises:
        RunExistsError: There is a node already.
        ConfigError: The node has no key yet.
        PrivacyError: The ledger cannot be made.
    """
    folder = NodeFolder(root)
    if folder.config.exists():
        raise RunExistsError(f"folder={root} holds a node already; choose another folder")
    if not folder.key.exists():
        raise ConfigError(
            f"key={folder.key} does not exist; make it with `fedprofile node key --dir {root}` and "
            "send node.pub to the server's owner"
        )
    for path in (root, folder.ledgers, folder.ledgers / "keys", folder.store, folder.adapters):
        make_folder(path)
    for path in (folder.cache, folder.flower_home, folder.empty):
        make_folder(path)
    write_owner_file(root / "invitation.json", offer.content())
    Ledger.open_or_create(folder.ledgers, shop=settings.shop, limits=settings.limits)
    write_settings(folder.config, settings)
