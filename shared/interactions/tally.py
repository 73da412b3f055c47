"""Counts of rows read and dropped, by reason and by user, so that nothing goes silently."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

REASONS = {
    "missing_id": "no user, item or shop id",
    "not_merchandise": "fuel, coupons, supplies and other departments without goods",
    "impossible_date": "no date, no such date, or outside 1980 to 2099; in ranks: not a number",
    "impossible_quantity": "0 or below, not a number, or above the bound",
    "impossible_number": "negative weight or price",
    "unknown_item": "item that is not in the catalogue",
    "duplicate": "equal to another row in every column that is read",
    "other_shop": "bought outside the user's own shop",
    "after_end": "after the test window",
    "user_below_minimum": "the user has too few different items",
    "shop_below_minimum": "the shop has too few users",
}
"""Why a row is dropped, in the order in which the reasons are tried."""


class Tally:
    """Counts rows by member (one user of one shop); code -1 is a row without a member.

    Args:
        members: Member codes of all rows read, `(n,)`.
        n_members: Number of members.
    """

    def __init__(self, members: npt.NDArray[np.int32], n_members: int) -> None:
        self.n_members = n_members
        self.read = self._count(members)
        self.dropped: dict[str, npt.NDArray[np.int64]] = {}

    def drop(self, reason: str, members: npt.NDArray[np.int32]) -> None:
        """Counts dropped rows under one of `REASONS`."""
        if reason not in REASONS:
            raise KeyError(reason)
        before = self.dropped.get(reason, 0)
        self.dropped[reason] = before + self._count(members)

    def totals(self) -> dict[str, Any]:
        """Returns counts over all rows; `rows_read` is `rows_kept` plus all that was dropped."""
        return self._report(np.ones(self.n_members + 1, dtype=bool))

    def of_shop(self, of_shop: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Returns counts over the rows of some members, given as a mask `(n_members,)`."""
        return self._report(np.append(of_shop, False))

    def _count(self, members: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        rows = np.where(members < 0, self.n_members, members)
        return np.bincount(rows, minlength=self.n_members + 1).astype(np.int64)

    def _report(self, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
        read = int(self.read[mask].sum())
        counts = {
            reason: int(self.dropped[reason][mask].sum())
            for reason in REASONS
            if reason in self.dropped
        }
        dropped = {reason: count for reason, count in counts.items() if count}
        return {"rows_read": read, "rows_kept": read - sum(dropped.values()), "dropped": dropped}
