from __future__ import annotations

import numpy as np
import pytest

from client.uses.choice import choose
from client.uses.heads import LinearHead, RuleHead, fit_local, fit_toward, head_of_moments
from shared.releases.moments import grid_user_moments, label_block, user_blocks
from shared.uses.interface import Examples, Table, Use
from shared.uses.registry import uses


@pytest.fixture
def use() -> Use:
    return uses()["churn-4w"]


def made(n: int, *, seed: int, signal: float = 2.0, rule_knows: bool = False) -> Examples:
    """Users whose second feature tells the label; the rule knows it, or knows nothing."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.normal(size=(n, 17)) / 2])
    odds = signal * x[:, 1] * 2 - 1
    label = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(float)
    rule = odds if rule_knows else rng.normal(size=n)
    none = np.zeros(n, dtype=np.int64)
    return Examples(Table(np.arange(n), none, x, rule, none), label)


def test_a_local_head_learns_what_tells_the_label(use: Use) -> None:
    head = fit_local(use, made(500, seed=0))
    assert isinstance(head, LinearHead)
    assert np.argmax(np.abs(head.coefficients[1:])) == 0


def test_examples_with_one_answer_leave_the_rule(use: Use) -> None:
    examples = made(20, seed=0)
    assert isinstance(fit_local(use, Examples(examples.table, np.zeros(20))), RuleHead)
    assert isinstance(fit_local(use, examples.select(np.zeros(20, bool))), RuleHead)


def test_no_examples_leave_the_head_of_all_shops(use: Use) -> None:
    prior = LinearHead(np.arange(18.0), 0.2)
    none = made(9, seed=0).select(np.zeros(9, bool))
    np.testing.assert_array_equal(
        fit_toward(use, prior, none, strength=5).coefficients, prior.coefficients
    )


def test_more_examples_move_it_further(use: Use) -> None:
    prior = LinearHead(np.zeros(18))
    few, many = (
        fit_toward(use, prior, made(n, seed=1), strength=100.0).coefficients[1] for n in (10, 2000)
    )
    assert 0 < few < many


def test_moments_of_all_shops_make_the_head_that_ranks(use: Use) -> None:
    examples = made(3000, seed=2)
    block = label_block(examples, examples.label, n_users=3000, centre=use.label.centre)
    sums = grid_user_moments([block, block], [use.bound, use.bound])
    first, second = user_blocks(sums.astype(float), [19, 19], [use.bound] * 2)
    np.testing.assert_array_equal(first, second)
    x = examples.table.features
    head = head_of_moments(use, first, x.T @ x / len(x))
    assert np.argmax(np.abs(head.coefficients[1:])) == 0


def test_the_rule_is_served_where_no_head_beats_it(use: Use) -> None:
    examples = made(300, seed=3, signal=0.4, rule_knows=True)
    name, head = choose(
        use,
        examples,
        {"local": lambda e: fit_local(use, e)},
        default="local",
        rng=np.random.default_rng(0),
    )
    assert name == "rule"
    assert isinstance(head, RuleHead)


def test_the_head_is_served_where_it_beats_the_rule(use: Use) -> None:
    name, _ = choose(
        use,
        made(300, seed=4),
        {"local": lambda e: fit_local(use, e)},
        default="rule",
        rng=np.random.default_rng(0),
    )
    assert name == "local"


def test_too_few_users_take_the_default(use: Use) -> None:
    name, _ = choose(
        use,
        made(10, seed=4),
        {"local": lambda e: fit_local(use, e)},
        default="rule",
        rng=np.random.default_rng(0),
    )
    assert name == "rule"
