"""The line by which an owner renews a shop's budget: a decision, written where all else is.

Privacy has no fresh start. The guarantee of a user is the composition of everything since the
genesis, and every report states it; a renewal only says how much more the owner will allow.
"""

from __future__ import annotations

from shared.errors import PrivacyError
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import LifetimeLimits, Renewal
from shared.privacy.ledger.spending import check_limits, spent

MAX_REASON = 500
"""Characters of a reason."""


def renewal_line(chain: Chain, limits: LifetimeLimits, reason: str) -> Renewal:
    """Returns the line that renews a budget, linked to all that was spent before.

    Args:
        chain: The ledger.
        limits: From here on.
        reason: Why.

    Raises:
        PrivacyError: The limits are out of bounds, or the reason is empty or too long.
    """
    check_limits(limits)
    reason = " ".join(reason.split())
    if not 1 <= len(reason) <= MAX_REASON:
        raise PrivacyError(
            f"must have 1 to {MAX_REASON} characters and has {len(reason)}: who reads the ledger "
            "must see why the budget was renewed",
            name="reason",
            value=f"'{reason[:20]}…'" if reason else "''",
            remedy="say why with --reason",
        )
    before = spent(chain)
    return Renewal(
        head=chain.last_hash,
        epsilon=before.epsilon,
        epsilon_check=before.epsilon_check,
        limits_before=chain.limits,
        limits=limits,
        reason=reason,
    )
