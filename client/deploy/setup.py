"""`fedprofile node key` and `node init`: keys, settings, ledger and store of a new node."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from client.deploy.folder import NodeFolder, NodeSettings
from client.store.changes import NODE_FACT
from client.store.imports.import_source import Say, import_source, report_lines
from client.store.imports.importing import ImportOptions, ImportReport
from client.store.store import Store
from shared.errors import ConfigError, RunExistsError
from shared.flower.bundle import bundle_hash, package_hash, thin_bundle
from shared.keys.private_keys import PASSPHRASE, key_pem
from shared.privacy.accounting.calibration import check_delta
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.log.shop_files import KEYS, ShopFiles
from shared.protocol.invitation import INVITATION, Invitation
from shared.runtime.file_store import make_folder, write_atomic
from shared.settings.run_settings import DataSettings
from shared.settings.service_file import write_settings


def make_node_key(root: Path) -> Path:
    """Makes the node's ECDSA P-384 key and returns the public part's file.

    The key is encrypted where this process has a passphrase.

    Raises:
        RunExistsError: There is a key already.
    """
    folder = NodeFolder(root)
    if folder.key.exists():
        raise RunExistsError(
            "exists already",
            name="key",
            value=folder.key,
            remedy="send node.pub beside it to the server's owner, or choose another folder with "
            "--dir",
        )
    make_folder(root)
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    write_atomic(folder.key, key_pem(key, PASSPHRASE.passphrase), durable=True, private=True)
    write_atomic(folder.public_key, public + b"\n", durable=True, private=True)
    return folder.public_key


def new_node(
    *,
    data: Path | None = None,
    store: str | None = None,
    order_column: str | None,
    limits: LifetimeLimits,
    encoder: str | None,
    invitation: Invitation,
    max_own_epsilon: float | None = None,
) -> NodeSettings:
    """Builds the settings of a new node from its owner's choices and the invitation's limits.

    Raises:
        PrivacyError: Delta is out of its bounds, those of the stated users among them.
        ConfigError: The data do not exist, or neither data nor a database is named.
    """
    check_delta(limits.delta, limits.max_users)
    if data is None and store is None:
        raise ConfigError(
            "is missing",
            name="store",
            value="none",
            remedy="name the shop's database with --store, or a folder of its events with --data",
        )
    if data is not None and not data.exists():
        raise ConfigError(
            "does not exist",
            name="data",
            value=data,
            remedy="name the folder of the shop's events with --data",
        )
    return NodeSettings(
        shop=invitation.shop,
        data=str(data.resolve()) if data is not None and store is None else None,
        store=store,
        order_column=order_column,
        unit="user",
        limits=limits,
        max_own_epsilon=max_own_epsilon,
        max_sample_rate=invitation.limits.sample_rate,
        max_grad_norm=invitation.limits.max_grad_norm,
        bundles=(bundle_hash(thin_bundle()),),
        package=package_hash(),
        encoder=encoder,
    )


def init_node(root: Path, settings: NodeSettings, invitation: Invitation) -> None:
    """Writes settings and invitation and begins the ledger.

    Raises:
        RunExistsError: There is a node already.
        ConfigError: The node has no key yet.
        PrivacyError: The ledger cannot be made, or another is there.
    """
    folder = NodeFolder(root)
    if folder.config.exists():
        raise RunExistsError(
            "holds a node already",
            name="folder",
            value=root,
            remedy="choose another folder with --dir",
        )
    if not folder.key.exists():
        raise ConfigError(
            "does not exist",
            name="key",
            value=folder.key,
            remedy=f"make it with `fedprofile node key --dir {root}` and send node.pub to the "
            "server's owner",
        )
    for path in (root, folder.ledgers, folder.ledgers / KEYS, folder.store, folder.adapters):
        make_folder(path)
    for path in (folder.cache, folder.flower_home, folder.empty):
        make_folder(path)
    write_atomic(root / INVITATION, invitation.content(), durable=True, private=True)
    Ledger.open_or_create(folder.ledgers, shop=settings.shop, limits=settings.limits)
    # Last: node.toml marks a complete node, so that an interrupted `node init` can be repeated.
    write_settings(folder.config, settings)


def move_to_store(
    folder: NodeFolder, url: str, options: ImportOptions, *, say: Say
) -> ImportReport | None:
    """Fills a database with what a node has trained on, and lets it train on that from now on.

    Args:
        folder: The node's folder.
        url: Of the database; what is stored there already is not stored twice.
        options: Of the import.
        say: Gets lines while it takes long.

    Returns:
        What was imported; None where the node named no data any more.

    Raises:
        DataError: The data cannot be imported; the node stays as it is.
    """
    settings = folder.settings()
    report = None
    if settings.data is not None:
        data = DataSettings(source=settings.data, order_column=settings.order_column)
        report = import_source(url, data, None, options, say=say)
    tell_store(url, folder)
    write_settings(folder.config, settings.model_copy(update={"store": url, "data": None}))
    return report


def fill_store(url: str, folder: NodeFolder, data: DataSettings | None, *, say: Say) -> list[str]:
    """Imports a new node's data into its database, where there are any; returns lines about it.

    Raises:
        DataError: The data cannot be imported.
    """
    tell_store(url, folder)
    return [] if data is None else report_lines(import_source(url, data, None, say=say))


def tell_store(url: str, folder: NodeFolder) -> None:
    """Notes in a database which node trains on it, so that a deletion reaches the node's sums."""
    store = Store(url)
    try:
        store.set_fact(NODE_FACT, str(folder.root.resolve())).result()
    finally:
        store.close()


def raise_max_users(folder: NodeFolder, max_users: int, *, delta: float | None) -> LifetimeLimits:
    """States in the ledger, then in `node.toml`, that the shop may have more users.

    Args:
        folder: The node's folder.
        max_users: Users that the shop may have at most.
        delta: Lifetime delta from here on; None takes the largest that ledger and bound allow.

    Returns:
        The limits from here on.

    Raises:
        PrivacyError: The bound does not go up, delta does, or what is spent would pass the limit.
    """
    settings = folder.settings()
    ledger = Ledger.open(ShopFiles.of(folder.ledgers, settings.shop).ledger)
    limits = ledger.chain.stated_limits
    # A command that was cut short before node.toml was written is finished by its repetition.
    stated = limits.max_users == max_users and delta in (None, limits.delta)
    if not stated or settings.limits == limits:
        limits = ledger.raise_max_users(max_users, delta=delta)
    write_settings(folder.config, settings.model_copy(update={"limits": limits}))
    return limits
