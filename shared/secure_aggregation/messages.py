"""What shops and server send each other, and what shops sign."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from shared.errors import PrivacyError
from shared.keys.signing import Digest, Signature, SigningKey, canonical, is_signed_by
from shared.keys.survivors import survivors_statement
from shared.secure_aggregation.roster import Roster
from shared.secure_aggregation.run_secrets import KEY_BYTES
from shared.secure_aggregation.shamir import SHARE_BYTES
from shared.settings.run_settings import Settings

KEYS_PURPOSE = b"fedprofile aggregation keys\n"
"""Begins what is signed, so that no other signature of the key can stand for it."""
COMMITMENT, COMMITMENT_BYTES = b"fedprofile share\n", 16
MAX_RELEASES = 1000
Key = Annotated[bytes, Field(min_length=KEY_BYTES, max_length=KEY_BYTES)]
"""An X25519 public key."""
Share = Annotated[bytes, Field(min_length=SHARE_BYTES, max_length=SHARE_BYTES)]
"""A share of a secret."""
Shop = Annotated[str, Field(min_length=1, max_length=100)]
ReleaseName = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
"""Names a sum of the run, such as `counts` or `adapter-3`."""


class Message(Settings):
    """Base of all messages: JSON with bytes in base64, read strictly."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    def content(self) -> bytes:
        """Returns the message's bytes, the same for the same message."""
        return canonical(self.model_dump(mode="json"))


Kind = TypeVar("Kind", bound=Message)


def read_message(kind: type[Kind], content: bytes) -> Kind:
    """Reads what `Message.content` wrote.

    Raises:
        PrivacyError: It is none of this kind.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise PrivacyError(
            f"is no {kind.__name__} of this version",
            name="message",
            remedy="update fedprofile on both sides",
        ) from error


class Terms(Message):
    """What a run of secure aggregation is about; every key and mask is bound to it."""

    run: Annotated[str, Field(min_length=1, max_length=100)]
    """Names the run; a set-up is made once for it."""
    plan: Digest
    """Of the run's public plan."""
    roster: Digest
    """Of the roster that all shops signed."""
    noise_shops: Annotated[int, Field(ge=1)]
    """Among how many shops the plan divides its noise."""
    releases: Annotated[tuple[ReleaseName, ...], Field(min_length=1, max_length=MAX_RELEASES)]
    """The sums that the run may ask for."""

    def digest(self) -> str:
        """SHA-256 of the canonical form."""
        return hashlib.sha256(self.content()).hexdigest()

    def place(self, release: str) -> int:
        """Returns a release's place among the keys, from 0.

        Raises:
            PrivacyError: The run has no such release.
        """
        if release not in self.releases:
            raise PrivacyError(
                "is not of this run",
                name="release",
                value=release,
                remedy="ask for one that the plan names",
            )
        return self.releases.index(release)


class ShopKeys(Message):
    """Answer 1: a shop's public keys for a run."""

    shop: Shop
    """Its name in the roster."""
    channel: Key
    """For letters."""
    masks: tuple[Key, ...]
    """One a release, in the order of the terms."""
    signature: Signature
    """Of the shop's key in the roster."""

    @classmethod
    def signed(
        cls, key: SigningKey, terms: Terms, *, shop: str, channel: bytes, masks: tuple[bytes, ...]
    ) -> ShopKeys:
        """Signs public keys under a run's terms."""
        signature = key.sign(_signed_keys(terms, shop, channel, masks))
        return cls(shop=shop, channel=channel, masks=masks, signature=signature)

    def check(self, terms: Terms, roster: Roster) -> None:
        """Checks that the roster's shop made them for these very terms.

        Raises:
            PrivacyError: It did not, or there is not one key a release.
        """
        roster.place(self.shop)
        content = _signed_keys(terms, self.shop, self.channel, self.masks)
        if len(self.masks) != len(terms.releases) or not is_signed_by(
            roster.keys[self.shop], content, self.signature
        ):
            raise PrivacyError(
                "has not signed these keys for this run",
                name="shop",
                value=self.shop,
                remedy="run without it; nothing was sent",
            )


def _signed_keys(terms: Terms, shop: str, channel: bytes, masks: tuple[bytes, ...]) -> bytes:
    keys = [channel.hex(), *(mask.hex() for mask in masks)]
    return KEYS_PURPOSE + canonical([terms.digest(), shop, keys])


class KeyList(Message):
    """Request 2: the keys of all shops that answered, in order of their names."""

    keys: tuple[ShopKeys, ...]
    """One a shop."""

    def setup(self, terms: Terms) -> str:
        """Returns the digest of terms and keys: all that follows is bound to it."""
        keys = [[k.shop, k.channel.hex(), *(m.hex() for m in k.masks)] for k in self.keys]
        return hashlib.sha256(canonical([terms.digest(), keys])).hexdigest()


class DealtShares(Message):
    """Answer 2: a shop's shares for the others, each in a letter that only its recipient reads."""

    shop: Shop
    """Who deals."""
    letters: dict[Shop, bytes]
    """By recipient: shares of self-mask seed and mask key for each release, sealed."""
    commitments: dict[Shop, bytes]
    """By recipient, itself among them: `commitments_of` the shares in its letter."""


class InputRequest(Message):
    """Request 3: which sum; what was asked of the shop travels beside it."""

    release: ReleaseName
    """Which sum."""
    letters: dict[Shop, bytes]
    """By dealer, all that have dealt: the letters to this shop."""
    commitments: dict[Shop, bytes]
    """By dealer: what it committed to for this shop."""


class ConfirmRequest(Message):
    """Request 4: who is in the sum."""

    release: ReleaseName
    """Which sum."""
    survivors: tuple[Shop, ...]
    """Shops whose input the server has added, in order of their names."""


class Confirmation(Message):
    """Answer 4: a shop's signature under the set."""

    shop: Shop
    """Whose signature."""
    signature: Signature
    """Of `SumBinding.statement`."""


class OpenRequest(Message):
    """Request 5: the signatures of those who confirmed."""

    release: ReleaseName
    """Which sum."""
    signatures: dict[Shop, Signature]
    """By shop."""


class OpenedShares(Message):
    """Answer 5: one share of each dealer's secret, never of both of its secrets."""

    shop: Shop
    """Whose shares."""
    shares: dict[Shop, Share]
    """By dealer: of its self-mask seed where it is in the sum, of its mask key where not."""


def commitments_of(shares: bytes) -> bytes:
    """Returns what binds a dealer to the shares of a letter, 16 bytes each.

    A share has 256 random bits, so that its hash tells nothing of it.
    """
    cuts = range(0, len(shares), SHARE_BYTES)
    hashes = (hashlib.sha256(COMMITMENT + shares[i : i + SHARE_BYTES]) for i in cuts)
    return b"".join(h.digest()[:COMMITMENT_BYTES] for h in hashes)


@dataclass(frozen=True)
class SumBinding:
    """What the masks and signatures of one sum are bound to.

    Masks of shops that were asked different things, or that saw other keys or shares, do not
    cancel, and what they sign is not the same.

    Attributes:
        setup: Digest of terms and keys.
        dealers: Shops that dealt shares, in order of their names.
        release: Which sum.
        asked: Digest of what the shops were asked.
    """

    setup: str
    dealers: tuple[str, ...]
    release: str
    asked: str

    def digest(self) -> str:
        """SHA-256 of all of it."""
        parts = [self.setup, self.dealers, self.release, self.asked]
        return hashlib.sha256(canonical(parts)).hexdigest()

    def statement(self, survivors: tuple[str, ...]) -> bytes:
        """Returns what a shop signs: that this is who is in the sum."""
        return survivors_statement(self.digest(), survivors)
