"""A ledger that was restored from an older copy: how it shows, and how what it lost is counted.

A receipt of a line that is not in the ledger stops every release. The owner's `restore` appends the
receipt as a `restored` line and reserves again what its account holds beyond the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.errors import PrivacyError
from shared.privacy.ledger.admission import software_versions
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import Reservation, Restored
from shared.privacy.ledger.log.log_file import LedgerWriter
from shared.privacy.ledger.log.lost_lines import RESTORED_RUN, LostReservation
from shared.privacy.ledger.log.receipts import Receipt, keep_receipts, read_receipts
from shared.privacy.ledger.spending import compose_spending
from shared.runtime.file_store import LockedFile


def stored_receipts(writer: LedgerWriter) -> tuple[Receipt, ...]:
    """Reads the receipts that stopped the ledger."""
    path = writer.files.receipts
    return read_receipts(path) if path.exists() else ()


def lost_lines(writer: LedgerWriter) -> tuple[Receipt, ...]:
    """Returns the stored receipts of lines that the ledger neither holds nor counts."""
    return tuple(r for r in stored_receipts(writer) if not writer.chain.accounts_for(r))


def receipts_of(writer: LedgerWriter, receipts: Sequence[Receipt]) -> list[Receipt]:
    """Returns the ledger's own receipts, stored ones too, in the order of signing."""
    shop = writer.chain.start.shop
    known = (*receipts, *stored_receipts(writer))
    return sorted((r for r in known if r.shop == shop and r.holds()), key=lambda r: r.place)


def check_nothing_lost(writer: LedgerWriter) -> None:
    """Refuses where the ledger has lost lines: what they released would be released again.

    Raises:
        PrivacyError: The server signed a line that is not in the ledger, or lines that were
            restored are not paid for.
    """
    chain, lost = writer.chain, lost_lines(writer)
    if lost:
        raise PrivacyError(
            f"must hold line {lost[-1].entry} as the server signed it, and has "
            f"{len(chain.line_hashes)} lines: it was restored from an older copy",
            name="ledger",
            value=writer.files.ledger,
            remedy="run `fedprofile node ledger restore`, which counts what was lost as spent",
        )
    if chain.owed:
        raise PrivacyError(
            "has lost lines that are not reserved again: its restoration was interrupted",
            name="ledger",
            value=writer.files.ledger,
            remedy="run `fedprofile node ledger restore` once more",
        )


def store_if_lost(writer: LedgerWriter, receipt: Receipt) -> None:
    """Stores a receipt of lost lines, so that it stops the ledger from here on.

    Raises:
        PrivacyError: It is another shop's, not signed by its key, or of lost lines.
    """
    shop = writer.chain.start.shop
    if not receipt.holds() or receipt.shop != shop:
        raise PrivacyError(
            f"must be of {shop} and signed by its key",
            name="receipt",
            value=f"line {receipt.entry} of {receipt.shop}",
            remedy="take the receipts that the server wrote",
        )
    if writer.chain.accounts_for(receipt):
        return
    if receipt not in stored_receipts(writer):
        keep_receipts(writer.files.receipts, [receipt])
    check_nothing_lost(writer)


def restore(writer: LedgerWriter, file: LockedFile, receipts: Sequence[Receipt]) -> Receipt | None:
    """Appends the lines that count what was lost; see `Ledger.restore`.

    Args:
        writer: Of the ledger, locked.
        file: Its file.
        receipts: From `receipts_of`.
    """
    last = next((r for r in reversed(receipts) if not writer.chain.accounts_for(r)), None)
    if last is not None:
        writer.append(file, [restored_line(last)])
    for lost in writer.chain.owed:
        writer.append(file, [lost_reservation_line(writer.chain, lost)])
    writer.anchored = True
    writer.write_anchor()
    writer.files.receipts.unlink(missing_ok=True)
    return last


def restored_line(receipt: Receipt) -> Restored:
    """Returns the line that holds a receipt of lost lines as evidence.

    Raises:
        PrivacyError: The receipt does not say what was reserved.
    """
    if receipt.account is None or receipt.account_signature is None:
        raise PrivacyError(
            f"of line {receipt.entry} does not say what was reserved: an earlier version signed it",
            name="receipt",
            value=f"{receipt.head[:16]}…",
            remedy="restore a copy of the ledger that holds this line",
        )
    return Restored(
        entry=receipt.entry,
        head=receipt.head,
        server_key=receipt.server_key,
        signature=receipt.signature,
        account=receipt.account,
        account_signature=receipt.account_signature,
    )


def lost_reservation_line(chain: Chain, lost: LostReservation) -> Reservation:
    """Returns the reservation of what lost lines had reserved.

    It is held against no limit: the spending has happened, and whatever comes after it is refused
    where it passes one.

    Raises:
        PrivacyError: The accountants disagree.
    """
    start = chain.start
    planned, adaptive = chain.mechanisms("planned"), chain.mechanisms("adaptive")
    if lost.planning == "planned":
        planned += lost.mechanisms
    else:
        adaptive += lost.mechanisms
    claim = compose_spending(planned, adaptive, delta=chain.limits.delta, filter=lost.filter)
    return Reservation(
        run=RESTORED_RUN,
        planning=lost.planning,
        mechanisms=lost.mechanisms,
        plan_digest=lost.head,
        base_hash="",
        repeatable=False,
        unit=start.unit,
        adjacency=start.adjacency,
        delta=claim.delta,
        epsilon=claim.epsilon,
        epsilon_check=claim.epsilon_check,
        accountant=claim.accountant,
        accountant_check=claim.accountant_check,
        filter=claim.filter,
        versions=software_versions(),
    )
