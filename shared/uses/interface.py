"""What a use is: the question, what may be read for it, the rule to beat and the measure.

Training, evaluation and serving read a history through `examples` and `Use.read` alone, and both
get a history that ends at the time: what comes later cannot enter a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shared.errors import ConfigError
from shared.uses.history import Codes, Floats, History
from shared.uses.metrics import Metric

Kind = Literal["binary", "number"]


@dataclass(frozen=True, eq=False)
class Table:
    """What a use is asked about at one time; all arrays have one row a question.

    Attributes:
        unit: Who or what the row is about, such as a user's code; intervals resample units.
        group: Within what scores are compared: 0, or the user where each has a ranking of its own.
        features: On fixed public scales, `(n, d)`; the first column is 1.
        rule: The score of the rule without learning, `(n,)`.
        keys: Further codes of the row that its outcome needs, such as the category, `(n,)`.
        known: Labels that are known at once, `(n,)`; None where time must tell.
    """

    unit: Codes
    group: Codes
    features: Floats
    rule: Floats
    keys: Codes
    known: Floats | None = None

    def __len__(self) -> int:
        return len(self.unit)


@dataclass(frozen=True, eq=False)
class Examples:
    """Questions with their answers.

    Attributes:
        table: The questions.
        label: 0 or 1, or a number, `(n,)`.
    """

    table: Table
    label: Floats

    def __len__(self) -> int:
        return len(self.label)

    def select(self, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Examples:
        """Returns the examples under a mask `(n,)`."""
        t = self.table
        known = None if t.known is None else t.known[rows]
        table = Table(
            t.unit[rows], t.group[rows], t.features[rows], t.rule[rows], t.keys[rows], known
        )
        return Examples(table, self.label[rows])


@dataclass(frozen=True)
class Label:
    """What a head learns to tell.

    Attributes:
        kind: `binary`, or `number`: not negative, learned as log(1 + number).
        meaning: In words, of a row that is 1, or of the number.
        horizon: Days after the asking in which the answer falls; 0 where it is known at once.
        span: Days whose events one asking covers; `horizon`, or the days before the asking.
        centre: Public guess of the label's mean (of its logarithm), which moments subtract.
    """

    kind: Kind
    meaning: str
    horizon: float
    span: float
    centre: float


@dataclass(frozen=True)
class Use:
    """One use of a shop's data.

    Attributes:
        name: As commands and JSON call it.
        purpose: One sentence for its reader.
        unit: What is asked about: `user`, `user-item` or `item`.
        label: What is to be told.
        columns: Names of the features, the first of them `constant`.
        rule: The rule without learning, in words.
        metrics: Name -> metric; the first decides which head is served.
        read: From a history that ends at the time of asking to the questions.
        occasions: Times of asking in `[first, last]`.
        outcome: From the questions, the whole history and the time of asking to the labels; None
            where tables bring them (`Table.known`).
        occasions_of_its_own: Whether the data say when it is asked, as campaigns do, rather than
            a grid of weeks.
        release: What leaves the shop for it: `none`, or `moments`.
        head: `linear`, or `trees` where the answer is no weighted sum.
        needs: Parts of the history without which it cannot be asked: `prices`, `campaigns`,
            `promotions`.
        key: What `Table.keys` hold, as lists call it; "" where a unit says all.
        one_is: What 1 stands for in each row, where labels have a scale of their own; lists are
            multiplied by it.
        borrows: The use whose released head this one starts from, with the same columns; "" for
            none. It costs nothing more.
        ridge: Penalty on the squared coefficients of a head made of moments.
        worth: Examples that the head of all shops is worth beside a new shop's own.
        bound: Public norm to which a user's moments are cut, where they are released.
        level: Whether each shop asks it of its own data, or one owner of all of them; a week of one
            product in one shop is a handful of pieces.
    """

    name: str
    purpose: str
    unit: Literal["user", "user-item", "item"]
    label: Label
    columns: tuple[str, ...]
    rule: str
    metrics: dict[str, Metric]
    read: Callable[[History], Table]
    occasions: Callable[[History, float, float], list[float]]
    outcome: Callable[[Table, History, float], Floats] | None = None
    occasions_of_its_own: bool = False
    release: Literal["none", "moments"] = "none"
    head: Literal["linear", "trees"] = "linear"
    needs: tuple[str, ...] = ()
    key: str = ""
    one_is: Callable[[Table, History], Floats] | None = None
    borrows: str = ""
    bound: float = 1.5
    ridge: float = 0.3
    worth: float = 300.0
    level: Literal["shop", "chain"] = "shop"


def table_at(use: Use, history: History, time: float) -> Table:
    """Returns the questions at a time, made of nothing that came later.

    Raises:
        ConfigError: The history lacks what the use needs.
    """
    check_needs(use, history)
    return use.read(history.before(time))


def examples(use: Use, history: History, times: Sequence[float], *, until: float) -> Examples:
    """Returns questions and answers of several times.

    Args:
        use: The use.
        history: At least up to the end of the last answer.
        times: When it is asked.
        until: No answer may end after it: where the test begins.

    Raises:
        ConfigError: A window of answers ends after `until`, or the history lacks what is needed.
    """
    parts = []
    for time in times:
        if time + use.label.horizon > until:
            raise ConfigError(
                f"window of {use.label.horizon:g} days from day {time:g} overlaps what begins at "
                f"day {until:g}",
                name=use.name,
                remedy="ask earlier, or choose a use with a shorter horizon",
            )
        table = table_at(use, history, time)
        label = table.known
        if label is None:
            if use.outcome is None:
                raise TypeError(f"{use.name} has no outcome, and its tables bring no labels")
            label = use.outcome(table, history.before(time + use.label.horizon), time)
        parts.append(Examples(table, label))
    return joined(parts, n_features=len(use.columns))


def joined(parts: Sequence[Examples], *, n_features: int) -> Examples:
    """Returns examples one after the other."""
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        empty = Table(none, none, np.zeros((0, n_features)), np.zeros(0), none)
        return Examples(empty, np.zeros(0))
    tables = [part.table for part in parts]
    table = Table(
        unit=np.concatenate([t.unit for t in tables]),
        group=np.concatenate([t.group for t in tables]),
        features=np.concatenate([t.features for t in tables]),
        rule=np.concatenate([t.rule for t in tables]),
        keys=np.concatenate([t.keys for t in tables]),
    )
    return Examples(table, np.concatenate([part.label for part in parts]))


def weekly(every: int = 14) -> Callable[[History, float, float], list[float]]:
    """Returns occasions on a grid of `every` days that ends at the last, earliest first."""

    def occasions(_: History, first: float, last: float) -> list[float]:
        steps = int((last - first) // every)
        return [last - every * k for k in range(max(steps, 0), -1, -1) if last >= first]

    return occasions


def check_needs(use: Use, history: History) -> None:
    """Refuses a history without the columns of a use.

    Raises:
        ConfigError: Names what is missing.
    """
    missing = []
    if "prices" in use.needs and not np.isfinite(history.events.price).any():
        missing.append("prices")
    if "campaigns" in use.needs and not len(history.campaigns):
        missing.append("campaigns")
    if "promotions" in use.needs and not len(history.promotions):
        missing.append("promotions")
    if missing:
        raise ConfigError(
            f"needs {' and '.join(missing)}, which the data do not have",
            name=use.name,
            remedy="leave the use out, or add the columns",
        )
