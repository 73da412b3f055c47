"""Which limits hold after an owner has renewed a budget, and what a renewal must say."""

from __future__ import annotations

from collections.abc import Iterable

from shared.errors import PrivacyError
from shared.privacy.ledger.log.entries import LifetimeLimits, Renewal
from shared.privacy.ledger.log.line_format import RESTORE

RENEWED = ("epsilon", "window_days", "window_epsilon")
"""Fields of the limits that a renewal changes; what else was stated holds for the ledger's life."""


def renewed_limits(limits: LifetimeLimits, renewals: Iterable[Renewal]) -> LifetimeLimits:
    """Returns the limits in force: the last renewal's epsilon and window, all else as it was.

    Args:
        limits: As they hold without any renewal.
        renewals: In the order of the ledger.
    """
    for renewal in renewals:
        limits = limits.model_copy(update={n: getattr(renewal.limits, n) for n in RENEWED})
    return limits


def check_renewal(body: Renewal, *, limits: LifetimeLimits, head: str) -> None:
    """Refuses a renewal that does not go on from this ledger.

    Args:
        body: The renewal.
        limits: Those in force before it.
        head: Hash of the line before it.

    Raises:
        PrivacyError: It names another line, other limits before, or changes more than a budget.
    """
    if body.head != head:
        raise PrivacyError(
            "is not the hash of the line before: the renewal is of another ledger",
            name="head",
            value=f"{body.head[:16]}…",
            remedy=RESTORE,
        )
    if body.limits_before != limits:
        raise PrivacyError(
            f"is not what was in force, epsilon {limits.epsilon:g}",
            name="limits_before",
            value=f"epsilon {body.limits_before.epsilon:g}",
            remedy=RESTORE,
        )
    if renewed_limits(limits, [body]) != body.limits:
        raise PrivacyError(
            "changes more than epsilon and its window",
            name="limits",
            value=f"epsilon {body.limits.epsilon:g}",
            remedy="renew epsilon and window alone",
        )
