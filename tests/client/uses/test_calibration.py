from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client.uses.calibration import calibrate
from client.uses.heads import LinearHead, RuleHead
from shared.uses.interface import Examples, Table
from shared.uses.registry import uses


def drawn(rng: np.random.Generator, n: int = 4_000) -> tuple[Examples, np.ndarray]:
    """Answers that are 1 with a known probability, which the rule tells on another scale."""
    odds = rng.normal(-1, 1, n)
    share = 1 / (1 + np.exp(-odds))
    units = np.arange(n)
    features = np.ones((n, 18))
    table = Table(units, np.zeros(n, np.int64), features, 30 * odds + 5, units)
    return Examples(table, (rng.random(n) < share).astype(float)), share


def test_probabilities_are_the_shares_that_answer() -> None:
    rng = np.random.default_rng(0)
    examples, share = drawn(rng)
    fitted = calibrate(uses()["churn-4w"], examples, lambda _: RuleHead(), rng=rng)
    told = fitted.probability(examples.table.rule)
    assert np.abs(told - share).mean() < 0.03
    assert (np.diff(told[np.argsort(examples.table.rule)]) >= 0).all()


def test_a_score_that_says_nothing_or_the_contrary_stays_a_rank() -> None:
    rng = np.random.default_rng(0)
    examples, _ = drawn(rng)
    use = uses()["churn-4w"]
    turned = replace(examples, table=replace(examples.table, rule=-examples.table.rule))
    assert calibrate(use, turned, lambda _: RuleHead(), rng=rng) is None
    flat = LinearHead(np.zeros(18))
    assert calibrate(use, examples, lambda _: flat, rng=rng) is None


@pytest.mark.parametrize("name", ["spend-4w", "unusual"])
def test_numbers_and_made_up_questions_have_no_probability(name: str) -> None:
    rng = np.random.default_rng(0)
    examples, _ = drawn(rng)
    assert calibrate(uses()[name], examples, lambda _: RuleHead(), rng=rng) is None
