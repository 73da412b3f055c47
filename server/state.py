"""All that the server knows between two rounds, and how an aggregated update moves it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from server.aggregation import lora_pairs, orthonormal_factors, rotate
from server.federation import Refusal, RoundInfo
from server.optimizers import OptimizerState, optimizer_step
from shared.config import FederationSettings
from shared.messages import Arrays, CodesArray, FloatArray


@dataclass(frozen=True, eq=False)
class ServerState:
    """The server between two rounds.

    Attributes:
        round: Rounds done.
        adapter: Current global matrices.
        optimizer: Moments.
        iterates: Sum of the trainable matrices after each of the last rounds.
        averaged: Rounds in that sum.
        counts: Summed noisy item counts `(n_items,)`, None before they were asked.
        head: Codes of the items whose pairs were asked, ascending `(h,)`; None before.
        pairs: Summed noisy pair sums `(h (h - 1) / 2,)`, None before they were asked.
        rounds: What the rounds did.
        refusals: Replies that did not count.
    """

    round: int
    adapter: Arrays
    optimizer: OptimizerState = field(default_factory=OptimizerState)
    iterates: Arrays = field(default_factory=dict)
    averaged: int = 0
    counts: FloatArray | None = None
    head: CodesArray | None = None
    pairs: FloatArray | None = None
    rounds: tuple[RoundInfo, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    def final_adapter(self) -> Arrays:
        """Returns the mean of the last iterates, or the adapter itself before there is one."""
        if not self.averaged:
            return dict(self.adapter)
        share = np.float32(1 / self.averaged)
        return {**self.adapter, **{name: share * total for name, total in self.iterates.items()}}


def averaging_starts(*, rounds: int, average_last: float) -> int:
    """Returns the first round whose iterate counts in the final mean."""
    return rounds - math.ceil(round(average_last * rounds, 9)) + 1


def advance(
    state: ServerState, update: Arrays, *, settings: FederationSettings, rounds: int
) -> ServerState:
    """Moves the server by one aggregated update.

    Args:
        state: Before the round.
        update: Aggregated update of the trainable matrices, float32.
        settings: Aggregation, optimizer and share of averaged rounds.
        rounds: Rounds of the whole plan.

    Returns:
        The state after the round; with `fedsvd` all buffers of B's shape are carried over to the
        new A, so that momentum and mean of the iterates stay what they were as products with A.
    """
    change, optimizer = optimizer_step(update, state=state.optimizer, settings=settings)
    moved = {name: state.adapter[name] + change[name] for name in change}
    state = replace(
        state, round=state.round + 1, adapter={**state.adapter, **moved}, optimizer=optimizer
    )
    if settings.aggregation == "fedsvd":
        state = _reorthonormalise(state)
    if state.round < averaging_starts(rounds=rounds, average_last=settings.average_last):
        return state
    iterates = {
        name: state.iterates[name] + state.adapter[name] if state.iterates else state.adapter[name]
        for name in change
    }
    return replace(state, iterates=iterates, averaged=state.averaged + 1)


def _reorthonormalise(state: ServerState) -> ServerState:
    adapter = dict(state.adapter)
    first, iterates = dict(state.optimizer.first), dict(state.iterates)
    for name_A, name_B in lora_pairs(adapter):
        old_A = adapter[name_A]
        adapter[name_A], adapter[name_B] = orthonormal_factors(old_A, adapter[name_B])
        for buffer in (first, iterates):
            if name_B in buffer:
                buffer[name_B] = rotate(buffer[name_B], old_A=old_A, new_A=adapter[name_A])
    optimizer = replace(state.optimizer, first=first)
    return replace(state, adapter=adapter, optimizer=optimizer, iterates=iterates)
