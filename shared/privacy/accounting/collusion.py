"""What is left of shared noise if some shops help the server and subtract what they added."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import epsilon_pair
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.accounting.roster_bounds import RosterBounds


@dataclass(frozen=True)
class Collusion:
    """The guarantee against a server that some shops help.

    Attributes:
        shops: Shops that tell the server their own noise and what else they know.
        epsilon: By the accountant of record; None where no accountant bounds what is left.
    """

    shops: int
    epsilon: float | None


def own_mechanisms(mechanisms: Sequence[Mechanism]) -> tuple[Mechanism, ...]:
    """Returns what one shop releases with the noise that it adds itself, and nobody else's."""
    return tuple(
        replace(m, noise_multiplier=m.own_noise_multiplier, shared_by=1) for m in mechanisms
    )


def epsilon_if_colluding(
    mechanisms: Sequence[Mechanism],
    *,
    delta: float,
    shops: int,
    bounds: RosterBounds | None = None,
) -> float | None:
    """Computes epsilon if `shops` of those that add up help the server.

    Args:
        mechanisms: Everything that is released, with noise shared by at least two shops.
        delta: Total delta.
        shops: Shops that collude, from 0 to all but one.
        bounds: Of the roster; None for an ideal sum over those that share the noise, of which none
            is missing.

    Returns:
        Epsilon for a user of any other shop; None where no accountant bounds it.

    Guarantee:
        Of the `n` equal shares of the variance, `h = bounds.honest_shares(shops)` are left: the
        composition holds with noise multipliers times sqrt(h / n).

    Assumes:
        The other shops add their noise honestly, and the aggregation is secure.

    Raises:
        PrivacyError: `shops` is out of its bounds, or the noise is shared by others than the
            roster's `noise_shops`.
    """
    together = min((m.shared_by for m in mechanisms), default=1)
    roster = bounds or RosterBounds(together, 0, 0)
    if not 0 <= shops < roster.shops:
        raise PrivacyError(
            f"shops={shops} that collude must be at least 0 and below {roster.shops}, the shops "
            "that add up",
            remedy="ask for fewer",
        )
    if bounds is not None and together != bounds.noise_shops:
        raise PrivacyError(
            f"must be noise_shops={bounds.noise_shops} of the roster",
            name="shared_by",
            value=together,
            remedy="name the roster that the run was planned for",
        )
    left = [_with_shares(m, roster.honest_shares(shops), of=together) for m in mechanisms]
    try:
        return epsilon_pair(left, delta)[0]
    except PrivacyError:  # too little noise for any accountant
        return None


def collusion_table(
    mechanisms: Sequence[Mechanism], *, delta: float, bounds: RosterBounds | None = None
) -> tuple[Collusion, ...]:
    """States epsilon for as many shops as the plan allows for, and for more, up to all others.

    The first row is the guarantee of the sum: it holds for fewer shops too. The rows after it are
    one shop more, the largest minority and all shops but one, whose own noise is left then. Empty
    where no noise is shared. Arguments as in `epsilon_if_colluding`.
    """
    together = min((m.shared_by for m in mechanisms), default=1)
    if together == 1:
        return ()
    roster = bounds or RosterBounds(together, 0, 0)
    allowed, others = roster.max_colluding, roster.shops - 1
    numbers = {allowed, min(allowed + 1, others), max(allowed, others // 2), others}
    return tuple(
        Collusion(shops, epsilon_if_colluding(mechanisms, delta=delta, shops=shops, bounds=bounds))
        for shops in sorted(numbers)
    )


def _with_shares(mechanism: Mechanism, shares: int, *, of: int) -> Mechanism:
    # A mechanism that more shops share loses a smaller part than this.
    left = mechanism.noise_multiplier * math.sqrt(shares / of)
    return replace(mechanism, noise_multiplier=left)
