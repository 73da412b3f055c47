"""The node's ledger: opened, never begun anew by itself, and restored by its owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.deploy.folder import NodeFolder
from shared.errors import ConfigError, FedprofileError, PrivacyError
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.receipts import Receipt, read_receipts
from shared.privacy.ledger.log.shop_files import (
    ShopFiles,
    digest_arrays,
    read_release,
    release_path,
)
from shared.runtime.file_store import make_folder
from shared.secure_aggregation.decisions import FolderDecisions
from shared.secure_aggregation.shop_record import end_run


def ledger_files(folder: NodeFolder) -> ShopFiles:
    """Names the files of the node's ledger."""
    return ShopFiles.of(folder.ledgers, folder.settings().shop)


def open_ledger(folder: NodeFolder, *, anchored: bool = True) -> Ledger:
    """Opens the shop's ledger; only `fedprofile node init` and its owner's restoration begin one.

    Args:
        folder: The node's folder.
        anchored: Whether the anchor must know it; False is for the owner who restores it.

    Raises:
        PrivacyError: Ledger or key is missing, it does not verify, or its limits are not those of
            the settings.
    """
    files = ledger_files(folder)
    for name, path in (("ledger", files.ledger), ("key", files.key)):
        # A ledger that began anew would know nothing of what was spent under the shop's name.
        if not path.exists() or not path.stat().st_size:
            raise PrivacyError(
                "is missing or empty, and a node never begins its ledger anew by itself",
                name=name,
                value=path,
                remedy="restore it from its backup; if there is none, run `fedprofile node ledger "
                "restore --new-ledger` with the server's receipts",
            )
    return Ledger.open(files.ledger, limits=folder.settings().limits, anchored=anchored)


def lost_line(folder: NodeFolder, chain: Chain) -> int | None:
    """Returns the last line that the server signed and the ledger has lost; None where all is well.

    Raises:
        PrivacyError: The receipts that stopped the ledger cannot be read.
    """
    path = ledger_files(folder).receipts
    receipts = read_receipts(path) if path.exists() else ()
    return max((r.entry for r in receipts if not chain.accounts_for(r)), default=None)


@dataclass(frozen=True)
class LedgerRestoration:
    """What `fedprofile node ledger restore` did.

    Attributes:
        shop: The shop.
        counted: Lost line up to which the server's receipt was counted; None where none was lost.
        before: Epsilon of the ledger as it was found.
        epsilon: Epsilon with what was lost.
        delta: Of both.
        limit: The limit in force.
    """

    shop: str
    counted: int | None
    before: float
    epsilon: float
    delta: float
    limit: float


def restore_ledger(
    folder: NodeFolder, *, receipts: Path | None = None, new: bool = False
) -> LedgerRestoration:
    """Counts what the ledger has lost, as far as the server's receipts prove it.

    Args:
        folder: The node's folder.
        receipts: The server's file of the shop's receipts; None takes those that stopped the node.
            Without the file the anchor must know the ledger.
        new: Begin a new ledger where the old one, or its key, is lost. What is left of the old one
            is set aside as evidence.

    Raises:
        ConfigError: A new ledger is asked for without receipts, or although the old one is whole.
        PrivacyError: Ledger or receipts cannot be used, or the disk refused.
    """
    proven = () if receipts is None else _own_receipts(folder, receipts)
    if new:
        _begin_anew(folder, receipts)
    ledger = open_ledger(folder, anchored=receipts is None)
    before, known = ledger.spent().bound, (*proven, *ledger.lost_lines())
    if not all(ledger.chain.accounts_for(receipt) for receipt in known):
        _set_copies_aside(folder, ledger.chain)
        _end_secure_runs(folder)
    counted = ledger.restore(proven)
    spent, limits = ledger.spent(), ledger.chain.limits
    return LedgerRestoration(
        shop=ledger.shop,
        counted=None if counted is None else counted.entry,
        before=before,
        epsilon=spent.bound,
        delta=spent.delta,
        limit=limits.epsilon,
    )


def _own_receipts(folder: NodeFolder, path: Path) -> Sequence[Receipt]:
    """Reads the receipts that count: of this shop, signed by the key of its invitation."""
    shop, key = folder.settings().shop, folder.invitation().signing_key
    receipts = read_receipts(path)
    own = [r for r in receipts if r.counts_for(shop, key)]
    if receipts and not own:
        raise PrivacyError(
            f"holds no receipt of {shop} by the server of the invitation, {key[:16]}…",
            name="receipts",
            value=path,
            remedy="ask the server's owner for the shop's file in its folder `receipts`",
        )
    return own


def _begin_anew(folder: NodeFolder, receipts: Path | None) -> None:
    """Makes a genesis in place of a ledger that is lost, with the old key if that is there."""
    settings, files = folder.settings(), ledger_files(folder)
    if receipts is None:
        raise ConfigError(
            "needs the server's receipts, which say what was spent under the shop's name",
            name="new-ledger",
            value=settings.shop,
            remedy="name them with --receipts; an empty file where the server has signed nothing",
        )
    try:
        open_ledger(folder, anchored=False)
    except FedprofileError as error:
        if isinstance(error, ConfigError):  # the passphrase: nothing is lost by that
            raise
    else:
        raise ConfigError(
            "is there and verifies",
            name="ledger",
            value=files.ledger,
            remedy="restore it without --new-ledger",
        )
    for path in (files.ledger, files.anchor):
        if path.exists():
            path.rename(_free_name(path))
    if not files.key.exists() and files.next_key.exists():
        files.next_key.rename(_free_name(files.next_key))
    Ledger.open_or_create(folder.ledgers, shop=settings.shop, limits=settings.limits)


def _free_name(path: Path) -> Path:
    number = 1
    while (free := path.with_name(f"{path.name}.lost-{number}")).exists():
        number += 1
    return free


def _set_copies_aside(folder: NodeFolder, chain: Chain) -> None:
    """Moves copies of releases that only the lost lines know out of the way of new ones."""
    releases = release_path(folder.store, chain.start.shop, 0).parent
    for path in sorted(releases.glob("*.safetensors")):
        committed = chain.commits.get(int(path.stem), []) if path.stem.isdecimal() else []
        if digest_arrays(read_release(path)) not in committed:
            lost = make_folder(releases / "lost")
            path.rename(_free_name(lost / path.name))


def _end_secure_runs(folder: NodeFolder) -> None:
    """Ends what the shop was part of: a lost line may have paid for a masked vector that left.

    Made again under the same masks, the two would differ by the shop's own numbers and noise, which
    no other shop hides.
    """
    for run in sorted(folder.sums.glob("*/")):
        end_run(FolderDecisions(run))
