"""What a shop has spent, what is left, and what a user of several shops pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.errors import PrivacyError
from shared.privacy.accounting import ADJACENCY, UNIT
from shared.privacy.guarantee import Mechanism
from shared.privacy.ledger import rdp_filter
from shared.privacy.ledger.chain import Chain, Reserved, replay
from shared.privacy.ledger.forecast import rounds_that_fit
from shared.privacy.ledger.spending import alerts, spending, spent, window_start
from shared.privacy.ledger.storage import read_bytes


@dataclass(frozen=True)
class Status:
    """One shop's account.

    Attributes:
        shop: The shop.
        epsilon: Spent by everything reserved, the larger of two accountants.
        delta: Lifetime delta.
        limit: Lifetime epsilon.
        remaining: Limit less spent.
        percent: Spent, in percent of the limit.
        alerts: Of 50, 80 and 95 percent, those that are reached.
        accountant: Library and method.
        planning: `planned`, `adaptive`, `both`, or `none` before the first reservation.
        runs: Runs with a reservation.
        releases: Releases committed.
        uncommitted: Rounds reserved and never committed: spent, nothing known to have left.
        rounds_reserved: Rounds of the last planned run that are paid for and not yet drawn.
        rounds_left: About how many more rounds of the last kind fit into what remains.
        window_days: Length of the window, None without one.
        window_epsilon: Spent in the window that ends now.
        window_limit: Limit of a window.
        last: Time of the last line.
        simulation: Whether any noise came from a seed, which protects nobody.
        torn: Whether the file ends in a torn line.
        shared_by: Most shops that shared the noise of a release; above 1, the account holds for
            sums alone, if aggregation is secure and the others add their noise.
    """

    shop: str
    epsilon: float
    delta: float
    limit: float
    remaining: float
    percent: float
    alerts: tuple[int, ...]
    accountant: str
    planning: str
    runs: int
    releases: int
    uncommitted: int
    rounds_reserved: int
    rounds_left: int | None
    window_days: float | None
    window_epsilon: float | None
    window_limit: float | None
    last: datetime
    simulation: bool
    torn: bool
    shared_by: int = 1

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return {**asdict(self), "last": self.last.isoformat()}


@dataclass(frozen=True)
class Composition:
    """The guarantee of a user of several shops.

    Attributes:
        shops: The shops.
        epsilon: For everything that all of them reserved.
        delta: Of it; adaptive releases add each shop's share.
        unit: What is protected.
        adjacency: Neighbouring data sets.
        accountant: Library and method.
    """

    shops: tuple[str, ...]
    epsilon: float
    delta: float
    unit: str
    adjacency: str
    accountant: str

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


def read_ledger(path: Path) -> tuple[Chain, bool]:
    """Reads and checks a ledger without its key.

    Returns:
        The chain, and whether the file ends in a torn line, which is left out.

    Raises:
        PrivacyError: The file cannot be read, is empty, or a line does not follow.
    """
    try:
        chain, torn = replay(read_bytes(path))
        _ = chain.start
    except PrivacyError as error:
        text = str(error)
        raise PrivacyError(text if str(path) in text else f"ledger={path}: {text}") from error
    return chain, bool(torn)


def status(chain: Chain, *, now: datetime, torn: bool = False) -> Status:
    """Returns a shop's account.

    Args:
        chain: From `read_ledger`.
        now: End of the window.
        torn: Whether the file ends in a torn line.

    Raises:
        PrivacyError: The accountants disagree.
    """
    limits, total = chain.start.limits, spent(chain)
    since = window_start(limits, now)
    window = None if since is None else spent(chain, since=since).bound
    last = last_reserved(chain)
    kinds = {reserved.body.planning for reserved in chain.reservations.values()}
    return Status(
        shop=chain.start.shop,
        epsilon=total.bound,
        delta=total.delta,
        limit=limits.epsilon,
        remaining=max(0.0, limits.epsilon - total.bound),
        percent=100 * total.bound / limits.epsilon,
        alerts=alerts(total.bound, limits.epsilon),
        accountant=total.accountant,
        planning="both" if len(kinds) == 2 else next(iter(kinds), "none"),
        runs=len({reserved.body.run for reserved in chain.reservations.values()}),
        releases=len(chain.commits),
        uncommitted=len(chain.bodies.keys() - chain.commits.keys()),
        rounds_reserved=0 if last is None else _undrawn(chain, last),
        rounds_left=None if last is None else rounds_that_fit(chain, last_round(chain, last)),
        window_days=limits.window_days,
        window_epsilon=window,
        window_limit=limits.window_epsilon,
        last=chain.time or now,
        simulation=any(r.body.repeatable for r in chain.reservations.values()),
        torn=torn,
        shared_by=max(
            (m.shared_by for r in chain.reservations.values() for m in r.body.mechanisms),
            default=1,
        ),
    )


def compose(chains: Sequence[Chain]) -> Composition:
    """Returns what one user pays who was in all of these shops.

    Planned releases of all shops are composed together. An adaptive part holds by each shop's own
    filter, at half of that shop's delta, and is added.

    Assumes:
        No shop's plan was chosen after seeing another's results.

    Raises:
        PrivacyError: There is no shop, or the accountants disagree.
    """
    if not chains:
        raise PrivacyError("shops= must name at least one shop; see status without --shops")
    planned = [m for chain in chains for m in chain.mechanisms("planned")]
    filtered = any(chain.filter is not None for chain in chains)
    least = min(chain.start.limits.delta for chain in chains)
    base = spending(planned, (), delta=least / 2 if filtered else least, filter=None)
    epsilon, delta = base.bound, base.delta
    for chain in chains:
        if chain.filter is not None:
            part = chain.start.limits.delta / 2
            adaptive = chain.mechanisms("adaptive")
            epsilon += rdp_filter.epsilon_filter(adaptive, part, chain.filter.order)
            delta += part
    return Composition(
        shops=tuple(chain.start.shop for chain in chains),
        epsilon=epsilon,
        delta=delta,
        unit=UNIT,
        adjacency=ADJACENCY,
        accountant=base.accountant + (" + Rényi filters, added" if filtered else ""),
    )


def last_reserved(chain: Chain) -> Reserved | None:
    """Returns the last reservation, None before the first."""
    return chain.reservations[max(chain.reservations)] if chain.reservations else None


def last_round(chain: Chain, reserved: Reserved) -> tuple[Mechanism, ...]:
    """Returns what one more round like the last one of a reservation would release."""
    own = [b.mechanism for b in chain.bodies.values() if b.reservation == reserved.seq]
    trained = [mechanism for mechanism in own if mechanism.name == "dp-sgd"]
    return (*(trained or own or reserved.body.mechanisms)[-1:],)


def _undrawn(chain: Chain, reserved: Reserved) -> int:
    each = last_round(chain, reserved)[-1]
    steps = sum(m.steps for m in reserved.body.mechanisms if m.name == each.name)
    drawn = sum(n for noise, n in reserved.drawn.items() if noise[0] == each.name)
    return (steps - drawn) // each.steps if each.steps else 0
