"""What a shop itself put into sums over all shops, without noise: it never leaves the shop.

A shop that takes its own part out of the released sums is left with what the other shops add.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from shared.errors import ModelError
from shared.interactions.events import Events
from shared.releases.pair_sums import Values, n_pairs, pair_sums, user_sizes


@dataclass(frozen=True, eq=False)
class OwnPairSums:
    """A shop's own part of the pair sums over all shops, so that it can take it out again.

    Attributes:
        sums: As `pair_sums` returns them, `(h (h - 1) / 2,)`.
        sizes: Head items of each user, `(n_users,)`.
    """

    sums: Values
    sizes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, events: Events, head: npt.NDArray[np.integer]) -> OwnPairSums:
        """Sums up a shop's events over the head, `(h,)` ascending item codes."""
        return cls(pair_sums(events, head), user_sizes(events, head))

    def content(self) -> bytes:
        """Returns a file's content; the sums in float32, enough for a number that never leaves."""
        return save({"sums": self.sums.astype(np.float32), "sizes": self.sizes.astype(np.int64)})

    @classmethod
    def read(cls, content: bytes, *, h: int) -> OwnPairSums:
        """Reads what `content` wrote.

        Args:
            content: Of the file.
            h: Items of the head.

        Raises:
            ModelError: It is damaged.
        """
        try:
            arrays = load(content)
            sums, sizes = arrays["sums"], arrays["sizes"]
        except (SafetensorError, KeyError, ValueError) as error:
            raise ModelError(
                "not a file of sums and sizes", name="own pairs", remedy="remove it"
            ) from error
        if sums.shape != (n_pairs(h),) or sizes.ndim != 1 or not np.isfinite(sums).all():
            raise ModelError(
                f"must be {(n_pairs(h),)}",
                name="shape of own pairs",
                value=sums.shape,
                remedy="remove it",
            )
        return cls(sums.astype(np.float64), sizes)
