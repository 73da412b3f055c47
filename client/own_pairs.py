"""A shop's own part of a release of pairs, without noise: it never leaves the shop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from shared.errors import ModelError
from shared.interactions.events import Events
from shared.releases.pairs import Values, n_pairs, pair_sums, user_sizes


@dataclass(frozen=True, eq=False)
class OwnPairs:
    """What a shop put into a sum over all shops, so that it can take it out again.

    Attributes:
        sums: As `pair_sums` gives them, `(h (h - 1) / 2,)`.
        sizes: Head items of each user, `(n_users,)`.
    """

    sums: Values
    sizes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, events: Events, head: npt.NDArray[np.integer]) -> OwnPairs:
        """Sums up a shop's events over the head, `(h,)` ascending item codes."""
        return cls(pair_sums(events, head), user_sizes(events, head))

    def content(self) -> bytes:
        """Returns a file's content; the sums are rounded to float32, as those that are released."""
        return save({"sums": self.sums.astype(np.float32), "sizes": self.sizes.astype(np.int64)})

    @classmethod
    def read(cls, content: bytes, *, h: int) -> OwnPairs:
        """Reads what `content` gave.

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
            raise ModelError("own pairs: not a file of sums and sizes; remove it") from error
        if sums.shape != (n_pairs(h),) or sizes.ndim != 1 or not np.isfinite(sums).all():
            raise ModelError(f"own pairs of shape {sums.shape} must be {(n_pairs(h),)}; remove it")
        return cls(sums.astype(np.float64), sizes)
