"""The server's side of secure aggregation: the set-up of a run, then one `MaskedSum` a release.

The server keeps on disk what it must never ask twice in two ways: the keys before it asks for
shares, the shares before it asks for input, and sum and survivors before it asks for signatures.
All else it asks again after a restart; shops answer with the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.errors import PrivacyError
from shared.secure_aggregation.dealing import too_few
from shared.secure_aggregation.decisions import Decisions, require
from shared.secure_aggregation.masked_sum import MaskedSum
from shared.secure_aggregation.messages import (
    COMMITMENT_BYTES,
    DealtShares,
    InputRequest,
    KeyList,
    Message,
    ShopKeys,
    SumBinding,
    Terms,
    read_message,
)
from shared.secure_aggregation.roster import Roster

_KEYS, _DEALT = "keys", "dealt"


class AllDealt(Message):
    """What the server keeps of the set-up, in order of the shops' names."""

    dealt: tuple[DealtShares, ...]
    """Of each shop that dealt."""


@dataclass
class ServerSide:
    """The server in one run.

    Assumes:
        Whoever calls knows from the transport which shop a message is from.

    Attributes:
        roster: That all shops signed.
        terms: Of the run.
        decisions: Of this run alone.
    """

    roster: Roster
    terms: Terms
    decisions: Decisions
    _keys: dict[str, ShopKeys] = field(default_factory=dict)
    _dealt: dict[str, DealtShares] = field(default_factory=dict)
    _fixed: dict[str, DealtShares] | None = None

    def add_keys(self, keys: ShopKeys) -> None:
        """Takes in answer 1; one that comes after the list was fixed is left out of the run.

        Raises:
            PrivacyError: They are not of a shop of the roster for this run.
        """
        keys.check(self.terms, self.roster)
        self._keys[keys.shop] = keys

    def key_list(self) -> KeyList:
        """Fixes whose keys count, the first time, and returns request 2.

        Raises:
            PrivacyError: Too few shops sent keys.
        """
        content = self.decisions.read(_KEYS)
        if content is None:
            if len(self._keys) < self.roster.threshold:
                raise too_few("shops that sent keys", len(self._keys), self.roster)
            listed = KeyList(keys=tuple(self._keys[shop] for shop in sorted(self._keys)))
            content = self.decisions.decide(_KEYS, listed.content())
        return read_message(KeyList, content)

    def add_shares(self, dealt: DealtShares) -> None:
        """Takes in answer 2.

        Raises:
            PrivacyError: It is not one letter to each other shop of the list.
        """
        shops = {keys.shop for keys in self.key_list().keys}
        lengths = {len(commitments) for commitments in dealt.commitments.values()}
        if (
            dealt.shop not in shops
            or set(dealt.letters) != shops - {dealt.shop}
            or set(dealt.commitments) != shops
            or lengths != {2 * len(self.terms.releases) * COMMITMENT_BYTES}
        ):
            raise PrivacyError(
                "has dealt no share to each shop of the set-up",
                name="shop",
                value=dealt.shop,
                remedy="run without it",
            )
        self._dealt[dealt.shop] = dealt

    def fix_dealers(self) -> tuple[str, ...]:
        """Fixes who takes part in the run's sums, the first time, and returns their names.

        Raises:
            PrivacyError: Too few shops dealt shares.
        """
        if self.decisions.read(_DEALT) is None:
            if len(self._dealt) < self.roster.threshold:
                raise too_few("shops that dealt shares", len(self._dealt), self.roster)
            everyone = AllDealt(dealt=tuple(self._dealt[shop] for shop in sorted(self._dealt)))
            self.decisions.decide(_DEALT, everyone.content())
        return tuple(self._all_dealt())

    def input_request(self, shop: str, release: str) -> InputRequest:
        """Returns request 3 to a shop that dealt shares."""
        dealt = self._all_dealt()
        others = {dealer: m for dealer, m in dealt.items() if dealer != shop}
        return InputRequest(
            release=release,
            letters={dealer: m.letters[shop] for dealer, m in others.items()},
            commitments={dealer: m.commitments[shop] for dealer, m in others.items()},
        )

    def masked_sum(self, release: str, *, asked: str, size: int) -> MaskedSum:
        """Returns the sum of a release, as far as it got.

        Args:
            release: Of the terms.
            asked: Digest of what all shops are asked.
            size: Numbers of each shop.
        """
        keys, dealt = self.key_list(), self._all_dealt()
        binding = SumBinding(keys.setup(self.terms), tuple(dealt), release, asked)
        return MaskedSum(
            binding,
            size=size,
            place=self.terms.place(release),
            roster=self.roster,
            keys={k.shop: k for k in keys.keys},
            dealt=dealt,
            decisions=self.decisions,
        )

    def _all_dealt(self) -> dict[str, DealtShares]:
        if self._fixed is None:
            content = require(self.decisions, _DEALT, remedy="let shops deal shares first")
            self._fixed = {m.shop: m for m in read_message(AllDealt, content).dealt}
        return self._fixed
