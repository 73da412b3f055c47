"""A shop that outgrows the number of users that its owner stated: a line that forgets nothing."""

from __future__ import annotations

from shared.errors import PrivacyError
from shared.privacy.accounting.calibration import largest_delta
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import UserBound
from shared.privacy.ledger.log.rules import check_user_bound
from shared.privacy.ledger.spending import spent


def raised_bound(chain: Chain, max_users: int, *, delta: float | None = None) -> UserBound:
    """Returns the line that states a larger bound of users.

    All that was reserved is composed again at the new delta: a smaller delta makes the same
    releases cost more epsilon.

    Args:
        chain: The shop's ledger.
        max_users: Users that the shop may have at most, as its owner states.
        delta: Lifetime delta from here on; None takes the largest that ledger and bound allow.

    Guarantee:
        Everything that was ever reserved is (epsilon, delta)-DP with the line's epsilon and delta,
        which stays within the lifetime limit.

    Raises:
        PrivacyError: The bound does not go up, delta does, or what is spent would pass the limit.
    """
    limits = chain.limits
    new = min(limits.delta, largest_delta(max_users)) if delta is None else delta
    unpriced = UserBound(max_users=max_users, delta=new, epsilon=0.0, epsilon_check=0.0)
    check_user_bound(limits, unpriced)
    total, held = spent(chain, delta=new), spent(chain, delta=new, after=chain.renewed)
    if held.bound > limits.epsilon:
        raise PrivacyError(
            f"would bring epsilon of what was released before to {held.bound:.4g} at "
            f"delta={new:g}, above the shop's limit of {limits.epsilon:g}",
            name="max_users",
            value=max_users,
            remedy="state fewer users: until then the shop answers as before, whatever users it "
            "has",
        )
    return unpriced.model_copy(
        update={"epsilon": total.epsilon, "epsilon_check": total.epsilon_check}
    )
