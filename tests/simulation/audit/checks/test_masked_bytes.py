"""Masked bytes are uniform, and a mask that is missing, short or shared shows."""

from __future__ import annotations

import os

import numpy as np
import pytest

from shared.privacy.noise import GRID
from shared.secure_aggregation.masks import Residues, add_mask, pack, residues
from simulation.audit.checks.masked_bytes import (
    MaskedNumbers,
    masked_p_values,
    shared_mask_p_values,
)
from simulation.audit.checks.residual_tests import smallest

N = 6_000
CLEAN = np.random.default_rng(0).integers(-9 * GRID, 9 * GRID, N)
KEY = os.urandom(32)


def numbers(*keys: bytes, name: str = "a", low: int = 48) -> MaskedNumbers:
    """Numbers under the masks of some keys, of which so many low bits count."""
    total = residues(CLEAN)
    for key in keys:
        mask: Residues = np.zeros(N, dtype=np.uint64)
        add_mask(mask, key)
        total += mask & np.uint64(2**low - 1)
    return MaskedNumbers(name, "run", pack(total))


def least(masked: MaskedNumbers) -> float:
    return smallest(masked_p_values(masked))[1]


def test_honest_masks_are_uniform() -> None:
    assert least(numbers(os.urandom(32))) > 1e-6


def test_false_alarms_are_as_rare_as_they_should_be() -> None:
    alarms = sum(least(numbers(os.urandom(32))) < 0.05 for _ in range(100))
    assert alarms <= 15  # 5 expected at most; more than 15 in one of 10,000


def test_numbers_without_a_mask_show() -> None:
    assert least(numbers()) < 1e-9


@pytest.mark.parametrize("low", [47, 44, 40])
def test_a_mask_that_leaves_high_bits_shows(low: int) -> None:
    assert least(numbers(KEY, low=low)) < 1e-9


def test_a_mask_of_whole_units_leaves_low_bytes_as_they_are() -> None:
    total = residues(GRID * (CLEAN // GRID))
    mask: Residues = np.zeros(N, dtype=np.uint64)
    add_mask(mask, KEY)
    total += mask << np.uint64(20)
    tests = masked_p_values(MaskedNumbers("a", "run", pack(total)))
    assert tests["byte 0"] < 1e-9
    assert tests["spread"] > 1e-6


def test_a_repeated_block_of_masks_shows() -> None:
    content = numbers(KEY).content
    twice = MaskedNumbers("a", "run", content[: len(content) // 2] * 2)
    assert masked_p_values(twice)["repeated numbers"] < 1e-9


def test_a_mask_used_twice_shows_whatever_its_sign() -> None:
    first, second = numbers(KEY, name="a"), numbers(KEY, name="b")
    opposite = MaskedNumbers("c", "run", pack(residues(CLEAN) - second.numbers))
    other = numbers(os.urandom(32), name="d")
    tests = shared_mask_p_values([first, second, opposite, other])
    assert tests["mask of a in b"] < 1e-9
    assert tests["mask of a in c"] < 1e-9
    assert tests["mask of a in d"] > 1e-6


def test_releases_of_other_lengths_and_runs_are_not_compared() -> None:
    first = numbers(KEY)
    shorter = MaskedNumbers("b", "run", first.content[:600])
    assert not shared_mask_p_values([first, shorter, MaskedNumbers("c", "next", first.content)])


def test_few_numbers_and_none_pass() -> None:
    assert smallest(masked_p_values(MaskedNumbers("a", "run", b"")))[1] == 1.0
    assert least(MaskedNumbers("a", "run", os.urandom(60))) > 1e-6
