"""What is known of ledgers from elsewhere, and where the person who verifies says that it lies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shared.errors import PrivacyError
from shared.privacy.ledger.log.log_file import Anchor, read_anchor
from shared.privacy.ledger.log.receipts import Receipt, read_receipts
from shared.privacy.ledger.log.shop_files import ANCHOR, KEYS, ShopFiles


@dataclass(frozen=True)
class PinnedKey:
    """The one server's key whose receipts and countersignatures count.

    Attributes:
        key: Public key, 64 hexadecimal digits.
        source: Where it is from, in words.
    """

    key: str
    source: str

    @property
    def words(self) -> str:
        """Names the key and where it is from."""
        return f"server key {self.key[:16]}… ({self.source})"


@dataclass(frozen=True)
class Evidence:
    """What is known of a ledger from elsewhere; the more, the more a verification shows.

    Attributes:
        anchor: The owner's own record of the head and the genesis key.
        public_key: The genesis key, as the shop published it.
        server_key: The server's; without it nobody's signature but the shop's proves anything.
        receipts: Heads that some server signed, of any shop.
        releases: Run folder, with the adapter and what the shop released; or the adapter's own.
        required: Whether a recorded adapter that is not in `releases` is a fault.
    """

    anchor: Anchor | None = None
    public_key: str | None = None
    server_key: PinnedKey | None = None
    receipts: tuple[Receipt, ...] = ()
    releases: Path | None = None
    required: bool = False


@dataclass(frozen=True)
class EvidenceSources:
    """Places named by the person who verifies.

    Attributes:
        trust: Anchor file, or folder of anchors; None takes `keys/` beside the ledger.
        public_key: Genesis key of the one shop.
        server_key: The server's key.
        receipts: File of heads that the server signed; those that stopped a node and lie beside
            its anchor are read in any case.
        releases: Run folder or adapter folder; None takes the folder above the ledgers.
    """

    trust: Path | None = None
    public_key: str | None = None
    server_key: PinnedKey | None = None
    receipts: Path | None = None
    releases: Path | None = None

    def read_receipts(self) -> tuple[Receipt, ...]:
        """Reads the receipts that were named.

        Raises:
            PrivacyError: The file cannot be read, or a place that was named does not exist.
        """
        for place in (self.trust, self.releases):
            if place is not None and not place.exists():
                raise PrivacyError("does not exist", name="path", value=place, remedy="check it")
        return () if self.receipts is None else read_receipts(self.receipts)

    def of_ledger(self, ledger: Path, receipts: tuple[Receipt, ...]) -> Evidence:
        """Gathers what is known of one ledger.

        Args:
            ledger: Its file.
            receipts: From `read_receipts`.

        Raises:
            PrivacyError: The anchor, or a file of receipts beside it, cannot be read.
        """
        trust = self.trust or ledger.parent / KEYS
        files = ShopFiles(ledger, trust)
        stored = read_receipts(files.receipts) if files.receipts.exists() else ()
        return Evidence(
            anchor=read_anchor(trust if trust.is_file() else files.anchor),
            public_key=self.public_key,
            server_key=self.server_key,
            receipts=(*receipts, *stored),
            releases=self.releases or ledger.resolve().parent.parent,
            required=self.releases is not None,
        )

    def known_shops(self, folder: Path, receipts: Iterable[Receipt]) -> set[str]:
        """Returns the shops that an anchor, or a receipt that counts, knows of in a folder.

        Raises:
            PrivacyError: An anchor cannot be read.
        """
        key = None if self.server_key is None else self.server_key.key
        shops = {r.shop for r in receipts if key is not None and r.counts_for(r.shop, key)}
        trust = self.trust or folder / KEYS
        if trust.is_dir():
            anchors = (read_anchor(path) for path in sorted(trust.glob(f"*{ANCHOR}")))
            shops |= {anchor.shop for anchor in anchors if anchor is not None}
        return shops
