"""What holds where noise was shared: of the sum, and of the shop alone; and what it rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import Aggregation
from shared.privacy.ledger.log.lost_lines import RESTORED_RUN
from shared.privacy.ledger.own_guarantee import own_epsilon


@dataclass(frozen=True)
class RecordedRoster:
    """A roster in a ledger, and the runs that were added up under it.

    Attributes:
        digest: Its fingerprint.
        shops: Shops `K`.
        max_missing: Shops `d` that may be missing from a sum.
        max_colluding: Shops `t` that may help the server.
        noise_shops: Shops `n = K - d - t` among which the noise is divided.
        threshold: Least number `m = K - d` of shops in a sum.
        runs: Runs of the ledger.
    """

    digest: str
    shops: int
    max_missing: int
    max_colluding: int
    noise_shops: int
    threshold: int
    runs: tuple[str, ...]


@dataclass(frozen=True)
class SharedNoise:
    """The guarantees of a ledger whose noise was shared, beside the epsilon of its account.

    Attributes:
        epsilon: The account's, of sums.
        own_epsilon: Of everything reserved, if all other shops help the server; None where no
            accountant bounds it.
        delta: Of both.
        rosters: On what the sums rest.
        simulated: Runs with shared noise and no roster.
        lost: Whether lost lines had reserved shared noise: what it rested on is lost with them.
    """

    epsilon: float
    own_epsilon: float | None
    delta: float
    rosters: tuple[RecordedRoster, ...]
    simulated: tuple[str, ...]
    lost: bool


def shared_noise(chain: Chain, *, epsilon: float) -> SharedNoise | None:
    """Returns what holds where noise was shared; None where the shop added all of it.

    Args:
        chain: The ledger.
        epsilon: Of everything reserved, as its account states it.

    Raises:
        PrivacyError: The accountants disagree.
    """
    runs = dict.fromkeys(
        reserved.body.run
        for reserved in chain.reservations.values()
        if any(m.shared_by > 1 for m in reserved.body.mechanisms)
    )
    if not runs:
        return None
    own = own_epsilon(chain)
    known = [chain.aggregations[run] for run in runs if run in chain.aggregations]
    return SharedNoise(
        epsilon=epsilon,
        own_epsilon=own if math.isfinite(own) else None,
        delta=chain.limits.delta,
        rosters=_rosters(known),
        simulated=tuple(
            run for run in runs if run not in chain.aggregations and run != RESTORED_RUN
        ),
        lost=RESTORED_RUN in runs,
    )


def _rosters(aggregations: list[Aggregation]) -> tuple[RecordedRoster, ...]:
    runs: dict[str, list[str]] = {}
    by_digest = {body.roster: body for body in aggregations}
    for body in aggregations:
        runs.setdefault(body.roster, []).append(body.run)
    return tuple(
        RecordedRoster(
            digest=digest,
            shops=len(body.keys),
            max_missing=body.max_missing,
            max_colluding=body.max_colluding,
            noise_shops=body.noise_shops,
            threshold=body.threshold,
            runs=tuple(runs[digest]),
        )
        for digest, body in by_digest.items()
    )


def shared_noise_text(shared: SharedNoise) -> str:
    """States both guarantees and what they rest on in words."""
    return " ".join((two_guarantees(shared), *rests_on_rosters(shared)))


def two_guarantees(shared: SharedNoise) -> str:
    """States the guarantee of the sum and the shop's own."""
    own = (
        "no epsilon that an accountant bounds, which protects nobody"
        if shared.own_epsilon is None
        else f"epsilon {shared.own_epsilon:.4g} at delta {shared.delta:g}"
    )
    return (
        "Noise was shared among shops, so two guarantees hold. Of the sum: epsilon "
        f"{shared.epsilon:.4g} at delta {shared.delta:g}, towards everyone who sees sums over "
        "shops alone, the server among them. The shop's own, if all other shops help the server: "
        f"{own}."
    )


def rests_on_rosters(shared: SharedNoise) -> tuple[str, ...]:
    """Says what the guarantee of the sum rests on, a sentence for each roster."""
    texts = [_of_roster(roster) for roster in shared.rosters]
    if shared.simulated:
        texts.append(
            f"No roster is recorded for {_runs(shared.simulated)}: the sum was simulated, and "
            "whoever ran the simulation saw what each shop added to it."
        )
    if shared.lost:
        texts.append(
            "Lost lines had reserved shared noise: which rosters it rested on is lost with them."
        )
    return tuple(texts)


def _of_roster(roster: RecordedRoster) -> str:
    return (
        f"The guarantee of the sum in {_runs(roster.runs)} rests on roster "
        f"{roster.digest[:16]}… of {roster.shops} shops: it holds if at most "
        f"{roster.max_colluding} of them help the server. Each sum is of at least "
        f"{roster.threshold} shops ({roster.max_missing} may be missing), and the server sees no "
        f"less than that; at least {roster.noise_shops} honest ones are in each, among whom the "
        "noise is divided."
    )


def sums_text(chain: Chain) -> str:
    """Says which rosters, sets and openings stand in a ledger, and what was never opened.

    Empty where no run was added up under a roster. Whatever a chain took in holds: see
    `log.aggregation`.
    """
    if not chain.aggregations:
        return ""
    rosters = len({body.roster for body in chain.aggregations.values()})
    runs, sums = _count(len(chain.aggregations), "run"), _count(len(chain.sets), "sum")
    text = (
        f"sums over shops: {runs} under {_count(rosters, 'roster')}, one set-up each; {sums} with "
        "one set of shops, none smaller than its roster allows, this shop in each; "
        f"{len(chain.opened)} opened, by enough valid signatures of shops in the set"
    )
    return "; ".join((text, *_never_opened(chain)))


def _never_opened(chain: Chain) -> list[str]:
    texts = []
    for run in chain.aggregations:
        names = [
            release for of, release in chain.sets if of == run and (of, release) not in chain.opened
        ]
        if names:
            texts.append(f"never opened in run {run}: {', '.join(names)}")
        released = sum(chain.bodies[line].run == run for line in chain.commits)
        outside = released - sum(of == run for of, _ in chain.sets)
        if outside > 0:
            texts.append(f"in no set in run {run}: {_count(outside, 'release')}")
    return texts


def _runs(runs: tuple[str, ...]) -> str:
    return f"run {runs[0]}" if len(runs) == 1 else f"runs {', '.join(runs)}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
