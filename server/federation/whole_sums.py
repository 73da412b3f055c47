"""Sums of whole numbers over shops that share their noise, and the shapes of what is summed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from server.federation.federated_run import Federation, Refusal
from server.federation.server_state import ServerState
from shared.privacy.noise import GRID, Integers
from shared.protocol import messages
from shared.protocol.messages import Arrays, Release, RequestKind
from shared.releases.pair_sums import n_pairs

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(eq=False)
class WholeSum:
    """A sum over shops, of whole numbers.

    Attributes:
        numbers: By name of the array.
        shops: Who is in it, in order.
        refusals: Replies that do not count.
    """

    numbers: Release = field(default_factory=dict)
    shops: tuple[str, ...] = ()
    refusals: list[Refusal] = field(default_factory=list)

    def add(self, shop: str, numbers: Release) -> None:
        """Adds a shop's numbers."""
        known = self.numbers
        self.numbers = {name: known[name] + n if known else n for name, n in numbers.items()}
        self.shops = tuple(sorted((*self.shops, shop)))

    def scaled(self, scale: float) -> Arrays:
        """Returns the sum in steps of `scale`, float32, rounded once."""
        return {name: (n * scale).astype(np.float32) for name, n in self.numbers.items()}

    def norm(self) -> float:
        """Returns the L2 norm over all arrays, in sensitivities."""
        squares = (float(np.square(n / GRID).sum()) for n in self.numbers.values())
        return math.sqrt(sum(squares))


def shapes_of(federation: Federation, state: ServerState, kind: RequestKind) -> Shapes:
    """Returns shape by name of what shops answer."""
    if kind == "counts":
        return {messages.COUNTS: (federation.n_items,)}
    if kind == "pairs":
        return {messages.PAIRS: (0 if state.head is None else n_pairs(len(state.head)),)}
    names = messages.trainable_names(state.adapter, aggregation=federation.plan.aggregation)
    return {name: state.adapter[name].shape for name in names}


def size_of(shapes: Shapes) -> int:
    """Returns how many numbers there are."""
    return sum(math.prod(shape) for shape in shapes.values())


def split(numbers: Integers, shapes: Shapes) -> Release:
    """Cuts numbers `(n,)` into the arrays that they were joined of, in order of the names."""
    ends = np.cumsum([math.prod(shapes[name]) for name in sorted(shapes)])
    parts = np.split(numbers, ends[:-1])
    return {name: p.reshape(shapes[name]) for name, p in zip(sorted(shapes), parts, strict=True)}
