"""The roster: which shops add up, how many may be missing and how many may be dishonest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from shared.errors import PrivacyError
from shared.keys.signing import Digest, Signature, SigningKey, canonical, is_signed_by
from shared.privacy.accounting.roster_bounds import RosterBounds
from shared.settings.run_settings import Settings

PURPOSE = b"fedprofile roster\n"
"""Begins what is signed, so that no other signature of the key can stand for it."""


class Roster(Settings):
    """The terms that all shops sign."""

    keys: dict[str, Digest]
    """Ed25519 public key of each shop, by its public name; an owner has one."""
    max_missing: Annotated[int, Field(ge=0)]
    """Shops `d` that may be missing from a sum."""
    max_colluding: Annotated[int, Field(ge=0)]
    """Shops `t` that may help the server: tell it what they know, and add no noise."""

    @model_validator(mode="after")
    def _holds(self) -> Roster:
        """Checks what the guarantee stands on.

        Raises:
            PrivacyError: The roster is too small for its `d` and `t`, or names a key twice.
        """
        self.bounds.check()
        if len(set(self.keys.values())) < len(self.keys):
            raise PrivacyError(
                "names one key for two shops",
                name="roster",
                value=self.digest()[:16],
                remedy="list each owner once",
            )
        return self

    @property
    def bounds(self) -> RosterBounds:
        """Its numbers, without names and keys."""
        return RosterBounds(self.size, self.max_missing, self.max_colluding)

    @property
    def size(self) -> int:
        """Shops `K`."""
        return len(self.keys)

    @property
    def threshold(self) -> int:
        """Least number of shops in a sum, and of shares that open it: `m = K - d`."""
        return self.bounds.threshold

    @property
    def noise_shops(self) -> int:
        """Honest shops that are in every sum: `n = K - d - t`; each adds an n-th of the noise."""
        return self.bounds.noise_shops

    def place(self, shop: str) -> int:
        """Returns a shop's number, from 1, in order of the names.

        Raises:
            PrivacyError: It is not in the roster.
        """
        if shop not in self.keys:
            raise PrivacyError(
                "is not in the roster",
                name="shop",
                value=shop,
                remedy="make a new roster with it, which all shops sign",
            )
        return sorted(self.keys).index(shop) + 1

    def content(self) -> bytes:
        """Returns the canonical JSON that is signed."""
        return canonical(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256 of the content: the fingerprint that owners compare with each other."""
        return hashlib.sha256(self.content()).hexdigest()


def make_roster(
    keys: Mapping[str, str], *, max_missing: int | None = None, max_colluding: int | None = None
) -> Roster:
    """Makes a roster.

    Args:
        keys: Public key of each shop by name.
        max_missing: None for none of 3 shops, 1, and 2 from 20 shops on.
        max_colluding: None for a third of the shops.

    Raises:
        PrivacyError: There are too few shops for the two numbers.
    """
    bounds = RosterBounds.usual(len(keys), max_missing=max_missing, max_colluding=max_colluding)
    return Roster(
        keys=dict(sorted(keys.items())),
        max_missing=bounds.max_missing,
        max_colluding=bounds.max_colluding,
    )


class SignedRoster(Settings):
    """A roster and the shops' signatures under it."""

    roster: Roster
    """What was signed."""
    signatures: dict[str, Signature]
    """By shop."""

    def check(self) -> Roster:
        """Returns the roster if every shop in it has signed it.

        A server that could list shops by itself would list its own, and "at least m shops" would
        be m - 1 copies of the server.

        Raises:
            PrivacyError: A signature is missing or wrong.
        """
        content = PURPOSE + self.roster.content()
        for shop, key in self.roster.keys.items():
            if not is_signed_by(key, content, self.signatures.get(shop, "")):
                raise PrivacyError(
                    f"has not signed the roster {self.roster.digest()[:16]}…",
                    name="shop",
                    value=shop,
                    remedy="wait until every owner has accepted it",
                )
        return self.roster


def sign_roster(key: SigningKey, roster: Roster) -> str:
    """Signs a roster: 128 hexadecimal digits."""
    return key.sign(PURPOSE + roster.content())
