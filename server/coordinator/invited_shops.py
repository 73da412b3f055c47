"""Who was invited: shop, node id and public key; the one source of a node's name."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from server.coordinator.folder import ServerFolder
from server.coordinator.ledger_receipts import last_receipt, receipts_file
from server.coordinator.superlink import connect_superlink
from shared.errors import ConfigError
from shared.flower.server.control import node_public_key
from shared.keys.signing import Digest, canonical
from shared.protocol.invitation import Invitation, PlanLimits, PublicBase
from shared.runtime.file_store import write_atomic
from shared.settings.run_settings import Settings


class InvitedShop(Settings):
    """One shop of the federation."""

    shop: str
    """Public name."""
    node_id: int
    """Flower's id of its node."""
    key: str
    """Its public key, PEM."""
    after: Digest | None = None
    """Hash of the last ledger line that was signed for the shop before it was invited."""


def read_shops(folder: ServerFolder) -> dict[str, InvitedShop]:
    """Returns the invited shops by name.

    Raises:
        ConfigError: The file is damaged.
    """
    if not folder.shops.exists():
        return {}
    try:
        entries = [InvitedShop.model_validate(v) for v in json.loads(folder.shops.read_bytes())]
    except (ValueError, ValidationError) as error:
        raise ConfigError(
            "is damaged", name="shops", value=folder.shops, remedy="restore its backup"
        ) from error
    return {entry.shop: entry for entry in entries}


def invite_shop(
    folder: ServerFolder, shop: str, *, key: Path, out: Path, again: bool = False
) -> Invitation:
    """Registers a shop's node and writes its invitation.

    Args:
        folder: The coordinator's folder.
        shop: Public name.
        key: The node's public key.
        out: Where the invitation is written.
        again: Whether the operator knows that lines of a ledger were signed under this name. The
            shop's next ledger may then have a new key, if it counts all that was signed.

    Raises:
        ConfigError: The shop is invited already, was here before, or the key cannot be used.
        PrivacyError: The shop's receipts cannot be read.
        RunError: The server does not run.
    """
    shops = read_shops(folder)
    if shop in shops:
        raise ConfigError(
            "is invited already",
            name="shop",
            value=shop,
            remedy="revoke it first, or use another name",
        )
    last = last_receipt(folder.receipts, shop)
    if last is not None and not again:
        raise ConfigError(
            f"was here before: line {last.entry} of its ledger is signed",
            name="shop",
            value=shop,
            remedy="pass --again if it is the same shop, and send its owner "
            f"{receipts_file(folder.receipts, shop)} for `fedprofile node ledger restore`; use "
            "another name for another shop",
        )
    content = node_public_key(key)
    with connect_superlink(folder) as link:
        node_id = link.register(key)
    after = None if last is None else last.head
    shops[shop] = InvitedShop(shop=shop, node_id=node_id, key=content.decode(), after=after)
    _write(folder, shops)
    invitation = make_invitation(folder, shop)
    write_atomic(out, invitation.content(), durable=True, private=True)
    return invitation


def revoke_shop(folder: ServerFolder, shop: str) -> None:
    """Cuts a shop's node off.

    Raises:
        ConfigError: The shop is not invited.
        RunError: The server does not run.
    """
    shops = read_shops(folder)
    if shop not in shops:
        raise ConfigError(
            "is not invited",
            name="shop",
            value=shop,
            remedy=f"known are {', '.join(sorted(shops)) or 'none'}",
        )
    with connect_superlink(folder) as link:
        link.unregister(shops[shop].node_id)
    del shops[shop]
    _write(folder, shops)


def make_invitation(folder: ServerFolder, shop: str) -> Invitation:
    """Builds the invitation of a shop."""
    settings = folder.settings()
    privacy, training = settings.privacy, settings.training
    if privacy.epsilon is None:
        raise ConfigError(
            "privacy.epsilon must be a number", remedy="shops release nothing without noise"
        )
    return Invitation(
        shop=shop,
        server=settings.name,
        address=settings.address,
        authority=folder.authority.read_text(),
        signing_key=folder.server_key(),
        limits=PlanLimits(
            epsilon=privacy.epsilon,
            delta=privacy.delta,
            rounds=training.rounds,
            sample_rate=training.sample_rate,
            max_grad_norm=training.max_grad_norm,
        ),
        base=read_base(folder),
    )


def read_base(folder: ServerFolder) -> PublicBase:
    """Reads the public catalogue and base.

    Raises:
        ConfigError: The file is missing or damaged.
    """
    try:
        return PublicBase.model_validate_json(folder.base.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigError(
            "cannot be read", name="base", value=folder.base, remedy="restore its backup"
        ) from error


def _write(folder: ServerFolder, shops: dict[str, InvitedShop]) -> None:
    entries = [shops[name].model_dump(mode="json") for name in sorted(shops)]
    write_atomic(folder.shops, canonical(entries), durable=True, private=True)
