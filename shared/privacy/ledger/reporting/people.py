"""What a person pays who is more than one user: of several shops, or with several ids in one.

The unit of a ledger is a user, one id in one shop. These figures say what follows for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import UnboundedError
from shared.privacy.accounting.group_privacy import epsilon_of_person, for_group
from shared.privacy.accounting.guarantee import ADJACENCY, UNIT, Mechanism
from shared.privacy.ledger import renyi_filter as rdp_filter
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import Reservation
from shared.privacy.ledger.log.lost_lines import RESTORED_RUN

IDS = (2, 3, 5)
"""Numbers of ids in one shop for which a person's guarantee is stated."""


@dataclass(frozen=True)
class GroupSpending:
    """The guarantee of a person who is several users of one shop.

    Attributes:
        ids: Users of the shop that are this person.
        epsilon: For everything reserved, at the lifetime delta; None where it is so large that no
            accountant bounds it.
    """

    ids: int
    epsilon: float | None


@dataclass(frozen=True)
class MultiShopSpending:
    """The guarantee of a person who is a user of several shops, with one id in each.

    Attributes:
        shops: The shops.
        epsilon: For everything that all of them reserved; None where it is so large that no
            accountant bounds it.
        delta: Of it; adaptive releases add each shop's share.
        unit: What is protected.
        adjacency: Neighbouring data sets.
        accountant: Library and method.
        shared_runs: Runs in which at least two of these shops shared their noise: the person is in
            one sum as often as there are such shops.
        sampled_bound: Whether such a run was adaptive and drew its users by chance: a Rényi filter
            knows no mixtures, and the figure is an upper bound that may be several times too large.
    """

    shops: tuple[str, ...]
    epsilon: float | None
    delta: float
    unit: str
    adjacency: str
    accountant: str
    shared_runs: tuple[str, ...] = ()
    sampled_bound: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


def composition_text(composition: MultiShopSpending) -> str:
    """States the guarantee of a person of several shops in words."""
    shops = ", ".join(composition.shops)
    text = (
        f"A person who is a user of {shops}, with one id in each: {epsilon_text(composition)} at "
        f"delta {composition.delta:g} ({composition.accountant})."
    )
    if composition.shared_runs:
        runs = ", ".join(composition.shared_runs)
        text += (
            f" In {runs} shops shared their noise: one sum holds the person once for each shop, so "
            "mu grows with their number and not with its root."
        )
    if composition.sampled_bound:
        text += " This is a coarse upper bound, since adaptive runs drew their users by chance."
    return text


def group_text(spending: Sequence[GroupSpending]) -> str:
    """States the guarantee of a person with several ids in one shop in words; empty for none."""
    if not spending:
        return ""
    cases = "; ".join(f"{epsilon_text(each)} with {each.ids} ids" for each in spending)
    return (
        "A person who is several users there, under as many ids, has less protection than one "
        f"user: {cases}, at the same delta."
    )


def epsilon_text(spending: GroupSpending | MultiShopSpending) -> str:
    """Writes an epsilon that may be beyond the accountants."""
    if spending.epsilon is None:
        return "an epsilon beyond the accountants, which protects nobody,"
    return f"epsilon {spending.epsilon:.4g}"


def group_table(chain: Chain) -> tuple[GroupSpending, ...]:
    """States what a person with 2, 3 and 5 ids in one shop pays; empty where nothing is reserved.

    Guarantee:
        Each sum holds the person up to `ids` times: see `group_privacy.epsilon_of_person`.

    Raises:
        PrivacyError: The accountants disagree.
    """
    if not chain.reservations:
        return ()
    return tuple(GroupSpending(ids, _epsilon_of_ids(chain, ids)) for ids in IDS)


def _epsilon_of_ids(chain: Chain, ids: int) -> float | None:
    planned = [(m, ids) for m in chain.mechanisms("planned")]
    adaptive = [for_group(m, ids) for m in chain.mechanisms("adaptive")]
    delta, fixed = chain.limits.delta, chain.filter
    try:
        epsilon, _ = epsilon_of_person(planned, delta if fixed is None else delta / 2)
        if fixed is not None:
            epsilon += _filtered(adaptive, [chain], fixed.order)
    except UnboundedError:
        return None
    return epsilon


def compose_shops(chains: Sequence[Chain]) -> MultiShopSpending:
    """Returns what a person pays who is a user of all of these shops.

    Where each shop adds all of its noise, their releases are independent: they compose, and mu^2
    adds up. Where shops of one run share their noise, one sum leaves, and it holds the person once
    for each of these shops: mu itself adds up (`group_privacy.epsilon_of_person`). Different runs
    compose.

    An adaptive part holds by a shop's own filter, at half of its delta, and is added. Adaptive
    parts with shared noise have one filter together, at the order that was fixed first.

    Assumes:
        No shop's plan was chosen after seeing another's results.

    Raises:
        PrivacyError: There is no shop, or the accountants disagree.
    """
    if not chains:
        raise PrivacyError(
            "shops= must name at least one shop", remedy="see status without --shops"
        )
    filtered = [chain for chain in chains if chain.filter is not None]
    least = min(chain.limits.delta for chain in chains)
    part = least / 2 if filtered else least
    planned, adaptive = (overlaid_sums(chains, planning) for planning in ("planned", "adaptive"))
    together = [entry for entry in (*planned, *adaptive) if entry.records > 1]
    epsilon: float | None = None
    accountant = "no accountant bounds it"
    try:
        parts = [(entry.mechanism, entry.records) for entry in planned]
        epsilon, accountant = epsilon_of_person(parts, part)
        epsilon += _adaptive_epsilon(filtered)
        accountant += " + Rényi filters, added" if filtered else ""
    except UnboundedError:
        pass
    return MultiShopSpending(
        shops=tuple(chain.start.shop for chain in chains),
        epsilon=epsilon,
        delta=part + sum(chain.limits.delta / 2 for chain in filtered),
        unit=UNIT,
        adjacency=ADJACENCY,
        accountant=accountant,
        shared_runs=tuple(dict.fromkeys(entry.run for entry in together)),
        sampled_bound=any(e.records > 1 and e.mechanism.sample_rate < 1 for e in adaptive),
    )


@dataclass(frozen=True)
class PersonInSum:
    """Noisy sums that hold one person once or more.

    Attributes:
        run: Run of the sums.
        mechanism: The sums, one a step.
        records: Shops among those asked about that add to each of them.
    """

    run: str
    mechanism: Mechanism
    records: int


def overlaid_sums(chains: Sequence[Chain], planning: str) -> tuple[PersonInSum, ...]:
    """Lays over each other what shops of one run released with shared noise.

    Releases with all noise in the shop stay by themselves. Of a run's shared ones with equal noise
    the first step of each shop is taken to be in one sum, then the second, and so on: what shops
    reserved of a run may differ (a shop that left early), and no other assignment costs more, since
    mu of a sum grows with the number of its shops and enters as a square. Lines that were lost and
    restored do not say their run: where there are such, all shared releases count as one run's.

    Args:
        chains: The shops.
        planning: `planned` or `adaptive`.
    """
    unknown = any(
        body.run == RESTORED_RUN and any(m.shared_by > 1 for m in body.mechanisms)
        for chain in chains
        for body in _bodies(chain)
    )
    alone: list[PersonInSum] = []
    steps: dict[tuple[str, Mechanism], list[int]] = {}
    for chain in chains:
        of_shop: dict[tuple[str, Mechanism], int] = {}
        for body in _bodies(chain):
            if body.planning != planning:
                continue
            for m in body.mechanisms:
                if m.shared_by == 1:
                    alone.append(PersonInSum(body.run, m, 1))
                else:
                    key = (RESTORED_RUN if unknown else body.run, replace(m, steps=0))
                    of_shop[key] = of_shop.get(key, 0) + m.steps
        for key, number in of_shop.items():
            steps.setdefault(key, []).append(number)
    return (*alone, *_layers(steps))


def _bodies(chain: Chain) -> Iterator[Reservation]:
    return (reserved.body for reserved in chain.reservations.values())


def _layers(steps: dict[tuple[str, Mechanism], list[int]]) -> Iterator[PersonInSum]:
    for (run, mechanism), numbers in steps.items():
        ascending, below = sorted(numbers), 0
        for place, number in enumerate(ascending):
            if number > below:
                layer = replace(mechanism, steps=number - below)
                yield PersonInSum(run, layer, len(ascending) - place)
            below = number


def _adaptive_epsilon(filtered: Sequence[Chain]) -> float:
    """Adds up the adaptive parts of shops, each at half of its shop's delta.

    Shops whose adaptive releases share noise are one filter: their sums hold the person more than
    once, and two epsilons of one sum would not add up without more delta.
    """
    shared = [c for c in filtered if any(m.shared_by > 1 for m in c.mechanisms("adaptive"))]
    epsilon = 0.0
    for chain in (c for c in filtered if c not in shared):
        epsilon += _filtered(chain.mechanisms("adaptive"), [chain], _order(chain)[1])
    if shared:
        # Any one order holds that was fixed before the first adaptive release of them all.
        order = min(_order(chain) for chain in shared)[1]
        sums = [
            for_group(entry.mechanism, entry.records) for entry in overlaid_sums(shared, "adaptive")
        ]
        epsilon += _filtered(sums, shared, order)
    return epsilon


def _filtered(mechanisms: Sequence[Mechanism], chains: Sequence[Chain], order: float) -> float:
    part = sum(chain.limits.delta / 2 for chain in chains)
    epsilon = rdp_filter.epsilon_filter(mechanisms, part, order)
    return max(epsilon, rdp_filter.epsilon_filter_check(mechanisms, part, order))


def _order(chain: Chain) -> tuple[datetime, float]:
    """Returns when a shop's filter was fixed, and its order."""
    return min(
        (reserved.time, reserved.body.filter.order)
        for reserved in chain.reservations.values()
        if reserved.body.filter is not None
    )
