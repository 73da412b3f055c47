"""The roster on the server: the shops' keys, the roster made of them, and the owners' signatures.

Files: `keys.json`, key and node by shop; `terms.json`, the numbers that the operator chose;
`roster.json`, a roster; `signatures.json` and `held.json`, by shop, its signature and the
fingerprint of the roster signed by all that its node holds. What belongs to another roster than
that of `roster.json` counts for nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from server.coordinator.folder import ServerFolder
from server.coordinator.invited_shops import read_shops
from shared.errors import ConfigError
from shared.keys.signing import Digest, Signature, canonical, is_signed_by
from shared.protocol.roster_messages import RosterAnswer
from shared.runtime.file_store import write_atomic
from shared.secure_aggregation.roster import PURPOSE, Roster, SignedRoster, make_roster
from shared.secure_aggregation.roster_file import read_roster, write_roster
from shared.secure_aggregation.roster_words import roster_values
from shared.settings.run_settings import Settings

MAKE = "run `fedprofile server roster make`"
_Number = Annotated[int, Field(ge=0)] | None


class ShopKey(Settings):
    """The key that a shop's node told."""

    node_id: int
    """Flower's id of the node: a shop that is invited again tells its key again."""
    key: Digest
    """Public key of the shop's ledger."""


class RosterTerms(Settings):
    """What the operator chose; None takes what is usual for so many shops."""

    max_missing: _Number = None
    """Shops that may be missing from a sum."""
    max_colluding: _Number = None
    """Shops that may help the server."""


@dataclass(frozen=True)
class RosterFiles:
    """The roster's files of a coordinator.

    Attributes:
        server: The coordinator's folder.
    """

    server: ServerFolder

    def roster(self) -> Roster | None:
        """Returns the roster that was made last; None where none was.

        Raises:
            ConfigError: The file is damaged.
        """
        return read_roster(self._path("roster"), Roster, remedy=f"delete it, and {MAKE} again")

    def keys(self) -> dict[str, str]:
        """Returns the key of each invited shop whose node has told it.

        Raises:
            ConfigError: The file is damaged.
        """
        invited = read_shops(self.server)
        told: dict[str, ShopKey] = self._read("keys", ShopKey)
        return {
            shop: told[shop].key
            for shop, entry in invited.items()
            if shop in told and told[shop].node_id == entry.node_id
        }

    def terms(self) -> RosterTerms:
        """Returns what the operator chose.

        Raises:
            ConfigError: The file is damaged.
        """
        return RosterTerms(**self._read("terms", _Number))

    def signatures(self, roster: Roster) -> dict[str, str]:
        """Returns the signatures of a roster that are there and right, by shop.

        Raises:
            ConfigError: The file is damaged.
        """
        return _right(roster, self._read("signatures", Signature))

    def holders(self, roster: Roster) -> set[str]:
        """Returns the shops whose nodes hold the roster with all signatures.

        Raises:
            ConfigError: The file is damaged.
        """
        digest, held = roster.digest(), self._read("held", Digest)
        return {shop for shop in roster.keys if held.get(shop) == digest}

    def choose(self, terms: RosterTerms) -> None:
        """Notes what the operator chose; a number that is None stays as it was.

        Raises:
            PrivacyError: There are too few invited shops for the two numbers; nothing was noted.
        """
        chosen = self.terms().model_copy(update=terms.model_dump(exclude_none=True))
        invited = sorted(read_shops(self.server))
        # The bounds depend on how many shops there are, so they are checked before one is asked.
        stand_ins = {shop: f"{place:064x}" for place, shop in enumerate(invited)}
        make_roster(stand_ins, **chosen.model_dump())
        self._write("terms", chosen.model_dump())

    def note(self, shop: str, answer: RosterAnswer) -> None:
        """Notes what a shop answered.

        Args:
            shop: The one whose key its node was registered with, whatever the answer says.
            answer: A signature counts only if it is right, and is kept for `roster.json` alone.
        """
        told: dict[str, ShopKey] = self._read("keys", ShopKey)
        told[shop] = ShopKey(node_id=read_shops(self.server)[shop].node_id, key=answer.key)
        self._write("keys", {name: entry.model_dump() for name, entry in told.items()})
        held = self._read("held", Digest) | {shop: answer.held}
        self._write("held", {name: digest for name, digest in held.items() if digest})
        roster = self.roster()
        if roster is not None and answer.signature is not None:
            signatures = self._read("signatures", Signature) | {shop: answer.signature}
            self._write("signatures", _right(roster, signatures))

    def propose(self) -> Roster:
        """Makes the roster of all invited shops; one that says the same stays as it is.

        Raises:
            ConfigError: A shop's key is not known yet, or two shops have the same.
            PrivacyError: There are too few shops for the two numbers.
        """
        keys, invited = self.keys(), sorted(read_shops(self.server))
        unknown = [shop for shop in invited if shop not in keys]
        if unknown:
            raise ConfigError(
                "have not told their keys yet",
                name="shops",
                value=", ".join(unknown),
                remedy="have their owners run `fedprofile node start`, then "
                "`fedprofile server roster make` again",
            )
        _check_distinct(keys)
        roster = make_roster(keys, **self.terms().model_dump())
        if roster != self.roster():
            write_roster(self._path("roster"), roster)
        return roster

    def _path(self, name: str) -> Path:
        return self.server.roster / f"{name}.json"

    def _read(self, name: str, kind: Any) -> dict[str, Any]:
        path = self._path(name)
        if not path.exists():
            return {}
        try:
            entries: dict[str, Any] = TypeAdapter(dict[str, kind]).validate_python(
                json.loads(path.read_bytes())
            )
        except (ValueError, ValidationError) as error:
            raise ConfigError(
                "is damaged", name="file", value=path, remedy=f"delete it, and {MAKE} again"
            ) from error
        return entries

    def _write(self, name: str, entries: dict[str, Any]) -> None:
        write_atomic(self._path(name), canonical(entries), durable=True, private=True)


def _right(roster: Roster, signatures: dict[str, str]) -> dict[str, str]:
    """Returns the signatures that are right for this roster."""
    content = PURPOSE + roster.content()
    return {
        shop: signatures[shop]
        for shop, key in roster.keys.items()
        if is_signed_by(key, content, signatures.get(shop, ""))
    }


def _check_distinct(keys: dict[str, str]) -> None:
    shop_of: dict[str, str] = {}
    for shop, key in keys.items():
        other = shop_of.setdefault(key, shop)
        if other != shop:
            raise ConfigError(
                f"has the same key as {other}: one ledger, or a copy of it, serves both",
                name="shop",
                value=shop,
                remedy="revoke one of them with `fedprofile server revoke`",
            )


def signed_roster(folder: ServerFolder) -> SignedRoster:
    """Returns the roster under the signatures of all its shops.

    Raises:
        ConfigError: There is none, a shop's owner has not accepted it, or a file is damaged.
    """
    files = RosterFiles(folder)
    roster = files.roster()
    if roster is None:
        raise _no_roster()
    signatures = files.signatures(roster)
    waiting = [shop for shop in roster.keys if shop not in signatures]
    if waiting:
        raise ConfigError(
            f"is not accepted by the owners of {', '.join(waiting)}",
            name="roster",
            value=roster.digest()[:16],
            remedy="have them run `fedprofile node roster show` and `accept`, then run "
            "`fedprofile server roster make` again",
        )
    return SignedRoster(roster=roster, signatures=signatures)


def roster_state(folder: ServerFolder) -> dict[str, Any] | None:
    """Returns plain values, from the files alone; None where no roster was made.

    Raises:
        ConfigError: A file is damaged.
    """
    files = RosterFiles(folder)
    roster = files.roster()
    if roster is None:
        return None
    signatures, holders = files.signatures(roster), files.holders(roster)
    keys, invited = files.keys(), read_shops(folder)
    changed = sorted(
        {shop for shop in invited if shop not in roster.keys}
        | {shop for shop in roster.keys if shop not in invited}
        | {shop for shop, key in keys.items() if roster.keys.get(shop) != key}
    )
    return {
        **roster_values(roster),
        "waiting": [shop for shop in roster.keys if shop not in signatures],
        "unsent": [shop for shop in roster.keys if shop not in holders],
        "changed": changed,
    }


def require_state(folder: ServerFolder) -> dict[str, Any]:
    """Returns what `roster_state` does.

    Raises:
        ConfigError: No roster was made yet, or a file is damaged.
    """
    state = roster_state(folder)
    if state is None:
        raise _no_roster()
    return state


def _no_roster() -> ConfigError:
    return ConfigError(
        "there is no roster: shops that share their noise must know each other",
        remedy="make it with `fedprofile server roster make`",
    )
