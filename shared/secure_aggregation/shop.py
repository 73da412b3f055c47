"""A shop's side of secure aggregation: five answers, each from what was decided on disk before.

Every answer may be given by another process; asked the same twice it is the same bytes, asked
anything else it is a refusal. What a shop decides (the terms, the keys, what was asked, who is in
the sum) is written before its answer is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import PrivacyError
from shared.keys.signing import Digest, SigningKey, is_signed_by
from shared.privacy.noise import Integers
from shared.secure_aggregation.dealing import USES, too_few
from shared.secure_aggregation.decisions import Decisions
from shared.secure_aggregation.masks import MODULUS, add_mask, pack, residues
from shared.secure_aggregation.messages import (
    ConfirmRequest,
    DealtShares,
    InputRequest,
    KeyList,
    OpenedShares,
    OpenRequest,
    ShopKeys,
    SumBinding,
    Terms,
)
from shared.secure_aggregation.roster import SignedRoster
from shared.secure_aggregation.run_secrets import derive, public_key
from shared.secure_aggregation.shop_record import ShopRecord

BeforeSigning = Callable[[SumBinding, tuple[str, ...]], None]
"""Keeps a set elsewhere too, such as in a ledger."""


def _nothing(binding: SumBinding, survivors: tuple[str, ...]) -> None:
    del binding, survivors


@dataclass(frozen=True)
class Contribution:
    """What a mechanism adds to a sum; all else is the protocol's.

    Attributes:
        release: Which sum.
        asked: Digest of everything that the shop was asked: head, adapter, candidates.
        numbers: Pays for the release and returns its whole numbers with the shop's share of the
            noise, `(n,)`. It is called with the digest of the set-up, which the payment must be
            bound to: a copy of an earlier answer would be masked anew, and the difference of two
            sums is then one shop's vector.
    """

    release: str
    asked: Digest
    numbers: Callable[[Digest], Integers]


@dataclass(frozen=True)
class ShopSide:
    """One shop in one run.

    Guarantee:
        Whatever the server and `max_colluding` other shops do, they learn of this shop's numbers
        at most, for each release, one sum over at least `threshold` shops that all were asked the
        same. So each shop's noise of variance `grid_variance(z, shops=noise_shops)` makes a sum
        with noise multiplier z.

    Assumes:
        X25519, HKDF and AES; distinct owners behind the roster's keys; the others' noise is honest
        but for `max_colluding`; `decisions` never forgets.

    Attributes:
        shop: Its name in the roster.
        key: Its key in the roster.
        roster: With all signatures.
        decisions: Of this run alone.
    """

    shop: str
    key: SigningKey
    roster: SignedRoster
    decisions: Decisions

    def __post_init__(self) -> None:
        roster = self.roster.check()
        roster.place(self.shop)
        if roster.keys[self.shop] != self.key.public:
            raise PrivacyError(
                "has another key in the roster",
                name="shop",
                value=self.shop,
                remedy="make a new roster with its key of now, which all shops sign",
            )

    def publish_keys(self, terms: Terms) -> ShopKeys:
        """Answers request 1 with public keys for the run.

        Raises:
            PrivacyError: The terms are another run's or not the roster's.
        """
        roster = self.roster.roster
        for name, value, signed in (
            ("roster", terms.roster, roster.digest()),
            ("noise_shops", terms.noise_shops, roster.noise_shops),
        ):
            if value != signed:
                raise PrivacyError(
                    f"must be {signed} as all shops signed it",
                    name=name,
                    value=value,
                    remedy="plan the run for this roster",
                )
        secrets = self._record.decide_terms(terms)
        return ShopKeys.signed(
            self.key,
            terms,
            shop=self.shop,
            channel=public_key(secrets.channel_key()),
            masks=tuple(public_key(secrets.mask_key(release)) for release in terms.releases),
        )

    def deal_shares(self, request: KeyList) -> DealtShares:
        """Answers request 2 with shares of all its secrets.

        Raises:
            PrivacyError: Keys are forged, of another run, replayed, too few or not its own.
        """
        terms, names = self._record.terms(), [keys.shop for keys in request.keys]
        if names != sorted(set(names)):
            raise PrivacyError(
                "must name each shop once, in order", name="keys", remedy="start a new run"
            )
        if len(names) < self.roster.roster.threshold:
            raise too_few("shops that sent keys", len(names), self.roster.roster)
        for keys in request.keys:
            keys.check(terms, self.roster.roster)
        if self.publish_keys(terms) not in request.keys:
            raise PrivacyError(
                "must hold this shop's own", name="keys", remedy="ask it for its keys first"
            )
        return self._record.decide_keys(request).deal()

    def mask(self, request: InputRequest, contribution: Contribution) -> bytes:
        """Answers request 3 with masked numbers, six bytes each.

        The contribution is computed once, after all that could be refused has been checked.

        Raises:
            PrivacyError: Another question for this release, other letters than before, a letter
                that cannot be read, too few dealers; or the mechanism's own refusal.
        """
        record, release = self._record, request.release
        setup = record.setup()
        setup.terms.place(release)
        if contribution.release != release:
            raise PrivacyError(
                f"must be for {release}",
                name="input",
                value=contribution.release,
                remedy="ask for the same release in request and question",
            )
        record.decide_letters(request, setup)
        record.decide_asked(release, contribution.asked)
        masked = record.masked(release)
        if masked is not None:
            return masked
        binding = record.binding(release, setup)
        keys = setup.pair_keys(binding.dealers, release=release, binding=binding.digest())
        seed = setup.secrets.self_mask(release, setup=setup.digest)
        total = residues(self._within_ring(contribution.numbers(setup.digest)))
        for key, sign in (*keys, (derive(seed, "own mask", binding.digest()), 1)):
            add_mask(total, key, sign=sign)
        return record.keep_masked(release, pack(total))

    def confirm(self, request: ConfirmRequest, *, before_signing: BeforeSigning = _nothing) -> str:
        """Answers request 4 with a signature under the set of shops in the sum.

        Args:
            request: Names the set.
            before_signing: Called with what the signature is bound to and the set, when all has
                been checked and before it is decided; what it raises ends the answer.

        Raises:
            PrivacyError: Too few, not itself, shops that dealt no shares, or a second set.
        """
        record, survivors = self._record, request.survivors
        binding = record.binding(request.release, record.setup())
        dealers = set(binding.dealers)
        if list(survivors) != sorted(set(survivors) & dealers) or self.shop not in survivors:
            raise PrivacyError(
                "must be shops that dealt shares, in order, this one among them",
                name="survivors",
                remedy="start a new run",
            )
        if record.masked(request.release) is None:
            raise PrivacyError(
                "has not sent its input", name="shop", value=self.shop, remedy="ask for it first"
            )
        if len(survivors) < self.roster.roster.threshold:
            raise too_few("survivors", len(survivors), self.roster.roster)
        before_signing(binding, survivors)
        record.decide_survivors(request)
        return self.key.sign(binding.statement(survivors))

    def open_shares(self, request: OpenRequest) -> OpenedShares:
        """Answers request 5 with one share of each dealer.

        Raises:
            PrivacyError: It has confirmed no set, or fewer than `threshold` shops this very one.
        """
        record, release, roster = self._record, request.release, self.roster.roster
        setup, survivors = record.setup(), record.survivors(release)
        binding = record.binding(release, setup)
        statement = binding.statement(survivors)
        signed = [
            shop
            for shop, signature in request.signatures.items()
            if shop in survivors and is_signed_by(roster.keys[shop], statement, signature)
        ]
        if len(signed) < roster.threshold:
            raise too_few("shops that signed this set", len(signed), roster)
        letters = record.letters()
        shares = {
            dealer: setup.held_share(dealer, letters, USES[dealer not in survivors], release)
            for dealer in binding.dealers
        }
        return OpenedShares(shop=self.shop, shares=shares)

    def setup_digest(self) -> Digest:
        """Returns the digest of the run's set-up, which payments are bound to.

        Raises:
            PrivacyError: There is none yet, or the run has ended.
        """
        return self._record.setup().digest

    def end(self) -> None:
        """Ends the run: secrets are gone from the disk, and no set-up is made for it again."""
        self._record.end()

    @property
    def _record(self) -> ShopRecord:
        return ShopRecord(self.shop, self.roster.roster, self.decisions)

    def _within_ring(self, numbers: Integers) -> Integers:
        size = self.roster.roster.size
        bound = MODULUS // 2 // size
        if numbers.size and not -bound < numbers.min() <= numbers.max() < bound:
            raise PrivacyError(
                f"must be below {bound} in size, or a sum of {size} shops could wrap",
                name="numbers",
                remedy="take part with fewer users",
            )
        return numbers
