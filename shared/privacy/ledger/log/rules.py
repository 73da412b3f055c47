"""What a line may add to a ledger: the rules of reservations, rounds and bounds of users."""

from __future__ import annotations

from shared.errors import PrivacyError
from shared.privacy.accounting.calibration import check_delta
from shared.privacy.ledger.log.aggregation import check_shared_noise
from shared.privacy.ledger.log.entries import (
    LifetimeLimits,
    Reservation,
    Round,
    UserBound,
)
from shared.privacy.ledger.log.lost_lines import (
    RESTORED_RUN,
)
from shared.privacy.ledger.log.state import LedgerState, noise_of, round_key

RESTORE_LEDGER = "run `fedprofile node ledger restore`, or reserve the run anew"
"""Remedy where lost lines are in the way."""


def check_reservation(chain: LedgerState, body: Reservation) -> None:
    """Refuses a reservation that breaks the rules of accounting.

    Raises:
        PrivacyError: A planned run after an adaptive one, a second filter, another reservation
            than the one that is owed for lost lines, or noise that is not divided as the run's
            roster says.
    """
    owed = bool(chain.owed)
    if owed != (body.run == RESTORED_RUN) or (owed and not chain.owed[0].is_paid_by(body)):
        raise PrivacyError(
            "is not what the ledger owes for its lost lines" if owed else "is kept for lost lines",
            name="run",
            value=body.run,
            remedy=RESTORE_LEDGER,
        )
    # PRV and PLD hold for plans fixed in advance. After an adaptive release no plan is: it may
    # have been chosen by what was seen (https://arxiv.org/abs/2602.06756).
    fixed = chain.filter
    if fixed is not None and (body.planning == "planned" or body.filter != fixed):
        raise PrivacyError(
            "comes after adaptive releases, whose filter is fixed",
            name="planning",
            value=body.planning,
            remedy="reserve the run as adaptive",
        )
    if (body.planning == "adaptive") != (body.filter is not None):
        raise PrivacyError(
            f"does not go with filter={body.filter}",
            name="planning",
            value=body.planning,
            remedy="give a filter to adaptive releases, and to no others",
        )
    if body.run in chain.aggregations:
        check_shared_noise(chain.aggregations[body.run], body)


def check_user_bound(limits: LifetimeLimits, body: UserBound) -> None:
    """Refuses a bound of users that does not go up, or a delta that goes up.

    Raises:
        PrivacyError: Either, or delta is above 1 / (10 max_users).
    """
    before = limits.max_users
    if before is not None and body.max_users <= before:
        raise PrivacyError(
            f"must be above {before}, which is stated already",
            name="max_users",
            value=body.max_users,
            remedy="keep the bound that is stated, or state a larger one",
        )
    if body.delta > limits.delta:
        raise PrivacyError(
            f"must be at most {limits.delta:g}, that of the ledger",
            name="delta",
            value=body.delta,
            remedy="lower it with --delta",
        )
    check_delta(body.delta, body.max_users)


def check_round(chain: LedgerState, body: Round) -> None:
    """Refuses a round that was spent already or that its reservation does not pay for.

    Raises:
        PrivacyError: With what was reserved and what was asked.
    """
    if chain.owed or body.reservation <= chain.closed:
        raise PrivacyError(
            f"must be above {chain.closed}, the last line of a restored ledger, and no lost line "
            "unpaid: what was drawn from it before is not known",
            name="reservation",
            value=body.reservation,
            remedy=RESTORE_LEDGER,
        )
    reserved = chain.reservations.get(body.reservation)
    if reserved is None:
        raise PrivacyError(
            "must be an earlier reservation",
            name="reservation",
            value=body.reservation,
            remedy="reserve the run before its rounds",
        )
    if (reserved.body.run, reserved.body.plan_digest) != (body.run, body.plan_digest):
        raise PrivacyError(
            "is of another run or plan",
            name="reservation",
            value=body.reservation,
            remedy="keep to the plan, or start another run",
        )
    if round_key(body) in chain.rounds:
        raise PrivacyError(
            f"round={body.round} of run={body.run} is spent already",
            remedy="ask for the next round, or start another run",
        )
    asked = body.mechanism
    # Steps are counted by noise, rate and norm: steps reserved with much noise must not pay for
    # steps with little.
    drawn = reserved.drawn.get(noise_of(asked), 0)
    paid = sum(m.steps for m in reserved.body.mechanisms if noise_of(m) == noise_of(asked))
    if drawn + asked.steps > paid:
        raise PrivacyError(
            f"{asked.name} with noise_multiplier={asked.noise_multiplier}, "
            f"sample_rate={asked.sample_rate}, max_norm={asked.max_norm}, "
            f"shared_by={asked.shared_by} takes {asked.steps} steps after {drawn}, but {paid} are "
            "reserved",
            name="round",
            value=body.round,
            remedy="ask for what the plan says",
        )
