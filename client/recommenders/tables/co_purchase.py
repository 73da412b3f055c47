"""Item vectors of co-purchase: the spectrum of released pairs, beside the texts of a profile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from client.recommenders.queries import Floats, History
from client.recommenders.tables.pair_gram import PairGram
from client.recommenders.visits import latest_times
from shared.model.profile_space import profile_weights

RANK = 128
"""Width of the vectors; on two data sets 128 ranks no worse than 256 or the whole spectrum."""
RIDGE = 3.0
"""Ridge penalty, in mean diagonals of the Gram matrix: it follows users and noise by itself."""
STRENGTH = 4.0
"""Factor on a product of vectors beside log popularity; the squared lengths have mean 1."""


@dataclass(frozen=True, eq=False)
class CoPurchaseVectors:
    """Vectors of head items whose products say what is taken together.

    An item's score is `STRENGTH (sum_i w_i c_i / |w|) . c_item`, with `w` the weights of the
    history's items in a profile: items outside the head count in `|w|` alone, so that a history
    of which the federation knows little says little.

    Attributes:
        head: Codes or rows of the head items, ascending, `(h,)`.
        values: `(h, r)`, with mean squared length 1 over the head of the release.
    """

    head: npt.NDArray[np.signedinteger]
    values: Floats

    @staticmethod
    def of(gram: PairGram) -> CoPurchaseVectors:
        """Takes the largest part of the partial correlations that a Gram matrix implies.

        With `P = (G + l2 I)^-1`, `-P_ij / sqrt(P_ii P_jj)` is what two items have in common that
        no third one explains: EASE's weights (https://arxiv.org/abs/1905.03375), made symmetric.
        Its first eigenvectors hold what many pairs agree on, and leave noise of single pairs out.

        Args:
            gram: Of the other shops' users in a shop that took part, so that no answer of its own
                is in what its validation queries weigh.

        Guarantee:
            As for the Gram matrix: a release without own users taken out costs nothing further;
            with them taken out, the result stays in the shop.
        """
        matrix = gram.matrix.astype(np.float64)
        ridge = max(RIDGE * float(np.trace(matrix)) / max(len(matrix), 1), 1e-6)
        precision = np.linalg.inv(matrix + ridge * np.eye(len(matrix)))
        scale = 1.0 / np.sqrt(np.diagonal(precision))
        partial = -precision * scale[:, None] * scale
        np.fill_diagonal(partial, 0.0)
        values, axes = np.linalg.eigh(partial)
        largest = slice(-min(RANK, len(values)), None)
        vectors = axes[:, largest] * np.sqrt(np.maximum(values[largest], 0.0))
        length = np.sqrt(max(float((vectors**2).sum(axis=1).mean()), 1e-12))
        return CoPurchaseVectors(gram.head, (vectors / length).astype(np.float32))

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self.values.shape[1])

    def profile(self, items: npt.NDArray[np.integer], weights: Floats) -> Floats:
        """Sums up the vectors of one history, `(r,)`.

        Args:
            items: Of the history's events, in the codes of `head`, `(n,)`.
            weights: Of the events in a profile, `(n,)`.
        """
        return np.asarray(self.shares(items, weights).sum(axis=0), dtype=np.float32)

    def shares(self, items: npt.NDArray[np.integer], weights: Floats) -> Floats:
        """Returns what each event of one history adds to its profile, `(n, r)`."""
        distinct, place = np.unique(items, return_inverse=True)
        length = float(np.linalg.norm(np.bincount(place, weights, minlength=len(distinct))))
        row = np.minimum(np.searchsorted(self.head, items), max(len(self.head) - 1, 0))
        inside = self.head[row] == items if len(self.head) else np.zeros(len(items), np.bool_)
        factors = np.where(inside, weights, 0.0) / max(length, 1e-12)
        shares: Floats = (factors[:, None] * self.values[row]).astype(np.float32)
        return shares

    def history_profiles(self, history: History, *, half_life: float) -> Floats:
        """Sums up the vectors of each history, `(n, r)`.

        Args:
            history: With catalogue codes, as in `head`.
            half_life: Of an event in the profile, in the unit of `Events.time`.
        """
        events = history.events
        now = latest_times(events.user, events.time, len(history.now))[events.user]
        weights = profile_weights(events, now=now, half_life=half_life)
        n_items = max(int(events.item.max(initial=-1)), int(self.head.max(initial=-1))) + 1
        cells = (weights.astype(np.float64), (events.user, events.item))
        rows = sp.coo_array(cells, shape=(len(history.now), n_items)).tocsr()
        lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())[:, None]
        sums: npt.NDArray[np.float64] = rows[:, self.head] @ self.values
        return np.divide(sums, np.maximum(lengths, 1e-12)).astype(np.float32)

    def scores(self, profiles: Floats) -> Floats:
        """Returns what each head item gets, `(..., h)`, for profiles `(..., r)`."""
        return (np.float32(STRENGTH) * profiles @ self.values.T).astype(np.float32, copy=False)
