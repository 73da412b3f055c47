"""Plans and candidates depend on public values alone."""

from __future__ import annotations

import numpy as np
import pytest

from server.federation.public_plan import (
    CandidateSource,
    draw_candidates,
    learning_rate,
    make_plan,
    mechanisms_of,
)
from shared.errors import ConfigError
from shared.privacy.accounting.accountants import guarantee
from shared.releases.noisy_statistics import denoise_counts
from shared.settings.run_settings import (
    ModelSettings,
    PrivacySettings,
    RunSettings,
    TrainingSettings,
)
from shared.settings.sources import check_settings

BASE = "b" * 64
MODEL = ModelSettings(scale=3.0, half_life=120.0)


def test_the_planned_releases_meet_the_budget_together() -> None:
    settings = RunSettings(model=MODEL, training=TrainingSettings(rounds=4, local_steps=2))
    mechanisms = mechanisms_of(settings)
    assert [(m.name, m.steps) for m in mechanisms] == [
        ("dp-sgd", 8),
        ("item-counts", 1),
        ("pair-sums", 1),
    ]
    found = guarantee(mechanisms, delta=settings.privacy.delta)
    assert 7.9 < found.epsilon <= 8.0
    plan = make_plan(settings, mechanisms, n_shops=19, n_trained=4096, base_hash=BASE)
    assert plan.private
    assert plan.counts_release
    assert plan.noise_multiplier == mechanisms[0].noise_multiplier
    assert plan.pairs_noise_multiplier == mechanisms[2].noise_multiplier
    assert (plan.pairs_release, plan.head_items, plan.noise_shops) == (True, 1000, 1)


def test_shared_noise_is_that_of_the_sum_and_the_step_size_follows_what_a_shop_adds() -> None:
    shared = RunSettings(model=MODEL, privacy=PrivacySettings(noise="shared"))
    alone = RunSettings(model=MODEL)
    together = make_plan(shared, mechanisms_of(shared), n_shops=16, n_trained=99, base_hash=BASE)
    each = make_plan(alone, mechanisms_of(alone), n_shops=16, n_trained=99, base_hash=BASE)
    assert together.noise_shops == 10  # of 16 one may be missing and five may help the server
    assert together.noise_multiplier == each.noise_multiplier
    own = each.noise_multiplier / 10**0.5
    assert together.own_noise(together.noise_multiplier) == pytest.approx(own)
    assert together.learning_rate == learning_rate(
        together.own_noise(together.noise_multiplier), divisor=100, n_shops=16, n_trained=99
    )
    privacy = PrivacySettings(noise="shared", max_missing=2, max_colluding=0)
    wide = RunSettings(model=MODEL, privacy=privacy)
    plan = make_plan(wide, mechanisms_of(wide), n_shops=16, n_trained=99, base_hash=BASE)
    assert plan.noise_shops == 14
    silent = make_plan(shared, (), n_shops=16, n_trained=99, base_hash=BASE)
    assert (silent.private, silent.noise_shops) == (False, 1)


def test_a_budget_without_training_plans_no_rounds() -> None:
    privacy = PrivacySettings(counts_share=0.25, pairs_share=0.75, adapter_share=0)
    settings = RunSettings(model=MODEL, privacy=privacy)
    plan = make_plan(settings, mechanisms_of(settings), n_shops=3, n_trained=9, base_hash=BASE)
    assert (plan.rounds, plan.noise_multiplier, plan.private) == (0, 0.0, True)
    assert plan.pairs_noise_multiplier * 3**0.5 == pytest.approx(
        plan.counts_noise_multiplier, rel=1e-3
    )


@pytest.mark.parametrize(
    ("part", "change", "text"),
    [
        ("federation", {"robust": "median"}, "federation.robust=median needs single updates"),
        ("federation", {"max_update_norm": 1.0}, "federation.max_update_norm=1.0 needs single"),
        ("training", {"local_steps": 2}, "local_steps=2 must be 1 with noise=shared"),
    ],
)
def test_what_needs_single_updates_is_refused_with_shared_noise(
    part: str, change: dict[str, object], text: str
) -> None:
    values = {part: change, "privacy": {"noise": "shared"}}
    with pytest.raises(ConfigError, match=text) as refused:
        check_settings(values)
    assert "\n" not in str(refused.value)
    check_settings({part: change})


def test_without_privacy_nothing_is_noisy_and_the_plan_says_so() -> None:
    settings = RunSettings(model=MODEL, privacy=PrivacySettings(epsilon=None))
    plan = make_plan(settings, mechanisms_of(settings), n_shops=3, n_trained=10, base_hash=BASE)
    assert not plan.private
    assert plan.noise_multiplier == plan.counts_noise_multiplier == 0
    assert plan.learning_rate == 1.0


def test_learning_rate_falls_with_noise_and_rises_with_shops() -> None:
    rates = [
        learning_rate(s, divisor=100, n_shops=19, n_trained=4096) for s in (0.0, 1.8, 4.2, 11.0)
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[1] == pytest.approx(1 / (1 + 1.8 * (4096 / 19) ** 0.5 / 100))
    assert learning_rate(4.2, divisor=100, n_shops=100, n_trained=4096) > rates[2]


def test_candidates_follow_popularity_and_leave_no_item_out() -> None:
    popularity = np.array([0.0, 1.0, 9.0], dtype=np.float32)
    drawn = draw_candidates(3, size=20_000, seed=1, server_round=1, popularity=popularity)
    share = np.bincount(drawn, minlength=3) / len(drawn)
    floor = 0.1 * popularity.mean()
    assert share == pytest.approx((popularity + floor) / (10 + 3 * floor), abs=0.015)
    assert share[0] > 0


def test_candidates_repeat_with_seed_and_round_only() -> None:
    def draw(seed: int, number: int) -> list[int]:
        codes = draw_candidates(1000, size=50, seed=seed, server_round=number, popularity=None)
        return [int(c) for c in codes]

    assert draw(1, 1) == draw(1, 1)
    assert draw(1, 1) != draw(1, 2)
    assert draw(1, 1) != draw(2, 1)


def test_candidates_are_as_popular_as_counts_say_against_the_noise_of_all_shops() -> None:
    """Nine shops, each with its own noise: the sum has three times the noise of one."""
    n_items, size = 40, 4000
    settings = RunSettings(model=MODEL, training=TrainingSettings(candidates=size))
    plan = make_plan(settings, mechanisms_of(settings), n_shops=9, n_trained=9, base_hash=BASE)
    rng = np.random.default_rng(0)
    each = plan.counts_noise_multiplier
    vectors = rng.normal(size=(n_items, 4)).astype(np.float32)
    clean = np.where(np.arange(n_items) % 8 == 0, 20 * each, each)
    counts = (clean + rng.normal(0, 3 * each, n_items)).astype(np.float32)

    def drawn(std: float | None) -> list[int]:
        popularity = None if std is None else denoise_counts(counts, vectors, std=std)
        codes = draw_candidates(
            n_items, size=size, seed=plan.seed, server_round=2, popularity=popularity
        )
        return [int(code) for code in codes]

    source = CandidateSource(plan, lambda: vectors, n_items=n_items)
    assert source(2, None, 0).tolist() == drawn(None)
    assert source(2, counts, 9).tolist() == drawn(3 * each) != drawn(each)
