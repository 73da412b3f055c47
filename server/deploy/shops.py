"""Who was invited: shop, node id and public key; the one source of a node's name."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from server.deploy.control import control, node_public_key
from server.deploy.folder import ServerFolder
from shared.config import Settings
from shared.deploy.invitation import Invitation, PlanLimits, PublicBase
from shared.deploy.owner_files import write_owner_file
from shared.errors import ConfigError
from shared.privacy.ledger.entries import canonical


class InvitedShop(Settings):
    """One shop of the federation."""

    shop: str
    """Public name."""
    node_id: int
    """Flower's id of its node."""
    key: str
    """Its public key, PEM."""


def read_shops(folder: ServerFolder) -> dict[str, InvitedShop]:
    """Returns the invited shops by name.

    Raises:
        ConfigError: The file is damaged.
    """
    if not folder.shops.exists():
        return {}
    try:
        found = [InvitedShop.model_validate(v) for v in json.loads(folder.shops.read_bytes())]
    except (ValueError, ValidationError) as error:
        raise ConfigError(f"shops={folder.shops} is damaged; restore its backup") from error
    return {entry.shop: entry for entry in found}


def invite(folder: ServerFolder, shop: str, *, key: Path, out: Path) -> Invitation:
    """Registers a shop's node and writes its invitation.

    Raises:
        ConfigError: The shop is invited already, or the key cannot be used.
        RunError: The server does not run.
    """
    shops = read_shops(folder)
    if shop in shops:
        raise ConfigError(f"shop={shop} is invited already; revoke it first, or use another name")
    content = node_public_key(key)
    with control(folder) as link:
        node_id = link.register(key)
    shops[shop] = InvitedShop(shop=shop, node_id=node_id, key=content.decode())
    _write(folder, shops)
    invitation = make_invitation(folder, shop)
    write_owner_file(out, invitation.content())
    return invitation


def revoke(folder: ServerFolder, shop: str) -> None:
    """Cuts a shop's node off.

    Raises:
        ConfigError: The shop is not invited.
        RunError: The server does not run.
    """
    shops = read_shops(folder)
    if shop not in shops:
        raise ConfigError(
            f"shop={shop} is not invited; known are {', '.join(sorted(shops)) or 'none'}"
        )
    with control(folder) as link:
        link.unregister(shops[shop].node_id)
    del shops[shop]
    _write(folder, shops)


def make_invitation(folder: ServerFolder, shop: str) -> Invitation:
    """Builds the invitation of a shop."""
    settings = folder.settings()
    privacy, training = settings.privacy, settings.training
    if privacy.epsilon is None:
        raise ConfigError("privacy.epsilon must be a number; shops release nothing without noise")
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
        raise ConfigError(f"base={folder.base} cannot be read; restore its backup") from error


def _write(folder: ServerFolder, shops: dict[str, InvitedShop]) -> None:
    entries = [shops[name].model_dump(mode="json") for name in sorted(shops)]
    write_owner_file(folder.shops, canonical(entries))
