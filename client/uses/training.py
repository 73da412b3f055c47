"""Trains a use in a shop and answers it for every user, with reasons, as a list to act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from client.uses.choice import RULE, Fit, choose
from client.uses.heads import Head, LinearHead, RuleHead, fit_local
from shared.errors import ConfigError
from shared.uses.history import Floats, History
from shared.uses.interface import Examples, Table, Use, examples, table_at

WARM_UP = 91.0
"""Days of history before the first time at which a head is trained."""
REASONS = 3
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
    return TrainedUse(use, name, head, len(known), known.table.features.mean(axis=0), spread)


def _spread(head: Head, later: Examples) -> tuple[float, float]:
    """Returns how far answers lay from what was told (https://doi.org/10.1561/2200000101)."""
    error = np.log1p(later.label) - np.log1p(np.maximum(head.score(later.table), 0))
    low, high = np.quantile(error, [0.05, 0.95])
    return min(float(low), 0.0), max(float(high), 0.0)


def answer(trained: TrainedUse, history: History, user_ids: Sequence[str]) -> pd.DataFrame:
    """Answers a use at the end of a history, best first.

    Args:
        trained: From `train_use`.
        history: All that the shop knows.
        user_ids: The shop's ids by user code.

    Returns:
        One row a question: `user_id` (or `category` where no user is asked about), the use's key,
        `score`, for numbers `low` and `high` of a 90% interval, and `reasons`: the features that
        move the score most from what is usual, "" for the rule. A campaign is asked about for all
        users, as if the last one were sent again now.
    """
    use = trained.use
    if use.occasions_of_its_own:
        history = history.planned()
    table = table_at(use, history, history.end)
    if use.label.kind == "binary" and table.known is not None:
        # Made-up questions teach a head; nobody asks them.
        table = Examples(table, table.known).select(table.known == 0).table
    score = trained.head.score(table)
    one = np.ones(len(table)) if use.one_is is None else use.one_is(table, history)
    order = np.argsort(-score * one, kind="stable")
    categories = np.asarray(history.category_names, dtype=object)
    columns: dict[str, object] = {}
    if use.unit == "item":
        columns["category"] = categories[table.unit][order]
    else:
        columns["user_id"] = np.asarray(user_ids, dtype=object)[table.unit][order]
    if use.key:
        keys = categories[table.keys] if use.key == "category" else table.keys
        columns[use.key] = keys[order]
    columns["score"] = (score * one)[order]
    if trained.spread is not None:
        base = np.log1p(np.maximum(score, 0))
        for column, moved in zip(("low", "high"), trained.spread, strict=True):
            columns[column] = (np.maximum(np.expm1(base + moved), 0) * one)[order]
    reasons = _reasons(trained, table)
    return pd.DataFrame(columns | {"reasons": [reasons[row] for row in order]})


def _reasons(trained: TrainedUse, table: Table) -> list[str]:
    head = trained.head
    if not isinstance(head, LinearHead):
        return [""] * len(table)
    away = table.features - trained.usual
    parts = away * head.coefficients
    most = np.argsort(-np.abs(parts), axis=1)[:, :REASONS]
    names = trained.use.columns
    return [
        "; ".join(
            f"{'high' if away[row, c] > 0 else 'low'} {names[c]} "
            f"{'raises' if parts[row, c] > 0 else 'lowers'} it"
            for c in columns
        )
        for row, columns in enumerate(most)
    ]
