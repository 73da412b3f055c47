"""Bounds of what a plan may ask of a shop: the same for the settings of a run and for each shop.

A shop cannot know who wrote a plan. So every number in it has a lower and an upper bound, wide
enough for any honest run and narrow enough that, at every corner, the arithmetic that a guarantee
rests on is far from the ends of its types: float32 in training, float64 in clipping, int64 in sums.
No bound is what protects a user's share; whole numbers do that (`client.training.clip_and_noise`).
"""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import Field

MAX_HEAD = 5000
"""Items of a head of pairs at most: 12.5 million pairs, 100 MB of whole numbers."""
MAX_NOISE = 1e6
"""In units of sensitivity: standard deviations up to 2^40 of the grid, whose sums over 10,000 steps
and 10,000 shops stay below 2^60."""
MAX_ADAPTER_VALUE = 1e6
"""Largest entry of an adapter that a shop trains on: products of two matrices stay in float32."""

MAX_EXAMPLE_ITEMS = 2**14
"""Items in one user's examples, contexts and targets together."""
MAX_BATCH_ITEMS = 2**22
"""Items of all users in memory, candidates of each included: 4 GiB at 256 numbers an item."""
MAX_BATCH_SCORES = 2**28
"""Scores of candidates in memory: 1 GiB."""

LocalSteps = Annotated[int, Field(ge=1, le=10_000)]
SampleRate = Annotated[float, Field(ge=1e-6, le=1)]
Divisor = Annotated[float, Field(ge=1e-3, le=1e9)]
ClipNorm = Annotated[float, Field(ge=1e-6, le=1e6)]
"""A denormal bound would make a clip factor of infinity, a huge one gradients of zero."""
NoiseMultiplier = Annotated[float, Field(ge=0, le=MAX_NOISE)]
LearningRate = Annotated[float, Field(ge=1e-9, le=1e6)]
HeadItems = Annotated[int, Field(ge=2, le=MAX_HEAD)]
NoiseShops = Annotated[int, Field(ge=1, le=10_000)]
ExamplesPerUser = Annotated[int, Field(ge=1, le=1000)]
MaxContext = Annotated[int, Field(ge=1, le=4096)]
MaxTargets = Annotated[int, Field(ge=1, le=256)]
Candidates = Annotated[int, Field(ge=1, le=100_000)]
PhysicalBatch = Annotated[int, Field(ge=1, le=65_536)]
Scale = Annotated[float, Field(ge=1e-3, le=1e4)]
HalfLife = Annotated[float, Field(ge=1e-3, le=1e6)]
Seed = Annotated[int, Field(ge=0, le=2**53 - 1)]


class BatchSize(Protocol):
    """What decides how much memory a step takes; settings and plans both have it."""

    @property
    def examples_per_user(self) -> int: ...  # noqa: D102
    @property
    def max_context(self) -> int: ...  # noqa: D102
    @property
    def max_targets(self) -> int: ...  # noqa: D102
    @property
    def candidates(self) -> int: ...  # noqa: D102
    @property
    def physical_batch(self) -> int: ...  # noqa: D102


def check_batch(size: BatchSize) -> None:
    """Refuses numbers that are fine alone and together take more memory than a shop has.

    Raises:
        ValueError: With the numbers, their product and its bound.
    """
    pairs, users = size.examples_per_user, size.physical_batch
    items = pairs * (size.max_context + size.max_targets)
    for name, value, most in (
        ("examples_per_user * (max_context + max_targets)", items, MAX_EXAMPLE_ITEMS),
        ("physical_batch * items of a user", users * (items + size.candidates), MAX_BATCH_ITEMS),
        (
            "physical_batch * examples_per_user * candidates",
            users * pairs * size.candidates,
            MAX_BATCH_SCORES,
        ),
    ):
        if value > most:
            raise ValueError(f"{name}={value} must be at most {most}; lower one of them")
