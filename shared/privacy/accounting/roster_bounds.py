"""How many shops add up, may be missing and may help the server: what shared noise rests on."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import PrivacyError

MIN_SHOPS = 3
"""Of two shops each learns the other's numbers by taking its own out of the sum."""
MAX_SHOPS = 1000
"""More are no federation of shops; it bounds what a shop computes for a roster."""
_MANY_SHOPS = 20


@dataclass(frozen=True)
class RosterBounds:
    """The numbers of a roster.

    Attributes:
        shops: Shops `K` of the roster.
        max_missing: Shops `d` that may be missing from a sum.
        max_colluding: Shops `t` that may help the server: tell it what they know, and add no noise.
    """

    shops: int
    max_missing: int
    max_colluding: int

    @classmethod
    def usual(
        cls, shops: int, *, max_missing: int | None = None, max_colluding: int | None = None
    ) -> RosterBounds:
        """Returns the bounds of so many shops, with what is usual for those that are not given.

        Args:
            shops: Shops of the roster.
            max_missing: None for none of 3 shops, 1, and 2 from 20 shops on.
            max_colluding: None for a third of the shops.
        """
        usual = 0 if shops <= MIN_SHOPS else 1 if shops < _MANY_SHOPS else 2
        return cls(
            shops,
            usual if max_missing is None else max_missing,
            shops // 3 if max_colluding is None else max_colluding,
        )

    @property
    def threshold(self) -> int:
        """Least number of shops in a sum, and of shares that open it: `m = K - d`."""
        return self.shops - self.max_missing

    @property
    def noise_shops(self) -> int:
        """Honest shops that are in every sum: `n = K - d - t`; each adds an n-th of the noise."""
        return self.threshold - self.max_colluding

    def check(self) -> RosterBounds:
        """Returns itself where the guarantee of a sum can stand on these numbers.

        Raises:
            PrivacyError: There are too few or too many shops, or too few for `d` and `t`.
        """
        if not MIN_SHOPS <= self.shops <= MAX_SHOPS:
            raise PrivacyError(
                f"must be between {MIN_SHOPS} and {MAX_SHOPS}",
                name="shops of the roster",
                value=self.shops,
                remedy="let each shop add all of its noise",
            )
        lower = "list more shops, or let fewer be missing or dishonest"
        if self.noise_shops < 2:
            raise PrivacyError(
                "must be at least 2: shops - max_missing - max_colluding",
                name="noise_shops",
                value=self.noise_shops,
                remedy=lower,
            )
        if not self.one_set(self.max_colluding):
            # Otherwise the server could open two sets that differ in one shop.
            raise PrivacyError(
                f"must be above shops + max_colluding={self.shops + self.max_colluding}",
                name="2 * (shops - max_missing)",
                value=2 * self.threshold,
                remedy=lower,
            )
        return self

    def one_set(self, colluding: int) -> bool:
        """Says whether a release opens over one set of shops alone, if so many help the server.

        Two sets need `2 m` signatures; those who help sign both, all others one.
        """
        return 2 * self.threshold > self.shops + colluding

    def honest_shares(self, colluding: int) -> int:
        """Returns the shares of the noise that are left in what a server opens, of `noise_shops`.

        Args:
            colluding: Shops that help the server, from 0 to all but one.

        Guarantee:
            Up to `max_colluding`, the noise of `noise_shops` is in every sum. With more, a sum of
            `threshold` shops holds that of `threshold - colluding`. Where two sets of one release
            could be opened, their difference may be one shop's numbers, and its own share is left.
        """
        if colluding <= self.max_colluding:
            return self.noise_shops
        return max(1, self.threshold - colluding) if self.one_set(colluding) else 1
