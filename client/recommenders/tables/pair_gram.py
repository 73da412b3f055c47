"""The co-purchase pairs of all other shops' users as a Gram matrix, without seeing a user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from client.federation.own_contribution import OwnPairSums
from client.recommenders.queries import Floats
from shared.interactions.events import Events
from shared.releases.noisy_statistics import PairRelease
from shared.releases.pair_sums import square

DIAGONAL = 0.6
"""Share of the diagonal that is taken: the noise left in the many pairs that nobody bought adds up
in the row sums, so that the whole of it would be too much."""
TYPICAL_SIZE = 5
"""Head items of a user, for a shop without users of its own."""


@dataclass(frozen=True, eq=False)
class PairGram:
    """Gram matrix `X'X` of other shops' users, estimated from pairs without seeing a user.

    Attributes:
        head: Codes of the head items, ascending, `(h,)`.
        matrix: Symmetric, positive semi-definite, `(h, h)`.
    """

    head: npt.NDArray[np.signedinteger]
    matrix: Floats

    @staticmethod
    def of(
        head: npt.NDArray[np.signedinteger],
        pairs: npt.NDArray[np.floating],
        sizes: npt.NDArray[np.int64] | None = None,
    ) -> PairGram:
        """Builds the nearest Gram matrix of estimated pairs, in units of the shop's own users.

        Args:
            head: Codes of the head items, ascending, `(h,)`.
            pairs: Estimate for all other shops together, none below 0, `(h (h - 1) / 2,)`.
            sizes: Head items of each of the shop's own users, which tell how many one has; None
                for a shop without users.

        Returns:
            The pairs on the scale of unscaled users, with what such users have on the diagonal,
            without the negative eigenvalues that no users can have.
        """
        diagonal, scale = _shape_of_users(np.zeros(0, np.int64) if sizes is None else sizes)
        gram = square(pairs * scale, len(head))
        # Pairs say nothing of the diagonal; without one EASE's inverse would not exist.
        gram[np.diag_indices_from(gram)] = DIAGONAL * diagonal * gram.sum(axis=0)
        values, axes = np.linalg.eigh(gram)
        positive = values > 0
        matrix: Floats = ((axes[:, positive] * values[positive]) @ axes[:, positive].T).astype(
            np.float32
        )
        return PairGram(head, matrix)

    @staticmethod
    def of_others(
        release: PairRelease,
        own: OwnPairSums | Events | None = None,
        *,
        rows: npt.NDArray[np.int64] | None = None,
    ) -> PairGram:
        """Builds the Gram matrix of the shops' users without those of one shop.

        Args:
            release: Of all shops.
            own: The shop's own part of the release, or the events behind it: that part is taken
                out, as the shop has these users anyway. None for a shop that took no part.
            rows: Row of each item of the catalogue in the shop's table, -1 for those that it does
                not have and that are left out, `(n_items,)`; None leaves the codes as they are.
        """
        if isinstance(own, Events):
            own = OwnPairSums.of(own, release.head)
        others = release.estimate(None if own is None else own.sums)
        sizes = None if own is None else own.sizes
        if rows is None:
            return PairGram.of(release.head, others, sizes)
        row = rows[release.head]
        places = np.argsort(row)[(row < 0).sum() :]
        block = square(others, len(row))[np.ix_(places, places)]
        return PairGram.of(row[places], block[np.triu_indices(len(places), 1)], sizes)


def _shape_of_users(sizes: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Returns the diagonal as a share of the row sums, and unscaled over scaled pairs.

    A user with `m` head items has `p = m (m - 1) / 2` pairs of `1 / sqrt(p)` in the sums, and would
    have `1 / sqrt(p)` in each of `m` places of the diagonal.
    """
    m = sizes[sizes >= 2].astype(np.float64)
    if len(m) == 0:
        m = np.array([float(TYPICAL_SIZE)])
    root = np.sqrt(m * (m - 1) / 2)
    return float((m / root).sum() / (2 * root).sum()), float((root**2).sum() / root.sum())
