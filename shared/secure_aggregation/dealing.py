"""How a shop deals shares of its secrets, and reads those that others dealt to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from shared.errors import PrivacyError
from shared.secure_aggregation.messages import (
    DealtShares,
    InputRequest,
    KeyList,
    ShopKeys,
    Terms,
    commitments_of,
)
from shared.secure_aggregation.roster import Roster
from shared.secure_aggregation.run_secrets import RunSecrets, agree, derive, seal, unseal
from shared.secure_aggregation.shamir import SHARE_BYTES, polynomial, share

Use = Literal["self mask", "mask key"]
"""Which of a shop's two secrets of a release a share is of."""
USES: tuple[Use, Use] = ("self mask", "mask key")


class ShopSetup:
    """A shop's view of a run's set-up: terms, everybody's keys and its own secrets.

    Args:
        shop: Its name.
        roster: Checked.
        terms: Of the run.
        keys: Of all shops that answered; checked.
        secrets: The shop's own.
    """

    def __init__(
        self, shop: str, *, roster: Roster, terms: Terms, keys: KeyList, secrets: RunSecrets
    ) -> None:
        self.shop, self.roster, self.terms = shop, roster, terms
        self.keys: dict[str, ShopKeys] = {k.shop: k for k in keys.keys}
        self.digest = keys.setup(terms)
        self.secrets = secrets

    def deal(self) -> DealtShares:
        """Deals shares of all secrets to all shops of the set-up."""
        polynomials = [self._polynomial(u, r) for r in self.terms.releases for u in USES]
        letters, commitments = {}, {}
        for other in sorted(self.keys):
            place = self.roster.place(other)
            shares = b"".join(share(coefficients, place) for coefficients in polynomials)
            commitments[other] = commitments_of(shares)
            if other != self.shop:
                letters[other] = seal(
                    self._agreed(other),
                    shares,
                    setup=self.digest,
                    sender=self.shop,
                    recipient=other,
                )
        return DealtShares(shop=self.shop, letters=letters, commitments=commitments)

    def check_letters(self, request: InputRequest) -> None:
        """Reads all letters to this shop, so that what is false is known before it pays.

        Raises:
            PrivacyError: A letter is not its dealer's or not what it committed to, or there are too
                few.
        """
        letters = request.letters
        if not set(letters) < set(self.keys) or self.shop in letters:
            raise PrivacyError(
                "must be of other shops whose keys were sent",
                name="letters",
                remedy="send those of the set-up",
            )
        if len(letters) + 1 < self.roster.threshold:
            raise too_few("shops that dealt shares", len(letters) + 1, self.roster)
        for dealer, letter in letters.items():
            if commitments_of(self._shares(dealer, letter)) != request.commitments.get(dealer):
                raise PrivacyError(
                    f"has dealt other shares to {self.shop} than it committed to",
                    name="shop",
                    value=dealer,
                    remedy="run without it; no number of a shop was sent",
                )

    def held_share(
        self, dealer: str, letters: Mapping[str, bytes], use: Use, release: str
    ) -> bytes:
        """Returns this shop's share of a dealer's secret, of its own where it is the dealer."""
        if dealer == self.shop:
            return share(self._polynomial(use, release), self.roster.place(self.shop))
        at = 2 * self.terms.place(release) + USES.index(use)
        return self._shares(dealer, letters[dealer])[at * SHARE_BYTES : (at + 1) * SHARE_BYTES]

    def pair_keys(
        self, others: Iterable[str], *, release: str, binding: str
    ) -> list[tuple[bytes, int]]:
        """Returns key and sign of the mask between this shop and each other one.

        Args:
            others: Shops of the set-up; itself is left out.
            release: Whose keys.
            binding: Digest of all that the masks are bound to.
        """
        at, private = self.terms.place(release), self.secrets.mask_key(release)
        return [
            pair_key(private, self.keys[other].masks[at], shops=(self.shop, other), binding=binding)
            for other in others
            if other != self.shop
        ]

    def _shares(self, dealer: str, letter: bytes) -> bytes:
        shares = unseal(
            self._agreed(dealer), letter, setup=self.digest, sender=dealer, recipient=self.shop
        )
        if len(shares) != 2 * len(self.terms.releases) * SHARE_BYTES:
            raise PrivacyError(
                "has dealt another number of shares than the run has releases",
                name="shop",
                value=dealer,
                remedy="run without it; no number of a shop was sent",
            )
        return shares

    def _agreed(self, other: str) -> bytes:
        return agree(self.secrets.channel_key(), self.keys[other].channel, shop=other)

    def _polynomial(self, use: Use, release: str) -> list[int]:
        secrets = self.secrets
        secret = (
            secrets.mask_key(release)
            if use == "mask key"
            else secrets.self_mask(release, setup=self.digest)
        )
        key = secrets.polynomial_key(use, release, setup=self.digest)
        return polynomial(secret, key=key, threshold=self.roster.threshold)


def pair_key(
    private: bytes, public: bytes, *, shops: tuple[str, str], binding: str
) -> tuple[bytes, int]:
    """Returns the key of the mask between two shops, and the sign with which the first adds it.

    Args:
        private: The first one's mask key of a release.
        public: The second one's.
        shops: Their names.
        binding: Digest of all that the mask is bound to.
    """
    agreed = agree(private, public, shop=shops[1])
    return derive(agreed, "pair mask", binding), 1 if shops[0] < shops[1] else -1


def too_few(name: str, value: int, roster: Roster) -> PrivacyError:
    """Returns the refusal of a set that is smaller than every sum must be."""
    return PrivacyError(
        f"must be at least {roster.threshold}, the least number of shops in a sum",
        name=name,
        value=value,
        remedy="wait for more shops of the roster",
    )
