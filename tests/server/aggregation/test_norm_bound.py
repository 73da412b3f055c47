"""No honest update passes the bound, and nothing far above what the mechanism gives does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from server.aggregation import update_checks as norm_bound
from server.aggregation.update_checks import (
    UpdateRefusedError,
    check_norm,
    statistic_bound,
    update_bound,
)
from server.federation.public_plan import make_plan, mechanisms_of
from shared.flower.reply_codes import RefusalCode
from shared.interactions.events import Events
from shared.privacy.noise import GRID, grid_variance
from shared.protocol.messages import Plan
from shared.releases.item_counts import grid_user_counts
from shared.releases.pair_sums import pair_sums
from shared.settings.run_settings import (
    ModelSettings,
    PrivacySettings,
    RunSettings,
    TrainingSettings,
)
from tests.client.training.test_dp_sgd import SPEC, USERS, SoftmaxLoss, flat, train


def plan_of(privacy: PrivacySettings | None = None, **training: float) -> Plan:
    settings = RunSettings(
        model=ModelSettings(scale=3.0, half_life=120.0),
        training=TrainingSettings.model_validate(training),
        privacy=privacy or PrivacySettings(),
    )
    mechanisms = mechanisms_of(settings)
    return make_plan(settings, mechanisms, n_shops=3, n_trained=8192, base_hash="b" * 64)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("noise", [0.0, 1.0, 30.0])
def test_what_the_trainer_gives_stays_below_the_bound(noise: float, steps: int) -> None:
    clip = 1e-4  # far below the gradients: every user counts in full
    spec = replace(SPEC, max_grad_norm=clip, noise_variance=grid_variance(noise), steps=steps)
    update = flat(train(SoftmaxLoss(), spec))
    plan = plan_of().model_copy(
        update={
            "divisor": spec.divisor,
            "learning_rate": spec.learning_rate,
            "max_grad_norm": clip,
            "local_steps": steps,
            "noise_multiplier": noise,
        }
    )
    bound = update_bound(plan, size=update.numel(), max_users=USERS)
    assert bound is not None
    assert 0.02 * bound < float(update.norm()) <= bound


def test_gradients_that_all_agree_meet_the_bound_without_noise() -> None:
    plan = plan_of().model_copy(update={"noise_multiplier": 0.0, "local_steps": 3})
    honest = 3 * 250 * plan.learning_rate / plan.divisor
    bound = update_bound(plan, size=4096, max_users=250)
    assert honest <= bound <= honest * 1.002  # type: ignore[operator]


@pytest.mark.parametrize("size", [1, 2, 30, 3000])
def test_noise_passes_the_bound_as_rarely_as_it_says(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norm_bound, "REFUSED_BY_CHANCE", 0.05)
    draws = np.random.default_rng(1).normal(0, 2.0, (2000, size))
    passed = (np.linalg.norm(draws, axis=1) > norm_bound._noise_bound(2.0, size)).mean()
    assert passed <= 0.05 + 3 * np.sqrt(0.05 / 2000)


def test_a_norm_of_a_million_is_refused_and_the_reason_holds_no_number_of_the_update() -> None:
    plan = plan_of()
    bound = update_bound(plan, size=8192, max_users=1_000_000)
    huge = np.full((32, 256), 1e6 / np.sqrt(8192), np.float32)
    with pytest.raises(UpdateRefusedError) as caught:
        check_norm({"B": huge}, bound=bound)
    assert caught.value.code is RefusalCode.NORM
    assert "1e+06" not in caught.value.remedy
    check_norm({"B": huge}, bound=None)


@pytest.mark.parametrize("kind", ["counts", "pairs"])
def test_statistics_are_bounded_by_users_and_noise(kind: str) -> None:
    """Users who all have the same one item, or two head items, make the longest honest sums."""
    plan = plan_of()
    users, n_items, head = 300, 2000, np.arange(64)
    if kind == "counts":
        events = Events.build(user=np.arange(users), item=[7] * users, time=[0] * users)
        sums, std = grid_user_counts(events, n_items) / GRID, plan.counts_noise_multiplier
    else:
        pair = {"user": np.repeat(np.arange(users), 2), "item": [7, 9] * users}
        sums = pair_sums(Events.build(**pair, time=[0] * 2 * users), head)
        std = plan.pairs_noise_multiplier
    assert sums.max() == pytest.approx(np.linalg.norm(sums)) == pytest.approx(users, rel=1e-5)
    bound = statistic_bound(plan, kind, size=len(sums), max_users=users)
    assert bound is not None
    noise = np.random.default_rng(2).normal(0, std, len(sums))
    assert 0.5 * bound < np.linalg.norm(sums + noise) <= bound


def test_single_updates_are_not_looked_at_where_noise_is_shared() -> None:
    plan = plan_of(PrivacySettings(noise="shared"))
    assert plan.noise_shops == 2
    assert update_bound(plan, size=10, max_users=1) is None
    assert statistic_bound(plan, "counts", size=10, max_users=1) is None
