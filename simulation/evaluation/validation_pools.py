"""What of a shop's validation window decides weights: a few candidates of a few queries.

Scores of all users and candidates would not fit in memory, and most of them decide nothing: a
candidate that no signal has among its best cannot reach a fused top 10, and a query whose targets
cannot reach it has an NDCG of 0 whatever the weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from client.fusion.hyperparameters import score_surface
from client.fusion.pools import joined
from client.fusion.scores import Pool, PooledCells, best_of, standardise
from client.recommenders.interface import Recommender, Scores
from client.recommenders.queries import SHARED_CONTEXT, Bools, Queries


@dataclass(frozen=True, eq=False)
class _Block:
    """Some users' queries, of these the ones with a target in reach of any signal.

    `reach` says by signal which candidates are among its best; all arrays but `rows` are `(r, p)`.
    """

    rows: npt.NDArray[np.int64]
    signals: dict[str, Scores]
    reach: dict[str, Bools]
    targets: Bools

    def restrict(self, names: Sequence[str]) -> Pool:
        """Takes what is among the best of any of some signals, in the order of candidates."""
        reach = reduce(np.logical_or, (self.reach[name] for name in names))
        signals = {name: self.signals[name] for name in names}
        cells = PooledCells.of(reach)
        return cells.pool(signals, self.targets, np.zeros(0, np.int64), self.rows)


@dataclass(eq=False)
class SurfacePools:
    """The validation queries of one surface, from which any signals' pool is made."""

    blocks: list[_Block] = field(default_factory=list)
    n_targets: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.n_targets)

    def add(self, signals: Mapping[str, Scores], queries: Queries) -> None:
        """Adds some users' queries.

        Args:
            signals: Standardised scores of all signals, `(b, c)`.
            queries: Of one surface.
        """
        reach = {}
        for name, scores in signals.items():
            reach[name] = np.zeros_like(queries.targets)
            np.put_along_axis(reach[name], best_of(scores, queries), values=True, axis=1)
            if queries.allowed is not None:
                reach[name] &= queries.allowed
        whole = reduce(np.logical_or, reach.values())
        rows = np.flatnonzero((whole & queries.targets).any(axis=1))
        cells = PooledCells.of(whole, rows)
        self.blocks.append(
            _Block(
                rows + len(self),
                {name: cells.take(scores, unused=-np.inf) for name, scores in signals.items()},
                {name: cells.take(best, unused=False) for name, best in reach.items()},
                cells.take(queries.targets, unused=False),
            )
        )
        self.n_targets = np.concatenate([self.n_targets, queries.targets.sum(axis=1)])

    def pool(self, names: Sequence[str]) -> Pool:
        """Returns the pool of some signals, as if there were no others."""
        rows = np.concatenate([block.rows for block in self.blocks])
        whole = joined([block.restrict(names) for block in self.blocks])
        return replace(whole, n_targets=self.n_targets, rows=rows)


def validation_pools(
    chosen: Mapping[str, Mapping[str, Recommender]], blocks: Iterable[Mapping[str, Queries]]
) -> dict[str, SurfacePools]:
    """Scores the validation queries with every signal, some users and one surface at a time.

    Args:
        chosen: signal -> surface -> fitted recommender.
        blocks: The queries by surface, some users at a time.
    """
    pools: dict[str, SurfacePools] = {}
    for queries in blocks:
        shared: dict[int, Scores] = {}
        for surface, asked in queries.items():
            if surface not in SHARED_CONTEXT:
                shared.clear()
            signals = {
                name: standardise(
                    score_surface(of_surface[surface], queries, surface, shared), asked.allowed
                )
                for name, of_surface in chosen.items()
            }
            pools.setdefault(surface, SurfacePools()).add(signals, asked)
    return pools
