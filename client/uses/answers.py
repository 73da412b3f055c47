"""A trained use answered for every user: a list to act on, best first, with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from client.uses.heads import LinearHead
from client.uses.training import TrainedUse
from shared.uses.history import Codes, Floats, History
from shared.uses.interface import Examples, table_at

REASONS = 3


@dataclass(frozen=True, eq=False)
class Answers:
    """What a use tells at the end of a history, best first; all arrays have one row a question.

    Attributes:
        trained: What scored.
        unit: The user's code, or the category's where no user is asked about, `(n,)`.
        keys: Further code of the question, such as a category, `(n,)`.
        features: Of the question, `(n, d)`, float32.
        score: Higher is likelier, or the number that is told, `(n,)`.
        low: Lower end of a number's 90% interval, `(n,)`; NaN where there is none.
        high: Its upper end.
        probability: That the answer is 1, `(n,)`; NaN where there are ranks alone.
    """

    trained: TrainedUse
    unit: Codes
    keys: Codes
    features: npt.NDArray[np.float32]
    score: Floats
    low: Floats
    high: Floats
    probability: Floats

    def __len__(self) -> int:
        return len(self.unit)

    def select(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> Answers:
        """Returns some of the rows."""
        parts = [getattr(self, field.name)[rows] for field in fields(self)[1:]]
        return Answers(self.trained, *parts)

    def of_units(self, units: Codes) -> Answers:
        """Returns the same with other codes of units: `units[unit]` in place of each."""
        return replace(self, unit=units[self.unit])

    def key_names(self, category_names: Sequence[str]) -> list[str | int] | None:
        """Returns the key of each row as lists show it; None where a unit says all."""
        if not self.trained.use.key:
            return None
        if self.trained.use.key == "category":
            return [category_names[code] for code in self.keys.tolist()]
        return [int(code) for code in self.keys]

    def reasons(self) -> list[list[str]]:
        """Returns for each row the features that move its score most from what is usual."""
        head = self.trained.head
        if not isinstance(head, LinearHead):
            return [[] for _ in range(len(self))]
        away = self.features - self.trained.usual
        parts = away * head.coefficients
        most = np.argsort(-np.abs(parts), axis=1)[:, :REASONS]
        high = np.take_along_axis(away > 0, most, axis=1).tolist()
        raises = np.take_along_axis(parts > 0, most, axis=1).tolist()
        said = {
            (column, is_high, does_raise): f"{'high' if is_high else 'low'} {name} "
            f"{'raises' if does_raise else 'lowers'} it"
            for column, name in enumerate(self.trained.use.columns)
            for is_high in (True, False)
            for does_raise in (True, False)
        }
        return [
            [said[which] for which in zip(*row, strict=True)]
            for row in zip(most.tolist(), high, raises, strict=True)
        ]


def answers(trained: TrainedUse, history: History) -> Answers:
    """Answers a use at the end of a history.

    A campaign is asked about for all users, as if the last one were sent again now.

    Args:
        trained: From `train_use`.
        history: All that the shop knows.
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
    low, high = _interval(trained, score)
    return sorted_answers(
        Answers(
            trained,
            table.unit,
            table.keys,
            table.features.astype(np.float32),
            score * one,
            low * one,
            high * one,
            _probability(trained, score),
        )
    )


def sorted_answers(told: Answers) -> Answers:
    """Returns the rows best first."""
    return told.select(np.argsort(-told.score, kind="stable"))


def joined_answers(parts: Sequence[Answers]) -> Answers:
    """Returns the answers of several groups of users as one list, best first."""
    columns = [
        np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(parts[0])[1:]
    ]
    return sorted_answers(Answers(parts[0].trained, *columns))


def answer(trained: TrainedUse, history: History, user_ids: Sequence[str]) -> pd.DataFrame:
    """Answers a use as a table.

    Args:
        trained: From `train_use`.
        history: All that the shop knows.
        user_ids: The shop's ids by user code.

    Returns:
        One row a question: `user_id` (or `category` where no user is asked about), the use's key,
        `score`, `probability` where answers tell it, for numbers `low` and `high` of a 90%
        interval, and `reasons`: what moves the score most from what is usual, "" for the rule.
    """
    told, use = answers(trained, history), trained.use
    names = np.asarray(history.category_names if use.unit == "item" else user_ids, dtype=object)
    columns: dict[str, object] = {"category" if use.unit == "item" else "user_id": names[told.unit]}
    keys = told.key_names(history.category_names)
    if keys is not None:
        columns[use.key] = np.asarray(keys)
    columns["score"] = told.score
    if trained.calibration is not None:
        columns["probability"] = told.probability
    if trained.spread is not None:
        columns |= {"low": told.low, "high": told.high}
    return pd.DataFrame(columns | {"reasons": ["; ".join(row) for row in told.reasons()]})


def _interval(trained: TrainedUse, score: Floats) -> tuple[Floats, Floats]:
    if trained.spread is None:
        none = np.full(len(score), np.nan)
        return none, none
    base = np.log1p(np.maximum(score, 0))
    low, high = (np.maximum(np.expm1(base + moved), 0) for moved in trained.spread)
    return low, high


def _probability(trained: TrainedUse, score: Floats) -> Floats:
    if trained.calibration is None:
        return np.full(len(score), np.nan)
    return trained.calibration.probability(score)
