"""What is left of shared noise if some shops help the server and subtract what they added."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.errors import PrivacyError
from shared.privacy.accounting import epsilon_pair
from shared.privacy.guarantee import Mechanism


@dataclass(frozen=True)
class Collusion:
    """The guarantee against a server that some shops help.

    Attributes:
        shops: Shops that tell the server their own noise.
        epsilon: By the accountant of record; None where no accountant bounds what is left.
    """

    shops: int
    epsilon: float | None


def epsilon_if_colluding(
    mechanisms: Sequence[Mechanism], *, delta: float, shops: int
) -> float | None:
    """Computes epsilon if `shops` of those that share the noise tell the server theirs.

    Args:
        mechanisms: Everything that is released, with noise shared by at least two shops.
        delta: Total delta.
        shops: Shops that collude, from 0 to all but one.

    Returns:
        Epsilon for a user of any other shop; None where no accountant bounds it.

    Guarantee:
        Of the K equal shares of the variance, K - t are left: the composition holds with noise
        multipliers times sqrt((K - t) / K).

    Assumes:
        The other shops add their noise honestly, the aggregation is secure and none drops out.

    Raises:
        PrivacyError: `shops` is out of its bounds.
    """
    least = min((m.shared_by for m in mechanisms), default=1)
    if not 0 <= shops < least:
        raise PrivacyError(
            f"shops={shops} that collude must be at least 0 and below {least}, the shops that "
            "share the noise; ask for fewer"
        )
    left = [
        replace(m, noise_multiplier=m.noise_multiplier * math.sqrt(1 - shops / m.shared_by))
        for m in mechanisms
    ]
    try:
        return epsilon_pair(left, delta)[0]
    except PrivacyError:  # too little noise for any accountant
        return None


def collusion_table(mechanisms: Sequence[Mechanism], *, delta: float) -> tuple[Collusion, ...]:
    """States epsilon for no shop, one, and the largest minority; empty where no noise is shared."""
    together = min((m.shared_by for m in mechanisms), default=1)
    if together == 1:
        return ()
    return tuple(
        Collusion(shops, epsilon_if_colluding(mechanisms, delta=delta, shops=shops))
        for shops in sorted({0, 1, (together - 1) // 2})
    )
