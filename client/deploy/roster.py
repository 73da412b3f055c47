"""The roster on a node: what the server offered, what the owner accepted, what all have signed.

Three files: `offered.json`, a roster; `accepted.json`, a roster with the shop's own signature; and
`signed.json`, with those of all. An offer changes nothing but the first.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from client.deploy.folder import NodeFolder
from client.deploy.node_ledger import ledger_files, open_ledger
from shared.errors import ConfigError, FedprofileError, PrivacyError
from shared.keys.signing import SigningKey
from shared.privacy.ledger.reporting.status import read_ledger
from shared.protocol.roster_messages import RosterAnswer
from shared.secure_aggregation.roster import Roster, SignedRoster, sign_roster
from shared.secure_aggregation.roster_file import (
    parse_roster,
    read_roster,
    write_roster,
)
from shared.secure_aggregation.roster_words import roster_values, spoken

LOG = logging.getLogger("fedprofile.client")
LEAST_DIGITS = 32
"""Of a fingerprint that is accepted. A server lists keys of its own choice, so it can look for two
rosters that begin alike: for 16 digits after 2^32 attempts, for 32 after 2^64."""
OFFER_AGAIN = "ask the server's owner to run `fedprofile server roster make` again"
WORDS = {
    "none": "none offered yet",
    "offered": "offered by the server, not accepted by you",
    "accepted": "accepted by you, waiting for the other owners",
    "signed": "signed by all shops",
}
"""How far a roster is, in words."""
ACCEPT = "compare the fingerprint with the other owners, then `fedprofile node roster accept` it"


def offered_file(folder: NodeFolder) -> Path:
    """What the server offered last."""
    return folder.roster / "offered.json"


def accepted_file(folder: NodeFolder) -> Path:
    """What the owner accepted last, under the shop's signature."""
    return folder.roster / "accepted.json"


def signed_file(folder: NodeFolder) -> Path:
    """What all shops signed."""
    return folder.roster / "signed.json"


def own_key(folder: NodeFolder) -> str:
    """Returns the public key of the shop's ledger, which is its key in a roster.

    Raises:
        PrivacyError: The ledger cannot be read or does not verify.
    """
    return read_ledger(ledger_files(folder).ledger)[0].public_key


def offered_roster(folder: NodeFolder) -> Roster | None:
    """Returns what the server offered last.

    Raises:
        ConfigError: The file is damaged.
    """
    return read_roster(offered_file(folder), Roster, remedy=OFFER_AGAIN)


def accepted_roster(folder: NodeFolder) -> SignedRoster | None:
    """Returns what the owner accepted last, with the shop's own signature alone.

    Raises:
        ConfigError: The file is damaged.
    """
    return read_roster(accepted_file(folder), SignedRoster, remedy=ACCEPT)


def signed_roster(folder: NodeFolder) -> SignedRoster | None:
    """Returns the roster that all shops signed; None unless it is the one the owner accepted.

    Raises:
        ConfigError: A file is damaged.
        PrivacyError: A signature is wrong, or the ledger cannot be read.
    """
    signed = read_roster(signed_file(folder), SignedRoster, remedy=OFFER_AGAIN)
    if signed is None or not _accepted(folder, signed.roster):
        return None
    signed.check()
    return signed


def _accepted(folder: NodeFolder, roster: Roster) -> bool:
    """Says whether the owner accepted exactly this roster, under the key that the shop has now."""
    accepted = accepted_roster(folder)
    same = accepted is not None and accepted.roster.digest() == roster.digest()
    return same and roster.keys.get(folder.settings().shop) == own_key(folder)


def accept_roster(folder: NodeFolder, fingerprint: str) -> Roster:
    """Signs the offered roster.

    Args:
        folder: The node's folder.
        fingerprint: All 64 digits or the first 32 at least, with spaces or hyphens or without.

    Raises:
        ConfigError: No roster was offered, or it is not the one of the fingerprint; the file is
            damaged, or the passphrase wrong.
        PrivacyError: It does not list the shop with its key.
        StorageError: The disk refused; nothing was accepted.
    """
    roster = _offered_as(folder, fingerprint)
    key_file = ledger_files(folder).key
    open_ledger(folder)  # finishes a rotation that was cut short
    check_own_place(folder, roster)
    key, shop = SigningKey.load(key_file), folder.settings().shop
    if key.public != roster.keys[shop]:
        raise PrivacyError(
            "is not the key of the ledger",
            name="key",
            value=key_file,
            remedy="restore the key of this ledger",
        )
    signature = sign_roster(key, roster)
    write_roster(accepted_file(folder), SignedRoster(roster=roster, signatures={shop: signature}))
    return roster


def _offered_as(folder: NodeFolder, fingerprint: str) -> Roster:
    """Returns the offered roster if the fingerprint is its own."""
    digits = fingerprint.lower().translate(str.maketrans("", "", "-: "))
    roster = offered_roster(folder)
    if roster is None:
        raise _none_offered()
    if len(digits) < LEAST_DIGITS:
        raise ConfigError(
            f"must have at least {LEAST_DIGITS} digits: less can be made to look alike",
            name="fingerprint",
            value=digits,
            remedy="pass all of what `fedprofile node roster show` prints, once you compared it",
        )
    if not roster.digest().startswith(digits):
        raise ConfigError(
            f"is not that of the offered roster, {spoken(roster.digest())}",
            name="fingerprint",
            value=digits,
            remedy="the server may show you other shops than it shows the others: ask the owner "
            "who gave you this fingerprint what `fedprofile node roster show` prints there",
        )
    return roster


def _none_offered() -> ConfigError:
    return ConfigError(
        "no roster was offered to this node yet",
        remedy="start the node, and ask the server's owner to run `fedprofile server roster make`",
    )


def check_own_place(folder: NodeFolder, roster: Roster) -> None:
    """Refuses a roster that does not list the shop with its key of today.

    Raises:
        PrivacyError: It does not.
    """
    shop = folder.settings().shop
    if roster.keys.get(shop) != own_key(folder):
        listed = "lists another key for" if shop in roster.keys else "does not list"
        raise PrivacyError(
            f"{listed} {shop}",
            name="roster",
            value=roster.digest()[:16],
            remedy=OFFER_AGAIN,
        )


def answer_roster(
    folder: NodeFolder, *, content: bytes | None = None, signed: bytes | None = None
) -> RosterAnswer:
    """Answers the server: keeps what it offers, and tells what the owner accepted of it.

    Args:
        folder: The node's folder.
        content: A roster that is offered, canonical JSON.
        signed: A roster with all signatures, canonical JSON.

    Returns:
        The shop's key, its signature if the owner accepted exactly this roster, and the
        fingerprint of the roster of all signatures that the node holds.

    Raises:
        PrivacyError: What came is no roster, or not one that the owner accepted and all signed.
        ConfigError: A file is damaged.
        StorageError: The disk refused.
    """
    signature = None
    if content is not None:
        signature = _take_offer(folder, parse_roster(content, Roster))
    if signed is not None:
        _take_signed(folder, parse_roster(signed, SignedRoster))
    return RosterAnswer(key=own_key(folder), signature=signature, held=_held(folder))


def _take_offer(folder: NodeFolder, roster: Roster) -> str | None:
    """Keeps an offer; returns the signature that the owner gave it."""
    shop = folder.settings().shop
    try:
        check_own_place(folder, roster)
    except PrivacyError as error:  # the server learns the key of today from the answer
        LOG.error("shop=%s: a roster is not shown to the owner: %s", shop, error)
        return None
    if _other_offer(folder, roster):
        write_roster(offered_file(folder), roster)
        LOG.info("roster %s… is offered; see `fedprofile node roster show`", roster.digest()[:16])
    if not _accepted(folder, roster):
        return None
    accepted = accepted_roster(folder)
    return None if accepted is None else accepted.signatures.get(shop)


def _other_offer(folder: NodeFolder, roster: Roster) -> bool:
    try:
        offered = offered_roster(folder)
    except ConfigError:  # damaged: what is offered now takes its place
        return True
    return offered != roster


def _take_signed(folder: NodeFolder, signed: SignedRoster) -> None:
    """Keeps a roster that all have signed.

    Raises:
        PrivacyError: The owner did not accept it, or a signature is missing or wrong.
    """
    signed.check()
    if not _accepted(folder, signed.roster):
        raise PrivacyError(
            "was not accepted by the shop's owner",
            name="roster",
            value=signed.roster.digest()[:16],
            remedy=ACCEPT,
        )
    write_roster(signed_file(folder), signed)


def _held(folder: NodeFolder) -> str | None:
    try:
        signed = signed_roster(folder)
    except ConfigError:  # damaged: the server sends it again
        return None
    return None if signed is None else signed.roster.digest()


def roster_state(folder: NodeFolder) -> dict[str, str | None]:
    """Returns how far the newest roster is: plain values.

    Returns:
        `state`, which is `none`, `offered`, `accepted`, `signed` or `damaged`; `fingerprint`; and
        `words`, one line about it.
    """
    try:
        roster = newest_roster(folder)
        state = "none" if roster is None else _state_of(folder, roster)
    except FedprofileError as error:
        return {"state": "damaged", "fingerprint": None, "words": str(error)}
    if roster is None:
        return {"state": state, "fingerprint": None, "words": WORDS[state]}
    words = f"{roster.digest()[:16]}… of {roster.size} shops, {WORDS[state]}"
    return {"state": state, "fingerprint": roster.digest(), "words": words}


def newest_roster(folder: NodeFolder) -> Roster | None:
    """Returns what was offered last, or what was accepted where the offer's file is gone.

    Raises:
        ConfigError: A file is damaged.
    """
    offered, accepted = offered_roster(folder), accepted_roster(folder)
    return offered if offered is not None or accepted is None else accepted.roster


def _state_of(folder: NodeFolder, roster: Roster) -> str:
    if not _accepted(folder, roster):
        return "offered"
    signed = signed_roster(folder)
    return "accepted" if signed is None else "signed"


def changes_since(before: Roster, after: Roster) -> dict[str, list[str]]:
    """Returns how a roster differs from an earlier one: `joined`, `left`, `new key`, `numbers`."""
    both = before.keys.keys() & after.keys.keys()
    numbers = ("max_missing", "max_colluding")
    return {
        "joined": sorted(after.keys.keys() - both),
        "left": sorted(before.keys.keys() - both),
        "new key": sorted(shop for shop in both if before.keys[shop] != after.keys[shop]),
        "numbers": [
            f"{name} {getattr(before, name)} -> {getattr(after, name)}"
            for name in numbers
            if getattr(before, name) != getattr(after, name)
        ],
    }


def roster_report(folder: NodeFolder) -> dict[str, Any]:
    """Returns what an owner needs to know of the newest roster: plain values.

    Raises:
        ConfigError: None was offered yet, or a file is damaged.
        PrivacyError: The ledger cannot be read, or a signature is wrong.
    """
    roster, accepted = newest_roster(folder), accepted_roster(folder)
    if roster is None:
        raise _none_offered()
    shop, key = folder.settings().shop, own_key(folder)
    changes = None
    if accepted is not None and accepted.roster != roster:
        changes = {
            "fingerprint": accepted.roster.digest(),
            **changes_since(accepted.roster, roster),
        }
    return {
        "federation": folder.invitation().server,
        "shop": shop,
        "state": _state_of(folder, roster),
        "own_key": key,
        "own_key_listed": roster.keys.get(shop) == key,
        **roster_values(roster),
        "changes": changes,
    }
