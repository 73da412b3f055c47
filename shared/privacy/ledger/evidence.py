"""Where evidence about ledgers lies, and the verification of a whole folder with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared.errors import PrivacyError
from shared.privacy.ledger.receipts import Receipt, read_receipts
from shared.privacy.ledger.shop_files import ANCHOR, KEYS, ShopFiles, find_ledgers, read_anchor
from shared.privacy.ledger.verify import Evidence, Verdict, verify


@dataclass(frozen=True)
class Sources:
    """Places named by the person who verifies.

    Attributes:
        trust: Anchor file, or folder of anchors; None takes `keys/` beside the ledger.
        public_key: Genesis key of the one shop.
        receipts: File of heads that a server signed.
        releases: Run folder or adapter folder; None takes the folder above the ledgers.
    """

    trust: Path | None = None
    public_key: str | None = None
    receipts: Path | None = None
    releases: Path | None = None


def verify_all(path: Path, sources: Sources) -> tuple[Verdict, ...]:
    """Verifies a ledger, or all of a folder.

    In a folder, an anchor or a receipt of a shop without a ledger is a missing ledger.

    Raises:
        PrivacyError: There is no ledger, or the evidence itself cannot be read.
    """
    ledgers = find_ledgers(path)
    if sources.public_key is not None and len(ledgers) > 1:
        raise PrivacyError(f"--public-key fits one ledger, not {len(ledgers)}; name the one")
    for place in (sources.trust, sources.releases):
        if place is not None and not place.exists():
            raise PrivacyError(f"path={place} does not exist; check it")
    receipts = () if sources.receipts is None else read_receipts(sources.receipts)
    verdicts = [verify(ledger, _evidence(ledger, sources, receipts)) for ledger in ledgers]
    if path.is_dir():
        verdicts += _missing(path, sources, receipts)
    return tuple(verdicts)


def _evidence(ledger: Path, sources: Sources, receipts: tuple[Receipt, ...]) -> Evidence:
    trust = sources.trust or ledger.parent / KEYS
    anchor_path = trust if trust.is_file() else ShopFiles(ledger, trust).anchor
    return Evidence(
        anchor=read_anchor(anchor_path),
        public_key=sources.public_key,
        receipts=receipts,
        releases=sources.releases or ledger.resolve().parent.parent,
        required=sources.releases is not None,
    )


def _missing(folder: Path, sources: Sources, receipts: tuple[Receipt, ...]) -> list[Verdict]:
    trust = sources.trust or folder / KEYS
    shops = {receipt.shop for receipt in receipts}
    if trust.is_dir():
        anchors = (read_anchor(path) for path in sorted(trust.glob(f"*{ANCHOR}")))
        shops |= {anchor.shop for anchor in anchors if anchor is not None}
    paths = {shop: ShopFiles.of(folder, shop).ledger for shop in sorted(shops)}
    return [
        Verdict(str(path), shop, ok=False, lines=0, fault=GONE, checked=(), unchecked=())
        for shop, path in paths.items()
        if not path.exists()
    ]


GONE = "the ledger is missing, but its shop is known; restore the newest copy"
