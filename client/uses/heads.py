"""Heads: what turns the features of a use into a score, learned in the shop or by all shops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from shared.releases.moments import COUNT
from shared.uses.history import Floats
from shared.uses.interface import Examples, Table, Use

STRENGTH = 10.0
"""Penalty on a linear head's squared coefficients, in examples."""


class Head(Protocol):
    """What scores the questions of one use."""

    def score(self, table: Table) -> Floats:
        """Returns one score a question, `(n,)`: higher is likelier, or the number itself."""


@dataclass(frozen=True)
class RuleHead:
    """The use's rule without learning."""

    def score(self, table: Table) -> Floats:
        """Returns the rule's scores."""
        return table.rule


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A weighted sum of the features.

    Attributes:
        coefficients: `(d,)`.
        centre: Added to the sum.
        number: Whether the sum is the logarithm of 1 + the number that is told.
    """

    coefficients: Floats
    centre: float = 0.0
    number: bool = False

    def score(self, table: Table) -> Floats:
        """Returns the sums, or the numbers that they are the logarithms of."""
        total = table.features @ self.coefficients + self.centre
        value: Floats = np.expm1(np.clip(total, 0, 20)) if self.number else total
        return value


@dataclass(frozen=True, eq=False)
class TreesHead:
    """Boosted trees (https://doi.org/10.1214/aos/1013203451), as scikit-learn fits them.

    Attributes:
        model: The fitted estimator.
        number: Whether it tells the logarithm of 1 + a number.
    """

    model: Any
    number: bool

    def score(self, table: Table) -> Floats:
        """Returns log odds, or numbers."""
        if self.number:
            told: Floats = np.expm1(np.clip(self.model.predict(table.features), 0, 20))
            return told
        odds: Floats = self.model.decision_function(table.features)
        return odds


def target(use: Use, label: Floats) -> Floats:
    """Returns what a head is fitted to: the label, or its logarithm where it is a number."""
    return np.log1p(label) if use.label.kind == "number" else label


def can_learn(use: Use, examples: Examples) -> bool:
    """Says whether the examples have two different answers."""
    return len(np.unique(target(use, examples.label))) > 1


def fit_local(use: Use, examples: Examples) -> Head:
    """Fits a head to a shop's own examples; the rule where they hold nothing to learn from."""
    if not can_learn(use, examples):
        return RuleHead()
    if use.head == "trees":
        return _fit_trees(use, examples)
    features, label = examples.table.features, target(use, examples.label)
    if use.label.kind == "binary":
        # The constant is left to the fit, which does not penalise it.
        model = LogisticRegression(C=1 / STRENGTH, max_iter=2_000).fit(features[:, 1:], label)
        return LinearHead(np.concatenate([model.intercept_, model.coef_[0]]).astype(np.float64))
    ridge = Ridge(alpha=STRENGTH / 10, fit_intercept=False).fit(features, label)
    return LinearHead(np.asarray(ridge.coef_, dtype=np.float64), number=True)


def fit_toward(use: Use, prior: LinearHead, examples: Examples, *, strength: float) -> LinearHead:
    """Moves a head that all shops made as far as a shop's own examples call for.

    Args:
        use: The use.
        prior: The head of all shops.
        examples: The shop's own; none leaves the prior as it is.
        strength: How many examples the prior is worth.

    Returns:
        The least squares fit with a penalty of `strength` on the squared distance to the prior.
    """
    features = examples.table.features
    rest = target(use, examples.label) - prior.centre - features @ prior.coefficients
    gram = features.T @ features + strength * np.eye(features.shape[1])
    moved = prior.coefficients + np.linalg.solve(gram, features.T @ rest)
    return LinearHead(moved.astype(np.float64), prior.centre, prior.number)


def head_of_moments(use: Use, block: Floats, covariance: Floats) -> LinearHead:
    """Makes a head of the released label moments and a shop's own second moments.

    The ridge is large because the moments are noisy and the features are alike: what is lost in
    directions of small variance is less than what their noise would cost. It was chosen on weeks
    before the test window; see `docs/decisions/018-moments-for-uses.md`.

    Args:
        use: The use.
        block: The noisy sum of `[COUNT, (target - centre) x]` over users,
            `(1 + d,)`, as `shared.releases.moments.label_block` makes it.
        covariance: Mean of `x x'` over questions of the shop's own users, `(d, d)`.
    """
    mean = block[1:] / max(float(block[0]) / COUNT, 1.0)
    gram = covariance + use.ridge * np.eye(len(mean))
    coefficients = np.linalg.solve(gram, mean).astype(np.float64)
    return LinearHead(coefficients, use.label.centre, use.label.kind == "number")


def _fit_trees(use: Use, examples: Examples) -> TreesHead:
    settings: dict[str, Any] = {
        "max_iter": 80,
        "learning_rate": 0.08,
        "max_leaf_nodes": 15,
        "min_samples_leaf": 30,
        "random_state": 0,
        "early_stopping": False,
    }
    number = use.label.kind == "number"
    kind = HistGradientBoostingRegressor if number else HistGradientBoostingClassifier
    model = kind(**settings).fit(examples.table.features, target(use, examples.label))
    return TreesHead(model, number)
