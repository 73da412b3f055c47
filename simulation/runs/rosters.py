"""Rosters of simulated shops: each signs with the key of its ledger, as its owner would."""

from __future__ import annotations

from collections.abc import Iterable

from shared.privacy.ledger.ledger import Ledger
from shared.secure_aggregation.roster import SignedRoster, make_roster, sign_roster


def signed_by_all(
    ledgers: Iterable[Ledger],
    *,
    max_missing: int | None = None,
    max_colluding: int | None = None,
) -> SignedRoster:
    """Makes the roster of some shops and lets all of them sign it.

    Args:
        ledgers: One a shop.
        max_missing: Shops that may be missing from a sum; None for what is usual.
        max_colluding: Shops that may help the server; None for what is usual.

    Raises:
        PrivacyError: There are too few shops for the two numbers.
    """
    keys = {ledger.shop: ledger.signing_key for ledger in ledgers}
    roster = make_roster(
        {shop: key.public for shop, key in keys.items()},
        max_missing=max_missing,
        max_colluding=max_colluding,
    )
    signatures = {shop: sign_roster(key, roster) for shop, key in keys.items()}
    return SignedRoster(roster=roster, signatures=signatures)
