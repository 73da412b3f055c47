"""Whoever knows all other users asks, number by number, whether a world can be ruled out.

Noise in floating point leaves low bits that only one world can have given (Mironov 2012,
https://doi.org/10.1145/2382196.2382264); whole numbers with discrete noise leave none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from client.federation.shop_node import ShopNode
from client.training.clip_and_noise import PrivateOptimizer, clip_to_grid
from shared.interactions.events import Events
from shared.model.profile_model import ProfileModel
from shared.privacy import noise
from shared.privacy.noise import GRID, RandomSource, grid_variance
from shared.releases.item_counts import grid_user_counts
from shared.releases.pair_sums import grid_pair_sums
from tests.client.federation.test_shop_node import MODEL, WHITENING, plan

TRIALS, ITEMS = 10_000, 12
HEAD = np.arange(5)
NOISE = 0.775  # that of pair sums at epsilon 8
PLAN = plan(counts_noise_multiplier=NOISE, pairs_noise_multiplier=NOISE)
Whole = np.ndarray[Any, np.dtype[np.int64]]


def shop(users: list[list[int]]) -> ShopNode:
    return ShopNode(
        shop_id="a",
        events=events_of(users),
        n_users=len(users),
        item_vectors=np.zeros((ITEMS, MODEL.dim), np.float32),
        base=lambda: ProfileModel(WHITENING, text_space="test"),
        settings=MODEL,
        randomness=lambda *_: RandomSource.from_os(),
        device=torch.device("cpu"),
    )


def events_of(users: list[list[int]]) -> Events:
    user = [u for u, items in enumerate(users) for _ in items]
    item = [i for items in users for i in items]
    return Events.build(user=user, item=item, time=[0] * len(item))


OTHERS = [[0, 1, 2], [1, 2, 3, 7], [4], [5, 6, 7, 8, 9], [0, 4]]
TARGET = [0, 1, 4, 11]


def is_excluded(released: Whole, world: Whole, variance: int) -> bool:
    """Whether no noise can have given these numbers in a world: the attacker is then certain."""
    assert released.dtype == np.int64  # a fraction would tell at once
    coarse, fine, step = noise._split(variance)
    reach = noise._table(fine).reach + (step * noise._table(coarse).reach if step else 0)
    return bool((np.abs(released - world) > reach).any())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["counts", "pairs"])
def test_no_release_of_statistics_rules_a_world_out(kind: str) -> None:
    with_target, without = shop([*OTHERS, TARGET]), shop(OTHERS)
    if kind == "counts":
        worlds = [grid_user_counts(node.events, ITEMS) for node in (with_target, without)]
        variance = PLAN.own_variance(PLAN.counts_noise_multiplier)
    else:
        worlds = [grid_pair_sums(node.events, HEAD) for node in (with_target, without)]
        variance = PLAN.own_variance(PLAN.pairs_noise_multiplier)
    assert (worlds[0] != worlds[1]).any()
    excluded = 0
    for trial in range(TRIALS):
        node = (with_target, without)[trial % 2]
        released = (
            node.item_counts(plan=PLAN)
            if kind == "counts"
            else node.pair_sums(plan=PLAN, head=HEAD)
        )
        excluded += any(is_excluded(released, world, variance) for world in worlds)
    assert excluded == 0


@pytest.mark.slow
def test_no_step_of_training_rules_a_world_out() -> None:
    gradients = torch.from_numpy(np.random.default_rng(1).normal(size=(6, 4))).float()
    variance = grid_variance(NOISE)
    whole = clip_to_grid([gradients], max_norm=0.5)[0].long().numpy()
    worlds = [whole.sum(axis=0), whole[:-1].sum(axis=0)]
    excluded = 0
    for trial in range(TRIALS):
        p = nn.Parameter(torch.zeros(4))
        p.grad_sample = gradients[: 6 - trial % 2].clone()  # type: ignore[attr-defined]
        optimizer = PrivateOptimizer(
            torch.optim.SGD([p], lr=1.0),
            noise_variance=variance,
            max_grad_norm=0.5,
            divisor=1.0,
            random=RandomSource.from_os(),
        )
        optimizer.step()
        released = optimizer.released[0].numpy()
        excluded += any(is_excluded(released, world, variance) for world in worlds)
    assert excluded == 0


def test_the_same_attack_rules_worlds_out_where_noise_is_floating_point() -> None:
    """What was released before, attacked in the same way: the attack is one."""
    rng = np.random.default_rng(2)
    worlds = [
        grid_user_counts(events_of(users), ITEMS) / GRID for users in ([*OTHERS, TARGET], OTHERS)
    ]
    certain = 0
    for trial in range(200):
        drawn = rng.normal(0, NOISE, ITEMS).astype(np.float32)
        released = (worlds[trial % 2] + drawn).astype(np.float32)
        wrong = worlds[1 - trial % 2]
        # Float32 noise near the difference: whether any of it gives what was released.
        near = [(released - wrong).astype(np.float32)]
        for _ in range(3):
            near = [near[0], *(np.nextafter(n, np.float32(s)) for n in near for s in (-9, 9))]
        possible = np.any([(wrong + n).astype(np.float32) == released for n in near], axis=0)
        certain += not possible.all()
    assert certain > 20
