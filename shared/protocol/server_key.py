"""Which server's signatures count where a ledger is checked: of the key that was pinned."""

from __future__ import annotations

from pathlib import Path

from shared.keys.signing import read_public_key
from shared.privacy.ledger.reporting.evidence import PinnedKey
from shared.protocol.invitation import INVITATION, read_invitation


def pinned_key(ledgers: Path, *, file: Path | None = None) -> PinnedKey | None:
    """Returns the key that was named, else the one of the node's invitation, else None.

    Args:
        ledgers: A ledger, or a folder of them. A node's lies in the folder `ledger` of its own.
        file: Names the key; an auditor gets it from the server's operator, not from the shop.

    Raises:
        ConfigError: The file or the invitation cannot be read.
    """
    if file is not None:
        return PinnedKey(read_public_key(file, name="server-key"), f"of {file.name}")
    folder = ledgers if ledgers.is_dir() else ledgers.parent
    invitation = folder.resolve().parent / INVITATION
    if not invitation.is_file():
        return None
    key = read_invitation(invitation).signing_key
    return PinnedKey(key, "of the invitation that the shop keeps beside its ledger")
