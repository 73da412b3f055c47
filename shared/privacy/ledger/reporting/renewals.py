"""Renewals of a budget as status, report and verification tell them."""

from __future__ import annotations

from typing import Any

from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.reporting.status import BudgetStatus

MEANING = (
    "A renewal is a decision of the shop's owner, not mathematics: it makes no earlier release "
    "cost less. What holds for a user who was there all along is the sum over all renewals; one "
    "who had no events before a renewal is in what was released after it alone."
)
"""What renewals mean for people."""


def renewals_text(account: BudgetStatus) -> str:
    """Says what is spent over all renewals and since the last; empty without one."""
    if not account.renewals:
        return ""
    times = "once" if account.renewals == 1 else f"{account.renewals} times"
    return (
        f"The budget was renewed {times}: epsilon {account.epsilon:.4g} is spent in all at delta "
        f"{account.delta:g}, and {account.budget_epsilon:.4g} since the last renewal, which allows "
        f"{account.limit:g}."
    )


def renewal_rows(chain: Chain) -> list[dict[str, Any]]:
    """Returns each renewal as plain values: line, epsilon before, limits and reason."""
    return [
        {
            "line": line,
            "time": chain.renewal_times[line].isoformat(timespec="seconds"),
            "spent_before": max(body.epsilon, body.epsilon_check),
            "limit_before": body.limits_before.epsilon,
            "limit": body.limits.epsilon,
            "window_days": body.limits.window_days,
            "window_limit": body.limits.window_epsilon,
            "reason": body.reason,
        }
        for line, body in chain.renewals.items()
    ]
