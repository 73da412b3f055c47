"""Is a ledger whole, within its own limits, signed by its shop, and what the server saw?

The evidence lies in files that the person who verifies names; a whole folder is verified at once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.errors import PrivacyError
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.line_format import COMPARE_RECEIPTS, RESTORE
from shared.privacy.ledger.log.log_file import check_anchor
from shared.privacy.ledger.log.receipts import Receipt
from shared.privacy.ledger.log.rules import RESTORE_LEDGER
from shared.privacy.ledger.log.shop_files import (
    NAME_LEDGER,
    ShopFiles,
    find_ledgers,
    shop_of,
)
from shared.privacy.ledger.reporting.evidence import Evidence, EvidenceSources
from shared.privacy.ledger.reporting.released_files import check_released_files
from shared.privacy.ledger.reporting.renewals import renewals_text
from shared.privacy.ledger.reporting.shared_noise import (
    shared_noise,
    shared_noise_text,
    sums_text,
)
from shared.privacy.ledger.reporting.status import budget_status
from shared.privacy.ledger.spending import spent
from shared.privacy.ledger.spending_history import first_fault, spending_history
from shared.runtime.file_store import read_bytes


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
        renewals: Renewals of the budget, and what is spent over all of them, in words; empty
            without one.
        server_key: The server's key that was pinned; None where none was.
        signed: Last line that this key signed, by receipts or in the ledger; None where there is
            none.
        owner_word: Which claims rest on the word of the ledger's owner alone; empty where there is
            a fault, as nothing is claimed then.
        sums: Rosters, sets and openings of sums over shops, in words, and what was never opened;
            empty without them, or where there is a fault.
        shared_noise: Both guarantees where noise was shared, and what they rest on, in words; empty
            without shared noise, or where there is a fault.
    """

    ledger: str
    shop: str
    ok: bool
    lines: int
    fault: str
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]
    renewals: str = ""
    server_key: str | None = None
    signed: int | None = None
    owner_word: str = ""
    sums: str = ""
    shared_noise: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


def verify(path: Path, evidence: Evidence) -> Verdict:
    """Verifies one ledger and never raises for what is wrong with it.

    Chain, canonical form, schema, signatures, key rotations, order of time, that every release was
    paid for and none twice, that each sum over shops has one set of them that its roster allows and
    whose signatures opened it, and that no line passed a limit; then whatever evidence there is.

    Args:
        path: The ledger's file.
        evidence: From elsewhere.
    """
    chain = Chain()
    checked = ["chain, signatures and that every release was paid for"]
    unchecked: list[str] = []
    fault = renewals = shared = ""
    try:
        _replay(path, chain)
        if chain.start.shop != shop_of(path):
            raise PrivacyError(
                f"line 0: shop={chain.start.shop} must be {shop_of(path)} by the file's name: "
                "another shop's ledger",
                remedy="put this shop's own ledger there, or give the file its old name",
            )
        renewals = _check_spending(chain, checked)
        shared = _shared_noise(chain)
        if chain.aggregations:
            checked.append(SUMS_CHECKED)
        _check_key(chain, evidence, checked, unchecked)
        _check_heads(chain, evidence, checked, unchecked)
        check_released_files(chain, evidence, checked, unchecked)
    except PrivacyError as error:
        fault = str(error)
    signed = signed_line(chain, evidence)
    return Verdict(
        ledger=str(path),
        shop=chain.genesis.shop if chain.genesis else shop_of(path),
        ok=not fault,
        lines=len(chain.line_hashes),
        fault=fault,
        checked=tuple(checked) if not fault else (),
        unchecked=tuple(unchecked),
        renewals=renewals,
        server_key=None if evidence.server_key is None else evidence.server_key.key,
        signed=signed,
        owner_word="" if fault else _owner_word(chain, evidence, signed),
        sums="" if fault else sums_text(chain),
        shared_noise="" if fault else shared,
    )


def _check_spending(chain: Chain, checked: list[str]) -> str:
    """Computes what was spent at every line; says what renewals are, and what is spent over all."""
    history = spending_history(chain)
    fault = first_fault(history)
    if fault:
        # Line, value, bound and remedy stand in it already.
        raise PrivacyError(fault)
    if history:
        last = history[-1]
        checked.append(
            f"epsilon computed again at {len(history)} lines that spend or change a limit: never "
            f"above the limit in force, {last.epsilon:.4g} in all"
        )
    if not chain.renewals:
        return ""
    checked.append(
        f"renewals of the budget ({len(chain.renewals)}): each goes on from the line before, and "
        "what it says was spent is what was reserved"
    )
    return renewals_text(budget_status(chain, now=chain.time or datetime.now(UTC)))


def _shared_noise(chain: Chain) -> str:
    if all(m.shared_by == 1 for r in chain.reservations.values() for m in r.body.mechanisms):
        return ""  # before anything is computed
    shared = shared_noise(chain, epsilon=spent(chain).bound)
    return "" if shared is None else shared_noise_text(shared)


def signed_line(chain: Chain, evidence: Evidence) -> int | None:
    """Returns the last line of a ledger that the pinned server's key signed; None without one."""
    if chain.genesis is None or evidence.server_key is None:
        return None
    key, shop = evidence.server_key.key, chain.start.shop
    held = [r.entry for r in evidence.receipts if r.counts_for(shop, key) and chain.holds(r)]
    return max((*held, *([chain.agreed[key]] if key in chain.agreed else [])), default=None)


def _owner_word(chain: Chain, evidence: Evidence, signed: int | None) -> str:
    """Says what nobody but the shop vouches for: it holds the key that signs every line."""
    last = len(chain.line_hashes) - 1
    whole = f"that lines 0 to {last} are all that was released, and never were others"
    if evidence.server_key is None:
        return (
            f"{whole}: no server's key is pinned, and countersignatures or receipts of any key "
            "prove nothing about the server; name its key with --server-key"
        )
    if signed is None:
        return f"{whole}: the {evidence.server_key.words} signed none of them"
    after = f"line {signed}, the last that the {evidence.server_key.words} signed"
    return f"what came after {after}, and whatever was never sent to that server"


def _replay(path: Path, chain: Chain) -> None:
    *lines, torn = read_bytes(path, name="ledger", remedy=NAME_LEDGER).split(b"\n")
    for line in lines:
        chain.feed(line)
    if torn:
        raise PrivacyError(
            f"line {len(chain.line_hashes)} is torn: it does not end",
            remedy="if the shop's machine crashed, the next round moves it aside, else keep the "
            "file as evidence",
        )


def _check_key(chain: Chain, evidence: Evidence, checked: list[str], unchecked: list[str]) -> None:
    expected = evidence.public_key or (evidence.anchor.public_key if evidence.anchor else None)
    if expected is None:
        unchecked.append("whose key signs: name it with --trust")
    elif chain.start.public_key != expected:
        raise PrivacyError(
            f"line 0: public_key={chain.start.public_key[:16]}… must be {expected[:16]}…: the key "
            "was exchanged, or it is another shop's ledger",
            remedy=f"{RESTORE}, or name the key that the shop published",
        )
    else:
        checked.append("the key is the one trusted")


def _check_heads(
    chain: Chain, evidence: Evidence, checked: list[str], unchecked: list[str]
) -> None:
    if evidence.anchor is not None:
        check_anchor(chain, evidence.anchor)
        checked.append(f"line {evidence.anchor.entry} is the one that the anchor knows")
    mine = _receipts_that_count(chain, evidence, unchecked)
    for receipt in mine:
        if chain.accounts_for(receipt):
            continue
        if receipt.entry >= len(chain.line_hashes):
            raise PrivacyError(
                f"line {receipt.entry} is missing, which the server signed: the ledger went back "
                "to an older copy or its tail was cut",
                remedy=RESTORE,
            )
        raise PrivacyError(
            f"line {receipt.entry} is not the one that the server signed",
            remedy=COMPARE_RECEIPTS,
        )
    if chain.owed:
        raise PrivacyError("lost lines were restored and not reserved again", remedy=RESTORE_LEDGER)
    if evidence.server_key is not None:
        key = evidence.server_key.key
        checked.append(f"{len(mine)} heads that the {evidence.server_key.words} signed")
        restored = [body for body in chain.restored if body.server_key == key]
        if restored:
            checked.append(f"{len(restored)} restorations count what the server had signed")
    if not mine and evidence.anchor is None:
        unchecked.append(
            "whether the tail is missing: give the server's receipts with --receipts, and its key "
            "with --server-key"
        )


def _receipts_that_count(
    chain: Chain, evidence: Evidence, unchecked: list[str]
) -> tuple[Receipt, ...]:
    """Returns the receipts of the pinned key, and notes what anybody's key signed beside it."""
    pinned, shop = evidence.server_key, chain.start.shop
    of_shop = [receipt for receipt in evidence.receipts if receipt.shop == shop]
    mine = () if pinned is None else tuple(r for r in of_shop if r.counts_for(shop, pinned.key))
    if len(of_shop) > len(mine):
        unchecked.append(
            f"{len(of_shop) - len(mine)} receipts of {shop}: "
            + ("no server's key is pinned" if pinned is None else f"not of the {pinned.words}")
        )
    others = chain.agreed.keys() - (set() if pinned is None else {pinned.key})
    if others and pinned is not None:
        unchecked.append(
            f"countersignatures of {len(others)} other keys in the ledger of {shop}: not of the "
            f"{pinned.words}"
        )
    return mine


def verify_all(path: Path, sources: EvidenceSources) -> tuple[Verdict, ...]:
    """Verifies a ledger, or all of a folder.

    In a folder, an anchor or a receipt of a shop without a ledger is a missing ledger.

    Raises:
        PrivacyError: There is no ledger, or the evidence itself cannot be read.
    """
    ledgers = find_ledgers(path)
    if sources.public_key is not None and len(ledgers) > 1:
        raise PrivacyError(
            f"--public-key fits one ledger, not {len(ledgers)}", remedy="name the one"
        )
    receipts = sources.read_receipts()
    verdicts = [verify(ledger, sources.of_ledger(ledger, receipts)) for ledger in ledgers]
    if path.is_dir():
        verdicts += _missing_ledgers(path, sources.known_shops(path, receipts))
    return tuple(verdicts)


def _missing_ledgers(folder: Path, shops: set[str]) -> list[Verdict]:
    paths = {shop: ShopFiles.of(folder, shop).ledger for shop in sorted(shops)}
    return [
        Verdict(str(path), shop, ok=False, lines=0, fault=MISSING_LEDGER, checked=(), unchecked=())
        for shop, path in paths.items()
        if not path.exists()
    ]


SUMS_CHECKED = (
    "rosters of runs that were added up: fingerprint, that their numbers hold, that noise is "
    "divided by them, one set-up a run; one set of shops a sum, as large as the roster demands and "
    "with this shop in it, written after a release of the run was paid for; signatures of each "
    "opening, by the keys of the roster under that very set"
)
MISSING_LEDGER = "the ledger is missing, but its shop is known; restore the newest copy"
