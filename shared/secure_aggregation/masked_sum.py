"""One sum at the server: masked inputs are added, survivors confirm, shares open the sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from shared.errors import PrivacyError
from shared.keys.signing import Digest, is_signed_by
from shared.privacy.noise import Integers
from shared.secure_aggregation.dealing import USES, Use, pair_key, too_few
from shared.secure_aggregation.decisions import Decisions
from shared.secure_aggregation.masks import NUMBER_BYTES, add_mask, centred, pack, unpack
from shared.secure_aggregation.messages import (
    COMMITMENT_BYTES,
    ConfirmRequest,
    DealtShares,
    Message,
    OpenedShares,
    OpenRequest,
    ShopKeys,
    SumBinding,
    commitments_of,
    read_message,
)
from shared.secure_aggregation.roster import Roster
from shared.secure_aggregation.run_secrets import derive, public_key
from shared.secure_aggregation.shamir import combine, lagrange


class FixedSum(Message):
    """What the server keeps of a sum before it asks for signatures; the sum itself follows."""

    asked: Digest
    """Digest of what all shops were asked."""
    survivors: tuple[str, ...]
    """Shops in the sum, in order of their names."""


class MaskedSum:
    """The sum of one release; made by `ServerSide.masked_sum`.

    Args:
        binding: What the sum is, and how it was masked.
        size: Numbers of each shop.
        place: Of the release in the run's terms.
        roster: That all shops signed.
        keys: Of the run's set-up, by shop.
        dealt: By shop.
        decisions: Keeps sum and survivors.
    """

    def __init__(
        self,
        binding: SumBinding,
        *,
        size: int,
        place: int,
        roster: Roster,
        keys: Mapping[str, ShopKeys],
        dealt: Mapping[str, DealtShares],
        decisions: Decisions,
    ) -> None:
        self._binding, self._place, self._roster = binding, place, roster
        self._keys, self._dealt, self._decisions = keys, dealt, decisions
        self._total = np.zeros(size, dtype=np.uint64)
        self._added: set[str] = set()
        self._fixed: tuple[str, ...] | None = None
        self._signatures: dict[str, str] = {}
        self._opened: dict[str, OpenedShares] = {}
        content = decisions.read(self._file)
        if content is not None:
            self._take_up(content)

    @property
    def _file(self) -> str:
        return f"{self._binding.release}.sum"

    @property
    def survivors(self) -> tuple[str, ...]:
        """Shops in the sum, in order.

        Raises:
            PrivacyError: They are not fixed yet.
        """
        if self._fixed is None:
            raise PrivacyError(
                "not fixed yet", name="survivors", remedy="let shops confirm them first"
            )
        return self._fixed

    @property
    def is_fixed(self) -> bool:
        """Whether sum and survivors are on disk."""
        return self._fixed is not None

    def add(self, shop: str, masked: bytes) -> None:
        """Adds answer 3; the sum alone is kept.

        Raises:
            PrivacyError: Of another length, from a shop that dealt no shares or has answered, or
                after the survivors were fixed.
        """
        if len(masked) != NUMBER_BYTES * len(self._total):
            raise PrivacyError(
                f"must have {NUMBER_BYTES * len(self._total)} bytes",
                name="input",
                value=len(masked),
                remedy=f"look at the shop {shop}",
            )
        if shop not in self._binding.dealers or shop in self._added or self.is_fixed:
            raise PrivacyError(
                "cannot be added to this sum: it dealt no shares, is in it, or is too late",
                name="shop",
                value=shop,
                remedy="go on without this answer",
            )
        self._total += unpack(masked)
        self._added.add(shop)

    def confirm_request(self) -> ConfirmRequest:
        """Fixes sum and survivors on disk, the first time, and returns request 4.

        A shop signs one set alone: a server that forgot the first could never open a second.

        Raises:
            PrivacyError: Too few shops are in the sum.
        """
        if not self.is_fixed:
            if len(self._added) < self._roster.threshold:
                raise too_few("survivors", len(self._added), self._roster)
            header = FixedSum(asked=self._binding.asked, survivors=tuple(sorted(self._added)))
            content = header.content() + b"\n" + pack(self._total)
            self._take_up(self._decisions.decide(self._file, content))
        return ConfirmRequest(release=self._binding.release, survivors=self.survivors)

    def add_signature(self, shop: str, signature: str) -> None:
        """Takes in answer 4.

        Raises:
            PrivacyError: It is not a survivor's signature under this set.
        """
        statement = self._binding.statement(self.survivors)
        if shop not in self.survivors or not is_signed_by(
            self._roster.keys[shop], statement, signature
        ):
            raise PrivacyError(
                "has not signed this set of survivors",
                name="shop",
                value=shop,
                remedy="go on without this answer",
            )
        self._signatures[shop] = signature

    def open_request(self) -> OpenRequest:
        """Returns request 5.

        Raises:
            PrivacyError: Too few shops confirmed.
        """
        if len(self._signatures) < self._roster.threshold:
            raise too_few("shops that signed this set", len(self._signatures), self._roster)
        return OpenRequest(
            release=self._binding.release, signatures=dict(sorted(self._signatures.items()))
        )

    def add_shares(self, opened: OpenedShares) -> None:
        """Takes in answer 5.

        Raises:
            PrivacyError: A share is not the one that its dealer committed to: names the two shops,
                one of which lies. Nothing of the answer is used.
        """
        if opened.shop not in self.survivors or set(opened.shares) != set(self._binding.dealers):
            raise PrivacyError(
                "must open one share of each dealer",
                name="shop",
                value=opened.shop,
                remedy="go on without this answer",
            )
        for dealer, share in opened.shares.items():
            at = COMMITMENT_BYTES * (2 * self._place + USES.index(self._use(dealer)))
            committed = self._dealt[dealer].commitments[opened.shop]
            if commitments_of(share) != committed[at : at + COMMITMENT_BYTES]:
                raise PrivacyError(
                    f"has opened a share that {dealer} did not commit to: one of the two lies",
                    name="shop",
                    value=opened.shop,
                    remedy="ask both owners; no number of a shop was shown",
                )
        self._opened[opened.shop] = opened

    def total(self) -> Integers:
        """Opens the sum over the survivors, `(size,)`.

        Raises:
            PrivacyError: Too few shares, or those of a dealer give no secret of it.
        """
        threshold = self._roster.threshold
        if len(self._opened) < threshold:
            raise too_few("shops that opened shares", len(self._opened), self._roster)
        openers = sorted(self._opened)[:threshold]
        factors = lagrange([self._roster.place(shop) for shop in openers])
        total = self._total.copy()
        for dealer in self._binding.dealers:
            shares = {self._roster.place(s): self._opened[s].shares[dealer] for s in openers}
            secret = combine(shares, factors)
            if secret is None or not self._is_secret_of(dealer, secret):
                raise PrivacyError(
                    "has dealt shares that do not fit its key",
                    name="shop",
                    value=dealer,
                    remedy="run without it; no number of a shop was shown",
                )
            for key, sign in self._masks(dealer, secret):
                add_mask(total, key, sign=-sign)
        return centred(total)

    def _masks(self, dealer: str, secret: bytes) -> Iterator[tuple[bytes, int]]:
        """Yields the masks in the sum that a dealer's secret gives, with their signs."""
        binding = self._binding.digest()
        if dealer in self.survivors:
            yield derive(secret, "own mask", binding), 1
            return
        for survivor in self.survivors:
            public = self._keys[survivor].masks[self._place]
            key, sign = pair_key(secret, public, shops=(dealer, survivor), binding=binding)
            yield key, -sign  # the sign with which the survivor added it

    def _use(self, dealer: str) -> Use:
        return USES[dealer not in self.survivors]

    def _is_secret_of(self, dealer: str, secret: bytes) -> bool:
        if dealer in self.survivors:
            return True  # a false self-mask is a false input: the bounds on sums catch it
        return public_key(secret) == self._keys[dealer].masks[self._place]

    def _take_up(self, content: bytes) -> None:
        header, _, packed = content.partition(b"\n")
        fixed, total = read_message(FixedSum, header), unpack(packed)
        if fixed.asked != self._binding.asked or len(total) != len(self._total):
            raise PrivacyError(
                "must be what the shops of the sum were asked",
                name=f"what is asked for {self._binding.release}",
                remedy="continue from the run's own checkpoint",
            )
        self._fixed, self._total = fixed.survivors, total
