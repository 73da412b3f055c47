"""What a shop releases: noisy counts and noisy updates, and nothing that tells how many users."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from client.federation.shop_node import ShopNode
from shared.errors import PrivacyError
from shared.interactions.events import Events
from shared.model.adapter import adapter_arrays, attach
from shared.model.profile_model import ProfileModel
from shared.model.profile_space import fit_whitening
from shared.privacy.noise import GRID, RandomSource
from shared.protocol.messages import Plan
from shared.releases.item_counts import grid_user_counts
from shared.settings.run_settings import ModelSettings

N_ITEMS, DIM = 40, 6
MODEL = ModelSettings(dim=DIM, rank=3, alpha=3.0)
RNG = np.random.default_rng(0)
WHITENING = fit_whitening(RNG.standard_normal((N_ITEMS, 16)).astype(np.float32), dim=DIM)
ITEMS = WHITENING.apply(RNG.standard_normal((N_ITEMS, 16)).astype(np.float32))
CANDIDATES = np.arange(0, N_ITEMS, 3)


def plan(**changes: object) -> Plan:
    values = {
        "rounds": 2,
        "local_steps": 1,
        "sample_rate": 1.0,
        "divisor": 10.0,
        "max_grad_norm": 0.01,
        "noise_multiplier": 0.0,
        "learning_rate": 1.0,
        "counts_noise_multiplier": 0.0,
        "counts_release": True,
        "pairs_noise_multiplier": 0.0,
        "pairs_release": True,
        "head_items": 10,
        "noise_shops": 1,
        "private": False,
        "aggregation": "frozen-a",
        "examples_per_user": 4,
        "max_context": 5,
        "max_targets": 2,
        "candidates": len(CANDIDATES),
        "physical_batch": 4,
        "scale": 3.0,
        "half_life": 10.0,
        "base_hash": "0" * 64,
        "seed": 1,
    }
    return Plan.model_validate(values | changes)


def node(events: Events, n_users: int, *, shop_id: str = "a") -> ShopNode:
    return ShopNode(
        shop_id=shop_id,
        events=events,
        n_users=n_users,
        item_vectors=ITEMS,
        base=lambda: ProfileModel(WHITENING, text_space="test"),
        settings=MODEL,
        randomness=RandomSource.from_seed,
        device=torch.device("cpu"),
    )


def shopping(users: int, *, each: int = 12, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), each)
    session = np.tile(np.arange(each) // 4, users)
    return Events.build(
        user=user, item=rng.integers(0, N_ITEMS, len(user)), time=session, session=session
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=60))
def test_adding_a_user_moves_the_counts_by_at_most_one(rows: list[tuple[int, int]]) -> None:
    user, item = [r[0] for r in rows], [r[1] for r in rows]
    everyone = grid_user_counts(Events.build(user=user, item=item, time=user), 10)
    kept = [r for r in rows if r[0] != 4]
    without = grid_user_counts(
        Events.build(user=[r[0] for r in kept], item=[r[1] for r in kept], time=[0] * len(kept)), 10
    )
    square = sum(int(x) ** 2 for x in everyone - without)
    assert square <= GRID * GRID  # exactly: what the proof in docs/privacy.md needs
    assert square == pytest.approx(GRID * GRID if len(kept) < len(rows) else 0, rel=1e-5)


def test_counts_weigh_each_user_by_the_root_of_its_items() -> None:
    events = Events.build(user=[0, 0, 0, 1], item=[2, 2, 5, 5], time=[0, 1, 2, 0])
    expected = np.zeros(N_ITEMS)
    expected[2], expected[5] = 2**-0.5, 2**-0.5 + 1.0
    assert node(events, 2).item_counts(plan=plan()) / GRID == pytest.approx(expected, abs=1e-5)


def test_pairs_without_noise_are_a_loop_over_the_users() -> None:
    histories = [[2, 2, 5, 7], [5, 7], [2], [9, 5, 7, 2]]
    head = np.array([2, 5, 7])
    user = [u for u, items in enumerate(histories) for _ in items]
    item = [i for items in histories for i in items]
    expected = dict.fromkeys(combinations(head.tolist(), 2), 0.0)
    for items in histories:
        mine = list(combinations(sorted(set(items) & set(head.tolist())), 2))
        for pair in mine:
            expected[pair] += len(mine) ** -0.5
    shop = node(Events.build(user=user, item=item, time=[0] * len(item)), 4)
    found = shop.pair_sums(plan=plan(), head=head)
    assert found.dtype == np.int64
    assert found / GRID == pytest.approx(list(expected.values()), abs=1e-5)


def test_what_is_no_head_is_refused() -> None:
    empty = node(Events.build(user=[], item=[], time=[]), 0)
    for bad in (np.arange(11), np.array([3, 2]), np.array([0, N_ITEMS])):
        with pytest.raises(PrivacyError, match="head"):
            empty.pair_sums(plan=plan(), head=bad)


def released_noise(shop: ShopNode, the_plan: Plan) -> dict[str, np.ndarray]:
    """The three releases of a shop without users, each in units of its sensitivity."""
    unit = the_plan.learning_rate / the_plan.divisor
    return {
        "counts": shop.item_counts(plan=the_plan) / GRID,
        "pairs": shop.pair_sums(plan=the_plan, head=np.arange(10)) / GRID,
        "update": update(shop, the_plan).ravel() / unit,
    }


@pytest.mark.slow
def test_one_shop_adds_a_share_of_the_noise_and_all_together_add_the_whole() -> None:
    """Five shops without users: each has variance 9 / 5, their sum has 9."""
    noises = {
        "noise_multiplier": 3.0,
        "counts_noise_multiplier": 3.0,
        "pairs_noise_multiplier": 3.0,
        "noise_shops": 5,
    }
    nobody = Events.build(user=[], item=[], time=[])
    shops = [node(nobody, 0, shop_id=name) for name in "abcde"]
    released = [
        [released_noise(shop, plan(seed=seed, **noises)) for shop in shops] for seed in range(60)
    ]
    for name in ("counts", "pairs", "update"):
        each = np.array([[shop[name] for shop in run] for run in released])
        assert each.std() == pytest.approx(3 / 5**0.5, rel=0.04)
        assert each.sum(axis=1).std() == pytest.approx(3.0, rel=0.08)


def update(shop: ShopNode, the_plan: Plan, *, number: int = 1) -> np.ndarray:
    base = attach(shop.base(), MODEL, seed=1)
    moved = shop.train(
        adapter=adapter_arrays(base), plan=the_plan, round=number, candidates=CANDIDATES
    )
    assert len(moved) == 1
    return next(iter(moved.values())) * the_plan.update_scale


def test_an_update_is_the_mean_of_clipped_gradients_by_the_public_divisor() -> None:
    one = node(shopping(1), 1)
    assert np.linalg.norm(update(one, plan())) == pytest.approx(1 / 10, rel=1e-3)
    assert np.linalg.norm(update(one, plan(divisor=20.0))) == pytest.approx(1 / 20, rel=1e-3)


def test_noise_repeats_with_seed_round_and_shop_and_with_nothing_less() -> None:
    noisy = plan(noise_multiplier=2.0)
    first = update(node(shopping(3), 3), noisy)
    assert np.array_equal(first, update(node(shopping(3), 3), noisy))
    for other in (
        update(node(shopping(3), 3), noisy, number=2),
        update(node(shopping(3), 3, shop_id="b"), noisy),
        update(node(shopping(3), 3), plan(noise_multiplier=2.0, seed=2)),
    ):
        assert np.abs(other - first).max() > 0.05


def test_training_without_noise_learns_what_is_bought_together() -> None:
    """Users buy pairs (2k, 2k + 1): after training a basket of one half scores the other higher."""
    rng = np.random.default_rng(3)
    pair = rng.integers(0, N_ITEMS // 2, 200)
    user = np.repeat(np.arange(20), 20)
    item = np.stack([2 * pair, 2 * pair + 1], axis=1).ravel()
    session = np.repeat(np.arange(200), 2)
    events = Events.build(user=user, item=item, time=session, session=session)
    shop = node(events, 20)
    base = attach(shop.base(), MODEL, init="random", seed=1)
    adapter = adapter_arrays(base)
    the_plan = plan(learning_rate=0.5, max_grad_norm=100.0, divisor=0.2, aggregation="average")
    for number in range(1, 31):
        moved = shop.train(
            adapter=adapter, plan=the_plan, round=number, candidates=np.arange(N_ITEMS)
        )
        adapter = {
            name: (adapter[name] + moved[name] * the_plan.update_scale).astype(np.float32)
            for name in adapter
        }

    def margin(arrays: dict[str, np.ndarray]) -> float:
        from shared.model.profile_space import project_profiles, projection_matrix

        scores = project_profiles(projection_matrix(arrays, MODEL), ITEMS) @ ITEMS.T
        partner = np.arange(N_ITEMS) ^ 1
        return float((scores[np.arange(N_ITEMS), partner] - scores.mean(axis=1)).mean())

    assert margin(adapter) > margin(adapter_arrays(base)) + 0.1
