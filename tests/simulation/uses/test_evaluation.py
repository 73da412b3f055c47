from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from dp_accounting.gaussian_mechanism import get_epsilon_gaussian

from shared.uses.history import Campaigns, History
from shared.uses.interface import Use
from shared.uses.registry import uses
from simulation.uses.evaluation import Protocol, draw, evaluate_uses
from simulation.uses.federation import MomentsPlan, released
from simulation.uses.histories import UsesData, joined_histories
from simulation.uses.report import to_json
from tests.shared.uses.small_history import END, FIRST, small_history

PLAN = MomentsPlan(epsilon=8.0, delta=1e-6, share=0.2, noise="shop")


@pytest.fixture(scope="module")
def data() -> UsesData:
    histories = tuple(small_history(seed) for seed in range(3))
    chain = replace(joined_histories(histories), promotions=histories[0].promotions)
    return UsesData(("a", "b", "c"), (), histories, chain, FIRST, END - 56, END - 28, END)


def protocol(plan: MomentsPlan = PLAN) -> Protocol:
    return Protocol("test", plan, seeds=2, own_users=5, draws=30, seed=0)


def test_all_uses_give_rows_with_intervals(data: UsesData) -> None:
    report = json.loads(
        json.dumps(to_json(list(evaluate_uses(data, list(uses().values()), protocol()))))
    )
    assert set(report) == set(uses())
    for name, rows in report.items():
        release = uses()[name].release == "moments" or bool(uses()[name].borrows)
        assert {"rule", "local", "pooled"} <= set(rows)
        assert ("federated" in rows) == release
        for metrics in (m for row, m in rows.items() if row != "new-shop"):
            for value in metrics.values():
                assert value["low"] <= value["mean"] <= value["high"]
        if release:
            assert set(rows["new-shop"]) == {"rule", "local", "pooled", "federated"}


@pytest.mark.parametrize("use", uses().values(), ids=lambda u: u.name)
def test_heads_are_fitted_to_nothing_that_the_test_window_tells(data: UsesData, use: Use) -> None:
    start = END - max(use.label.horizon, 28)
    changed = tuple(
        replace(h, events=h.events.select(h.events.time < start), campaigns=_unanswered(h, start))
        for h in data.histories
    )
    chain = replace(joined_histories(changed), promotions=data.chain.promotions)
    other = replace(data, histories=changed, chain=chain)
    for a, b in zip(draw(use, data, "test"), draw(use, other, "test"), strict=True):
        assert len(a.train)
        np.testing.assert_array_equal(a.train.label, b.train.label)
        np.testing.assert_array_equal(a.train.table.features, b.train.table.features)


def _unanswered(history: History, start: float) -> Campaigns:
    sent = history.campaigns
    return replace(sent, answered=np.where(sent.answered >= start, np.inf, sent.answered))


@pytest.mark.parametrize("noise", ["shop", "shared"])
def test_noise_is_new_for_each_seed_and_federation_and_of_the_planned_size(
    noise: Literal["shop", "shared"],
) -> None:
    plan = replace(PLAN, noise=noise)
    n_shops = 8
    # Of eight shops one may be missing and two may help the server: five are sure to add theirs.
    shares = n_shops if noise == "shop" else n_shops / 5
    federated = [use for use in uses().values() if use.release == "moments"]
    width = sum(1 + len(use.columns) for use in federated)
    nothing = [np.zeros(width, dtype=np.int64)] * n_shops

    def drawn(seed: int, run: str) -> np.ndarray:
        blocks = released(nothing, federated, plan, seed=seed, run=run)
        scales = [use.bound * len(federated) ** 0.5 for use in federated]
        return np.concatenate(
            [blocks[use.name] / s for use, s in zip(federated, scales, strict=True)]
        )

    many = np.concatenate([drawn(seed, "all") for seed in range(40)])
    assert many.std() == pytest.approx(plan.noise_multiplier * shares**0.5, rel=0.1)
    assert (drawn(0, "all") != drawn(0, "without-1")).all()
    np.testing.assert_array_equal(drawn(0, "all"), drawn(0, "all"))


def test_with_the_rest_of_the_budget_the_release_makes_the_whole_epsilon() -> None:
    whole = PLAN.noise_multiplier * PLAN.share**0.5
    assert 7.99 < get_epsilon_gaussian(whole, PLAN.delta) <= 8.0
