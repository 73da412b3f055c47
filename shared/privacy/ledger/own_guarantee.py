"""What a shop's own noise gives its users, if all other shops of a sum help the server.

Where noise is shared, the account of a ledger holds for sums. This one holds for what the shop
sends by itself, whatever anybody else does: with the noise that it adds, and nobody else's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import UnboundedError
from shared.privacy.accounting.collusion import own_mechanisms
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import Body, Reservation
from shared.privacy.ledger.spending import compose_spending


def own_epsilon(chain: Chain, adding: Reservation | None = None) -> float:
    """Composes everything that a ledger reserved with the shop's own noise alone.

    Args:
        chain: The ledger.
        adding: A reservation that would come next.

    Returns:
        The larger of two accountants' epsilons at the ledger's delta; infinity where so little
        noise is left that no accountant bounds it. Equal to `spent(chain).bound` where no noise is
        shared.

    Guarantee:
        What the shop sends is (epsilon, delta)-DP for each of its users, whoever else colludes.

    Raises:
        PrivacyError: The accountants disagree.
    """
    planned, adaptive = chain.mechanisms("planned"), chain.mechanisms("adaptive")
    fixed = chain.filter
    if adding is not None and adding.planning == "planned":
        planned += adding.mechanisms
    elif adding is not None:
        adaptive, fixed = adaptive + adding.mechanisms, adding.filter
    try:
        return compose_spending(
            own_mechanisms(planned),
            own_mechanisms(adaptive),
            delta=chain.limits.delta,
            filter=fixed if adaptive else None,
        ).bound
    except UnboundedError:
        return math.inf


def check_own_epsilon(chain: Chain, bodies: Sequence[Body], most: float) -> None:
    """Refuses lines that would bring the shop's own epsilon above what its owner allows.

    Args:
        chain: The ledger.
        bodies: Lines to be added; those that reserve nothing pass.
        most: Largest epsilon if all other shops collude.

    Raises:
        PrivacyError: It would be passed.
    """
    for body in bodies:
        if not isinstance(body, Reservation):
            continue
        own = own_epsilon(chain, body)
        if not own <= most:
            least = (
                f"at least {own:.4g}" if math.isfinite(own) else "more than any accountant bounds"
            )
            raise PrivacyError(
                f"must be {least} at delta={chain.limits.delta:g} for this plan: with "
                "noise that is shared, that much could be learnt if all other shops helped the "
                "server",
                name="max_own_epsilon",
                value=f"{most:g}",
                remedy="plan the run with --noise shop, or raise max_own_epsilon",
            )
