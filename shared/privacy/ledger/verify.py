"""Is a ledger whole, of this shop, signed by its key, and does it say what the others saw?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shared.errors import PrivacyError
from shared.privacy.ledger.chain import Chain
from shared.privacy.ledger.digests import digest_arrays, digest_file
from shared.privacy.ledger.receipts import Receipt
from shared.privacy.ledger.releases import read_release, release_path
from shared.privacy.ledger.shop_files import Anchor, shop_of
from shared.privacy.ledger.storage import read_bytes
from shared.privacy.ledger.writer import check_anchor


@dataclass(frozen=True)
class Evidence:
    """What is known of a ledger from elsewhere; the more, the more a verification shows.

    Attributes:
        anchor: The owner's own record of the head and the genesis key.
        public_key: The genesis key, as the shop published it.
        receipts: Heads that a server signed, of any shop.
        releases: Run folder, with the adapter and what the shop released; or the adapter's own.
        required: Whether a recorded adapter that is not in `releases` is a fault.
    """

    anchor: Anchor | None = None
    public_key: str | None = None
    receipts: tuple[Receipt, ...] = ()
    releases: Path | None = None
    required: bool = False


@dataclass(frozen=True)
class Verdict:
    """The result for one ledger.

    Attributes:
        ledger: The file.
        shop: Its name, by the file if the genesis cannot be read.
        ok: Whether nothing is wrong.
        lines: Lines that hold.
        fault: The first thing that is wrong; empty if nothing is.
        checked: What was compared with what, in words.
        unchecked: What could not be, for want of evidence.
    """

    ledger: str
    shop: str
    ok: bool
    lines: int
    fault: str
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


def verify(path: Path, evidence: Evidence) -> Verdict:
    """Verifies one ledger and never raises for what is wrong with it.

    Chain, canonical form, schema, signatures, key rotations, order of time, that every release was
    paid for and none twice, countersignatures; then whatever evidence there is.

    Args:
        path: The ledger's file.
        evidence: From elsewhere.
    """
    chain = Chain()
    checked = ["chain, signatures, countersignatures and that every release was paid for"]
    unchecked: list[str] = []
    fault = ""
    try:
        _replay(path, chain)
        if chain.start.shop != shop_of(path):
            raise PrivacyError(
                f"line 0: shop={chain.start.shop} must be {shop_of(path)} by the file's name: "
                "another shop's ledger"
            )
        _check_key(chain, evidence, checked, unchecked)
        _check_heads(chain, evidence, checked, unchecked)
        _check_releases(chain, evidence, checked, unchecked)
    except PrivacyError as error:
        fault = str(error)
    return Verdict(
        ledger=str(path),
        shop=chain.genesis.shop if chain.genesis else shop_of(path),
        ok=not fault,
        lines=len(chain.heads),
        fault=fault,
        checked=tuple(checked) if not fault else (),
        unchecked=tuple(unchecked),
    )


def _replay(path: Path, chain: Chain) -> None:
    *lines, torn = read_bytes(path).split(b"\n")
    for line in lines:
        chain.feed(line)
    if torn:
        raise PrivacyError(
            f"line {len(chain.heads)} is torn: it does not end; if the shop's machine crashed, "
            "the next round moves it aside, else keep the file as evidence"
        )


def _check_key(chain: Chain, evidence: Evidence, checked: list[str], unchecked: list[str]) -> None:
    expected = evidence.public_key or (evidence.anchor.public_key if evidence.anchor else None)
    if expected is None:
        unchecked.append("whose key signs: name it with --trust")
    elif chain.start.public_key != expected:
        raise PrivacyError(
            f"line 0: public_key={chain.start.public_key[:16]}… must be {expected[:16]}…: the key "
            "was exchanged, or it is another shop's ledger"
        )
    else:
        checked.append("the key is the one trusted")


def _check_heads(
    chain: Chain, evidence: Evidence, checked: list[str], unchecked: list[str]
) -> None:
    if evidence.anchor is not None:
        check_anchor(chain, evidence.anchor)
        checked.append(f"line {evidence.anchor.entry} is the one that the anchor knows")
    mine = [receipt for receipt in evidence.receipts if receipt.shop == chain.start.shop]
    for receipt in mine:
        if receipt.entry >= len(chain.heads):
            raise PrivacyError(
                f"line {receipt.entry} is missing, which the server signed: the ledger went back "
                "to an older copy or its tail was cut"
            )
        if chain.heads[receipt.entry] != receipt.head:
            raise PrivacyError(f"line {receipt.entry} is not the one that the server signed")
    if mine:
        checked.append(f"{len(mine)} heads that the server signed")
    elif evidence.anchor is None:
        unchecked.append("whether the tail is missing: give a server's receipts with --receipts")


def _check_releases(
    chain: Chain, evidence: Evidence, checked: list[str], unchecked: list[str]
) -> None:
    folder, found = evidence.releases, 0
    if folder is None:
        unchecked.append("released files: name their folder with --releases")
        return
    for adapter in chain.adapters:
        path = _adapter_path(folder, adapter.file)
        if not path.exists() and not evidence.required:
            continue
        if digest_file(path) != adapter.sha256:
            raise PrivacyError(
                f"adapter={path} of run={adapter.run} is not the one recorded "
                f"(sha256 {adapter.sha256[:16]}…): it was replaced after release"
            )
        found += 1
    for entry, digests in chain.commits.items():
        path = release_path(folder, chain.start.shop, entry)
        if not path.exists():
            continue
        if digest_arrays(read_release(path)) not in digests:
            raise PrivacyError(
                f"release={path} is not what line {entry} committed "
                f"({digests[0][:16]}…): it was replaced after release"
            )
        found += 1
    _check_all_paid(chain, folder)
    (checked if found else unchecked).append(f"digests of {found} released files")


def _adapter_path(folder: Path, name: str) -> Path:
    """Finds an adapter by its path in a run's folder, or by its name in the adapter's own."""
    whole, alone = folder / name, folder / Path(name).name
    return alone if alone.exists() and not whole.exists() else whole


def _check_all_paid(chain: Chain, folder: Path) -> None:
    shop_folder = release_path(folder, chain.start.shop, 0).parent
    known = {release_path(folder, chain.start.shop, entry) for entry in chain.bodies}
    for path in sorted(shop_folder.glob("*.safetensors")):
        if path not in known:
            raise PrivacyError(f"release={path} has no line in the ledger: it was never paid for")
