"""Opening a shop's ledger: file, key and limits fit each other; and changing the key that signs."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from shared.errors import PrivacyError
from shared.keys.signing import SigningKey
from shared.privacy.accounting.guarantee import ADJACENCY, UNIT
from shared.privacy.ledger.log.chain import Chain, rotation_bytes
from shared.privacy.ledger.log.entries import Genesis, KeyRotation, LifetimeLimits
from shared.privacy.ledger.log.log_file import Clock, LedgerWriter, utc_now
from shared.privacy.ledger.log.shop_files import ShopFiles, make_key, shop_of
from shared.privacy.ledger.spending import check_limits, limits_in_words
from shared.runtime.file_store import LockedFile


class OpenedLedger:
    """A shop's ledger whose file, key and limits fit each other, as it was last read.

    `shared.privacy.ledger.ledger.Ledger` writes to it.
    """

    def __init__(self, writer: LedgerWriter) -> None:
        self._writer = writer

    @classmethod
    def open_or_create(
        cls,
        folder: Path,
        *,
        shop: str,
        limits: LifetimeLimits,
        keys: Path | None = None,
        clock: Clock = utc_now,
    ) -> Self:
        """Opens a shop's ledger in a folder; makes key and ledger the first time.

        Args:
            folder: Holds one `<shop>.jsonl` a shop.
            shop: The shop's public name.
            limits: What the shop will never pass; fixed at the genesis.
            keys: Folder of keys and anchors; None takes `keys/` in `folder`.
            clock: Current time, UTC.

        Raises:
            PrivacyError: The ledger has other limits, cannot be written or does not verify.
        """
        check_limits(limits)
        files = ShopFiles.of(folder, shop, keys=keys)
        if not files.key.exists():
            make_key(files)
        ledger = cls(LedgerWriter(files, SigningKey.load(files.key), clock))
        with ledger._writer.locked(create=True) as file:
            if not ledger.chain.line_hashes:
                genesis = Genesis(
                    shop=shop,
                    unit=UNIT,
                    adjacency=ADJACENCY,
                    limits=limits,
                    public_key=ledger._writer.key.public,
                )
                ledger._writer.append(file, [genesis])
            check_owner(ledger._writer)
        ledger._check_limits(limits)
        return ledger

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        keys: Path | None = None,
        limits: LifetimeLimits | None = None,
        clock: Clock = utc_now,
        anchored: bool = True,
    ) -> Self:
        """Opens an existing ledger by its file; makes nothing.

        Args:
            path: The ledger.
            keys: Folder of key and anchor; None takes `keys/` beside the ledger.
            limits: What its genesis must say; None takes any.
            clock: Current time, UTC.
            anchored: Whether the anchor must know it; False is for its owner who restores it.

        Raises:
            PrivacyError: It is missing, empty, not this key's, does not verify or has other limits.
        """
        files = ShopFiles(path, keys or path.parent / "keys")
        ledger = cls(LedgerWriter(files, SigningKey.load(files.key), clock, anchored=anchored))
        with ledger._writer.locked():
            _ = ledger.chain.start
            check_owner(ledger._writer)
        if limits is not None:
            ledger._check_limits(limits)
        return ledger

    @property
    def chain(self) -> Chain:
        """What the file said when it was last read; not to be changed."""
        return self._writer.chain

    @property
    def shop(self) -> str:
        """The shop's public name."""
        return self.chain.start.shop

    @property
    def signing_key(self) -> SigningKey:
        """The key that signs its lines, and for the shop in a roster."""
        return self._writer.key

    @property
    def torn(self) -> tuple[Path, ...]:
        """Where torn lines were moved to while this object read the ledger."""
        return tuple(self._writer.torn)

    @property
    def last_line(self) -> tuple[int, str]:
        """Number and hash of the last line: what a server signs."""
        return len(self.chain.line_hashes) - 1, self.chain.last_hash

    def _check_limits(self, limits: LifetimeLimits) -> None:
        # A renewal is in the ledger alone: settings say what was stated without it.
        recorded = self.chain.stated_limits
        if recorded != limits:
            raise PrivacyError(
                f"limits={limits_in_words(limits)} of shop={self.shop} must be those of its "
                f"ledger, {limits_in_words(recorded)}",
                remedy="limits are fixed at the genesis; `fedprofile node max-users` states a "
                "larger bound of users, `fedprofile node ledger renew` renews a budget",
            )


def rotate_key(writer: LedgerWriter, file: LockedFile) -> None:
    """Lets a new key sign from here on; the old key signs the line that says so.

    Args:
        writer: Of the ledger.
        file: The ledger, locked.

    Raises:
        PrivacyError: The disk refused; the old key is still valid then.
    """
    files, chain = writer.files, writer.chain
    files.next_key.unlink(missing_ok=True)
    new = SigningKey.generate()
    new.save(files.next_key)
    message = rotation_bytes(chain.start.shop, len(chain.line_hashes), chain.last_hash)
    writer.append(file, [KeyRotation(public_key=new.public, proof=new.sign(message))])
    files.next_key.replace(files.key)
    writer.key = new


def check_owner(writer: LedgerWriter) -> None:
    """Checks name and key, and finishes a rotation that a crash cut short.

    Raises:
        PrivacyError: The ledger is of another shop, or the key does not fit.
    """
    files, chain = writer.files, writer.chain
    if chain.start.shop != shop_of(files.ledger):
        raise PrivacyError(
            f"is of shop={chain.start.shop}",
            name="ledger",
            value=files.ledger,
            remedy="another shop's ledger was put here",
        )
    if files.next_key.exists() and chain.public_key != writer.key.public:
        new = SigningKey.load(files.next_key)
        if new.public == chain.public_key:
            files.next_key.replace(files.key)
            writer.key = new
    if chain.public_key != writer.key.public:
        raise PrivacyError(
            f"does not fit the ledger, which {chain.public_key[:16]}… signs",
            name="key",
            value=files.key,
            remedy="restore the key that belongs to it",
        )
