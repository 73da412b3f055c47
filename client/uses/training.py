"""Trains a use in a shop: its head or rule, and what is told beside a score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from client.uses.calibration import Calibration, calibrate
from client.uses.choice import RULE, Fit, choose
from client.uses.heads import Head, RuleHead, fit_local
from shared.errors import ConfigError
from shared.uses.history import Floats, History
from shared.uses.interface import Examples, Use, check_needs, examples

WARM_UP = 91.0
"""Days of history before the first time at which a head is trained."""
LATEST = 4
"""Times of asking from which intervals are read."""


@dataclass(frozen=True, eq=False)
class TrainedUse:
    """What a shop serves for a use.

    Attributes:
        use: The use.
        name: `rule` or `local`, as the shop's own users chose.
        head: What scores.
        examples: How many it was fitted to.
        usual: Mean of the features over those, from which reasons are told, `(d,)`.
        spread: 5% and 95% quantiles of log(1 + number) less log(1 + told) at the latest times,
            which a head of earlier times did not see; None for no number or a short history.
    """

    use: Use
    name: str
    head: Head
    examples: int
    usual: Floats
    spread: tuple[float, float] | None
    calibration: Calibration | None = None
    """From scores to probabilities; None where no answers tell them."""


def train_use(use: Use, history: History, *, first: float, rng: np.random.Generator) -> TrainedUse:
    """Fits the shop's own head to all answers that are known by the end of the history.

    Args:
        use: The use.
        history: All that the shop knows.
        first: First time of the data, in days.
        rng: Deals users into folds for the choice between head and rule.

    Raises:
        ConfigError: The history lacks what the use needs, or no answer is known yet.
    """
    last = history.end - use.label.horizon
    times = use.occasions(history, first + WARM_UP, last)
    known = examples(use, history, times, until=history.end)
    if not len(known):
        raise ConfigError(
            f"needs {WARM_UP + use.label.horizon:g} days of history with answers, the data have "
            f"{history.end - first:g}",
            name=use.name,
            remedy="use its rule until there are more",
        )
    fits: dict[str, Fit] = {"local": lambda e: fit_local(use, e)}
    name, head = choose(use, known, fits, default=RULE, rng=rng)
    spread = None
    # No answer that intervals are read from may have begun when the earlier head is fitted.
    before = [time for time in times if time + use.label.horizon <= times[-LATEST:][0]]
    if use.label.kind == "number" and len(before) > LATEST:
        earlier = examples(use, history, before, until=times[-LATEST])
        later = examples(use, history, times[-LATEST:], until=history.end)
        spread = _spread(fits[name](earlier) if name in fits else RuleHead(), later)
    fit = fits.get(name, lambda _: RuleHead())
    calibration = calibrate(use, known, fit, rng=rng)
    usual = known.table.features.mean(axis=0)
    return TrainedUse(use, name, head, len(known), usual, spread, calibration)


def by_rule(use: Use, history: History) -> TrainedUse:
    """Returns a use that is served by its rule, where no answer is known yet.

    Raises:
        ConfigError: The history lacks what the use needs.
    """
    check_needs(use, history)
    return TrainedUse(use, RULE, RuleHead(), 0, np.zeros(len(use.columns)), None)


def _spread(head: Head, later: Examples) -> tuple[float, float]:
    """Returns how far answers lay from what was told (https://doi.org/10.1561/2200000101)."""
    error = np.log1p(later.label) - np.log1p(np.maximum(head.score(later.table), 0))
    low, high = np.quantile(error, [0.05, 0.95])
    return min(float(low), 0.0), max(float(high), 0.0)
