"""A plan from anybody: no field is out of its bounds, and the page tells the same bounds."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from pydantic import ValidationError

from shared.errors import ConfigError
from shared.privacy.noise import MAX_VARIANCE, grid_variance
from shared.protocol.messages import Plan
from shared.settings.plan_bounds import MAX_NOISE
from shared.settings.run_settings import TrainingSettings
from shared.settings.sources import load_settings
from tests import ROOT

PLAN = {
    "rounds": 1,
    "local_steps": 1,
    "sample_rate": 1.0,
    "divisor": 10.0,
    "max_grad_norm": 1.0,
    "noise_multiplier": 1.0,
    "learning_rate": 1.0,
    "counts_noise_multiplier": 1.0,
    "counts_release": True,
    "pairs_noise_multiplier": 1.0,
    "pairs_release": True,
    "head_items": 10,
    "noise_shops": 1,
    "private": True,
    "aggregation": "frozen-a",
    "examples_per_user": 1,
    "max_context": 1,
    "max_targets": 1,
    "candidates": 1,
    "physical_batch": 1,
    "scale": 1.0,
    "half_life": 1.0,
    "base_hash": "0" * 64,
    "seed": 1,
}


def bounds_of(name: str) -> tuple[float, float]:
    """Returns the least and the largest value of a field."""
    least, most = -math.inf, math.inf
    for rule in Plan.model_fields[name].metadata:
        least, most = getattr(rule, "ge", least), getattr(rule, "le", most)
    return least, most


NUMBERS = [name for name, f in Plan.model_fields.items() if f.annotation in (int, float)]


def test_every_field_is_a_number_between_two_bounds_or_one_of_few_words() -> None:
    others = set(Plan.model_fields) - set(NUMBERS)
    assert others == {
        "counts_release",
        "pairs_release",
        "private",
        "aggregation",
        "base_hash",
        "roster",
    }
    assert all(math.isfinite(bound) for name in NUMBERS for bound in bounds_of(name))


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_accepted_at_its_bounds_and_refused_beyond(name: str) -> None:
    least, most = bounds_of(name)
    for inside in (least, most):
        assert getattr(Plan.model_validate(PLAN | {name: inside}), name) == inside
    step = 1 if isinstance(PLAN[name], int) else 1e-9
    beyond: list[Any] = [least - step, most + max(step, abs(most) * 1e-9), -1, True, "1", None]
    if isinstance(PLAN[name], int):
        beyond[1], most = int(most) + 1, int(most)
        beyond.append(1.5)
    else:
        beyond += [math.nan, math.inf, -math.inf, 5e-324 if least > 0 else -5e-324]
    for value in beyond:
        with pytest.raises(ValidationError):
            Plan.model_validate(PLAN | {name: value})


@pytest.mark.parametrize(
    "change",
    [
        {"base_hash": "0" * 63},
        {"base_hash": "0" * 64 + "\n"},
        {"base_hash": "G" * 64},
        {"aggregation": "none"},
        {"private": 1},
        {"counts_release": "yes"},
        {"further": 1},
    ],
)
def test_anything_else_is_refused_too(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate(PLAN | change)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"examples_per_user": 1000, "max_context": 16, "max_targets": 1}, r"=17000 must be at"),
        ({"physical_batch": 65_536, "candidates": 64}, r"physical_batch \* items of a user="),
        (
            {"physical_batch": 512, "examples_per_user": 1000, "candidates": 4000},
            r"physical_batch \* examples_per_user \* candidates=",
        ),
    ],
)
def test_numbers_that_are_too_large_together_are_refused_by_shop_and_command(
    sizes: dict[str, int], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Plan.model_validate(PLAN | sizes)
    small = {"max_context": 1, "max_targets": 1, "examples_per_user": 1} | sizes
    options = {f"training.{name}": value for name, value in small.items()}
    with pytest.raises(ConfigError, match=message):
        load_settings(file=None, environment={}, options=options)


def test_what_a_run_may_set_a_shop_accepts() -> None:
    """Each setting of training has the bounds of the plan, or narrower ones."""
    for name, field in TrainingSettings.model_fields.items():
        for value in bounds_of(name):
            if name == "rounds" and value == 0:
                continue  # a plan of statistics alone
            for rule in field.metadata:
                assert getattr(rule, "ge", value) <= value <= getattr(rule, "le", value), name


def test_the_largest_noise_is_within_what_the_sampler_draws() -> None:
    assert grid_variance(MAX_NOISE) < MAX_VARIANCE
    # Deviations over 10,000 steps of 10,000 shops, eight of them: within int64.
    assert 8 * math.isqrt(grid_variance(MAX_NOISE) * 10**4 * 10**4) < 2**63


def test_the_page_lists_each_number_with_its_bounds() -> None:
    page = (ROOT / "docs" / "federation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d.e+-]+) \| ([\d.e+-]+) \|", page, flags=re.MULTILINE)
    listed = {name: (float(least), float(most)) for name, least, most in rows}
    assert listed == {name: bounds_of(name) for name in NUMBERS}
