"""What a shop has spent and what is left."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.errors import PrivacyError
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.log.chain import Chain, replay
from shared.privacy.ledger.log.lost_lines import RESTORED_RUN
from shared.privacy.ledger.log.shop_files import NAME_LEDGER
from shared.privacy.ledger.log.state import ReservedBudget
from shared.privacy.ledger.reporting.shared_noise import SharedNoise, shared_noise
from shared.privacy.ledger.rounds_left import rounds_that_fit
from shared.privacy.ledger.spending import alerts, spent, spent_of_budget, window_start
from shared.privacy.ledger.spending_history import first_fault, spending_history
from shared.runtime.file_store import read_bytes


@dataclass(frozen=True)
class BudgetStatus:
    """One shop's account.

    Attributes:
        shop: The shop.
        epsilon: Of everything reserved since the genesis, over all renewals of the budget; the
            larger of two accountants. It is the guarantee.
        delta: Lifetime delta.
        limit: Epsilon that may be reserved since the last renewal, or since the genesis.
        remaining: Limit less `budget_epsilon`.
        percent: `budget_epsilon` in percent of the limit.
        alerts: Of 50, 80 and 95 percent, those that are reached.
        accountant: Library and method.
        planning: `planned`, `adaptive`, `both`, or `none` before the first reservation.
        runs: Runs with a reservation.
        releases: Releases committed.
        uncommitted: Rounds reserved and never committed: spent, nothing known to have left.
        rounds_reserved: Rounds of the last planned run that are paid for and not yet drawn.
        rounds_left: About how many more rounds of the last kind fit into what remains.
        runs_left: About how many more runs like the last one fit into what remains.
        window_days: Length of the window, None without one.
        window_epsilon: Spent in the window that ends now.
        window_limit: Limit of a window.
        last: Time of the last line.
        simulation: Whether any noise came from a seed, which protects nobody.
        torn: Whether the file ends in a torn line.
        shared_by: Most shops that shared the noise of a release; above 1, the account holds for
            sums alone.
        budget_epsilon: Of what was reserved since the last renewal: what counts against the limit;
            `epsilon` where there was no renewal.
        renewals: Renewals of the budget.
        restored: Restorations from a backup, whose lost lines count as the server's receipts prove.
        fault: The first line at which the ledger passed a limit of its own or states a figure that
            its mechanisms do not cost, in words; empty where there is none.
        floating_point: Whether anything was released in floating point, whose low bits can tell
            more than epsilon says.
        shared_noise: Both guarantees where noise was shared, and what they rest on; else None.
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
    runs_left: int | None
    window_days: float | None
    window_epsilon: float | None
    window_limit: float | None
    last: datetime
    simulation: bool
    torn: bool
    shared_by: int = 1
    floating_point: bool = False
    restored: int = 0
    budget_epsilon: float = 0.0
    renewals: int = 0
    fault: str = ""
    shared_noise: SharedNoise | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return {**asdict(self), "last": self.last.isoformat()}


def read_ledger(path: Path) -> tuple[Chain, bool]:
    """Reads and checks a ledger without its key.

    Returns:
        The chain, and whether the file ends in a torn line, which is left out.

    Raises:
        PrivacyError: The file cannot be read, is empty, or a line does not follow.
    """
    try:
        chain, torn = replay(read_bytes(path, name="ledger", remedy=NAME_LEDGER))
        _ = chain.start
    except PrivacyError as error:
        if error.value == path:
            raise
        raise PrivacyError(error.message, name="ledger", value=path, remedy=error.remedy) from error
    return chain, bool(torn)


def budget_status(chain: Chain, *, now: datetime, torn: bool = False) -> BudgetStatus:
    """Returns a shop's account.

    Args:
        chain: From `read_ledger`.
        now: End of the window.
        torn: Whether the file ends in a torn line.

    Raises:
        PrivacyError: The accountants disagree.
    """
    limits, total = chain.limits, spent(chain)
    held = spent_of_budget(chain).bound if chain.renewals else total.bound
    since = window_start(limits, now)
    window = None if since is None else spent(chain, since=since).bound
    last = last_reserved(chain)
    kinds = {reserved.body.planning for reserved in chain.reservations.values()}
    return BudgetStatus(
        shop=chain.start.shop,
        epsilon=total.bound,
        delta=total.delta,
        limit=limits.epsilon,
        remaining=max(0.0, limits.epsilon - held),
        percent=100 * held / limits.epsilon,
        alerts=alerts(held, limits.epsilon),
        accountant=total.accountant,
        planning="both" if len(kinds) == 2 else next(iter(kinds), "none"),
        runs=len({reserved.body.run for reserved in chain.reservations.values()}),
        releases=len(chain.commits),
        uncommitted=len(chain.bodies.keys() - chain.commits.keys()),
        rounds_reserved=0 if last is None else _undrawn(chain, last),
        rounds_left=None if last is None else _how_many(chain, last_round(chain, last)),
        runs_left=None if last is None else _how_many(chain, last_run(chain, last)),
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
        floating_point=any(
            m.grid == 0 for r in chain.reservations.values() for m in r.body.mechanisms
        ),
        restored=len(chain.restored),
        budget_epsilon=held,
        renewals=len(chain.renewals),
        fault=first_fault(spending_history(chain)),
        shared_noise=shared_noise(chain, epsilon=total.bound),
    )


def last_reserved(chain: Chain) -> ReservedBudget | None:
    """Returns the last reservation of a run, None before the first; lost lines are no run."""
    runs = [seq for seq, r in chain.reservations.items() if r.body.run != RESTORED_RUN]
    return chain.reservations[max(runs)] if runs else None


def last_round(chain: Chain, reserved: ReservedBudget) -> tuple[Mechanism, ...]:
    """Returns what one more round like the last one of a reservation would release."""
    own = [b.mechanism for b in chain.bodies.values() if b.reservation == reserved.seq]
    trained = [mechanism for mechanism in own if mechanism.name == "dp-sgd"]
    return (*(trained or own or reserved.body.mechanisms)[-1:],)


def last_run(chain: Chain, reserved: ReservedBudget) -> tuple[Mechanism, ...]:
    """Returns what one more run like that of a reservation would release."""
    if reserved.body.planning == "planned":
        return reserved.body.mechanisms
    # Adaptive releases are reserved one by one.
    run = reserved.body.run
    own = (r.body.mechanisms for r in chain.reservations.values() if r.body.run == run)
    return tuple(mechanism for mechanisms in own for mechanism in mechanisms)


def _how_many(chain: Chain, mechanisms: tuple[Mechanism, ...]) -> int:
    return rounds_that_fit(chain, mechanisms, chain.next_planning)


def _undrawn(chain: Chain, reserved: ReservedBudget) -> int:
    if reserved.seq <= chain.closed:
        return 0
    each = last_round(chain, reserved)[-1]
    steps = sum(m.steps for m in reserved.body.mechanisms if m.name == each.name)
    drawn = sum(n for noise, n in reserved.drawn.items() if noise[0] == each.name)
    return (steps - drawn) // each.steps if each.steps else 0
