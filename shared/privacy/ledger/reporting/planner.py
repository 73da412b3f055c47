"""Before a run: the noise a budget needs, what other plans would cost, noise against signal."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from shared.errors import PrivacyError
from shared.model.profile_space import PROJECTION
from shared.privacy.accounting.accountants import epsilon_pair
from shared.privacy.accounting.calibration import calibrate, check_delta
from shared.privacy.accounting.collusion import Collusion, collusion_table
from shared.privacy.accounting.guarantee import COUNTS_MAX_NORM, PAIRS_MAX_NORM, Mechanism
from shared.privacy.accounting.roster_bounds import RosterBounds
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.entries import Planning
from shared.privacy.ledger.rounds_left import quick_epsilon, rounds_that_fit, times
from shared.privacy.ledger.spending import budget_after, recorded_epsilon
from shared.settings.run_settings import ModelSettings, RunSettings


@dataclass(frozen=True)
class NoiseAndSignal:
    """One aggregated step of one shop, in the norm of the released matrices.

    Attributes:
        parameters: Numbers released a step; None if the adapter's shape is not known here.
        noise: Expected L2 norm of the noise in the sum over users.
        signal: Largest L2 norm of the sum: every expected user pulls the same way.
        ratio: Noise over signal; the mean over K shops divides it by the root of K.
    """

    parameters: int | None
    noise: float | None
    signal: float
    ratio: float | None


@dataclass(frozen=True)
class PlanForecast:
    """What a plan means for a shop.

    Attributes:
        n_users: Users of the shop; stays with the shop.
        epsilon: Of the whole plan, by the accountant of record.
        epsilon_check: By Google's PLD.
        delta: Of both.
        rounds: Federated rounds.
        mechanisms: Everything released, with the noise found.
        what_if: Rounds -> epsilon with this noise, and the noise that keeps the budget; empty
            where nothing is trained.
        noise_and_signal: Of one training step; None where nothing is trained.
        runs_left: About how many such runs the ledger has left, of those that begin now; None
            without a ledger.
        fits: Whether the ledger would admit the plan, if it is fixed before any result that the
            ledger's other runs gave; None without a ledger.
        fits_adaptive: Whether the ledger would admit its rounds, one by one, if it is not.
        ledger_epsilon: What the ledger has spent; None without one.
        shared: Whether noise multipliers are those of the sum of all shops.
        bounds: Of the roster that shares the noise; None where none was named.
        collusion: Epsilon if as many shops as the roster allows help the server, and more, up to
            all others: the guarantee of the sum and, last, the shop's own. Empty without a roster.
    """

    n_users: int
    epsilon: float
    epsilon_check: float
    delta: float
    rounds: int
    mechanisms: tuple[Mechanism, ...]
    what_if: tuple[dict[str, float | int | None], ...]
    noise_and_signal: NoiseAndSignal | None
    runs_left: int | None
    fits: bool | None
    fits_adaptive: bool | None
    ledger_epsilon: float | None
    shared: bool = False
    bounds: RosterBounds | None = None
    collusion: tuple[Collusion, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


def forecast_plan(
    settings: RunSettings,
    *,
    n_users: int,
    chain: Chain | None = None,
    bounds: RosterBounds | None = None,
) -> PlanForecast:
    """Finds the noise of a plan and what it would cost and leave.

    Args:
        settings: Epsilon, delta, rounds, sample rate, clip norm and model.
        n_users: Users of the shop.
        chain: The shop's ledger, if it has one.
        bounds: Of the roster whose shops share the noise, if there is one.

    Raises:
        PrivacyError: The plan cannot be met: epsilon, delta, users or steps are out of bounds, or
            a roster's numbers do not hold.
    """
    privacy, training = settings.privacy, settings.training
    max_users = settings.federation.max_shop_users
    check_delta(privacy.delta, max_users, users_name="max_shop_users")
    if privacy.adapter_share > 0 and training.sample_rate * n_users < 1:
        raise PrivacyError(
            f"sample_rate={training.sample_rate} of n_users={n_users} is less than 1 user a step",
            remedy=f"raise it to at least {1 / n_users:.3g} with --sample-rate",
        )
    if privacy.epsilon is None:
        raise PrivacyError("has no plan", name="epsilon", value="none", remedy="give --epsilon")
    together = 1 if bounds is None else bounds.check().noise_shops
    mechanisms = tuple(
        replace(m, shared_by=together) for m in _calibrated(settings, training.rounds)
    )
    epsilon, check = epsilon_pair(mechanisms, privacy.delta)
    return PlanForecast(
        n_users=n_users,
        epsilon=epsilon,
        epsilon_check=check,
        delta=privacy.delta,
        rounds=training.rounds if privacy.adapter_share > 0 else 0,
        mechanisms=mechanisms,
        what_if=_what_if(settings, mechanisms),
        noise_and_signal=noise_and_signal(settings, training_of(mechanisms), n_users=n_users),
        runs_left=None
        if chain is None
        else rounds_that_fit(chain, mechanisms, chain.next_planning),
        fits=None if chain is None else _fits(chain, mechanisms, "planned"),
        fits_adaptive=None if chain is None else _fits(chain, mechanisms, "adaptive"),
        ledger_epsilon=None if chain is None else recorded_epsilon(chain),
        shared=privacy.noise == "shared",
        bounds=bounds,
        collusion=collusion_table(mechanisms, delta=privacy.delta, bounds=bounds),
    )


def training_of(mechanisms: tuple[Mechanism, ...]) -> Mechanism | None:
    """Returns the training steps of a plan, None where it trains nothing."""
    return next((m for m in mechanisms if m.name == "dp-sgd"), None)


def noise_and_signal(
    settings: RunSettings, training: Mechanism | None, *, n_users: int
) -> NoiseAndSignal | None:
    """Compares noise and signal of one step: both are for the sum over users, before the divisor.

    The signal is a bound: real gradients agree less, so the real ratio is larger.
    """
    if training is None:
        return None
    size = parameters(settings.model, settings.federation.aggregation)
    signal = training.max_norm * training.sample_rate * n_users
    if size is None:
        return NoiseAndSignal(None, None, signal, None)
    noise = training.noise_multiplier * training.max_norm * math.sqrt(size)
    return NoiseAndSignal(size, noise, signal, noise / signal)


def parameters(model: ModelSettings, aggregation: str) -> int | None:
    """Returns how many numbers a step releases; None where encoder layers are trained."""
    if model.target_modules != (PROJECTION,):
        return None
    trained = model.dim * model.rank
    return trained + model.rank * (model.dim + 1) if aggregation == "average" else trained


def _calibrated(settings: RunSettings, rounds: int) -> tuple[Mechanism, ...]:
    privacy, training = settings.privacy, settings.training
    return calibrate(
        epsilon=float(privacy.epsilon or 0.0),
        delta=privacy.delta,
        steps=rounds * training.local_steps,
        sample_rate=training.sample_rate,
        max_grad_norm=training.max_grad_norm,
        counts_share=privacy.counts_share,
        pairs_share=privacy.pairs_share,
        adapter_share=privacy.adapter_share,
        counts_max_norm=COUNTS_MAX_NORM,
        pairs_max_norm=PAIRS_MAX_NORM,
    )


def _one_round(mechanisms: tuple[Mechanism, ...], rounds: int) -> tuple[Mechanism, ...]:
    """Returns one round of training; where nothing is trained, all that the run releases."""
    training = training_of(mechanisms)
    return mechanisms if training is None else (replace(training, steps=training.steps // rounds),)


def _what_if(
    settings: RunSettings, mechanisms: tuple[Mechanism, ...]
) -> tuple[dict[str, float | int | None], ...]:
    if training_of(mechanisms) is None:
        return ()
    rounds, rows = settings.training.rounds, []
    a_round = _one_round(mechanisms, rounds)
    choices = sorted({max(1, rounds // 4), max(1, rounds // 2), rounds, 2 * rounds, 4 * rounds})
    for number in choices:
        epsilon = quick_epsilon((*times(a_round, number), *mechanisms[1:]), settings.privacy.delta)
        try:
            noise = _calibrated(settings, number)[0].noise_multiplier
        except PrivacyError:
            noise = None
        finite = epsilon if math.isfinite(epsilon) else None
        rows.append({"rounds": number, "epsilon": finite, "noise_multiplier": noise})
    return tuple(rows)


def _fits(chain: Chain, mechanisms: tuple[Mechanism, ...], planning: Planning) -> bool:
    try:
        return budget_after(chain, mechanisms, planning).bound <= chain.limits.epsilon
    except PrivacyError:  # no filter fits into what is left, or a planned run comes too late
        return False
