"""What a node checks before it serves a release."""

from __future__ import annotations

import logging

from client.deploy.adapters import Adapters
from client.deploy.folder import NodeFolder
from client.deploy.release_content import check_content
from client.deploy.release_file import check_size, decode
from client.deploy.source import open_ledger
from shared.deploy.manifest import Manifest, check_manifest
from shared.errors import ModelError, PrivacyError

LOG = logging.getLogger("fedprofile.client")


def install(folder: NodeFolder, *, content: bytes, signature: str, file: bytes) -> int:
    """Verifies and installs a release; a repeated one changes nothing.

    Args:
        folder: The node's folder.
        content: The manifest, canonical JSON.
        signature: The server's, over the manifest.
        file: Safetensors.

    Returns:
        Number of the release.

    Raises:
        ModelError: Signature, size, base, names, shapes, numbers or norm are wrong, or it is
            older.
        StorageError: The disk refused; what was served still is.
    """
    offer, adapters = folder.invitation(), Adapters(folder)
    manifest = check_manifest(content, signature, server_key=offer.signing_key, file=file)
    pointer = adapters.pointer()
    if manifest.number in adapters.numbers() and (
        adapters.readable(manifest.number) == manifest
        and manifest.number == pointer.highest.get(manifest.kind)
    ):
        return manifest.number
    check_size(manifest, file, n_items=len(offer.base.item_ids))
    arrays = decode(file)
    check_content(folder, offer, manifest, arrays)
    check_order(folder, adapters, manifest)
    adapters.keep(manifest, content=content, signature=signature, file=file)
    if manifest.kind == "adapter":
        _record(folder, adapters, manifest)
    number, kind, seen = manifest.number, manifest.kind, {"round": manifest.round}
    LOG.info("release %d (%s) of run %d installed", number, kind, manifest.run, extra=seen)
    return manifest.number


def check_order(folder: NodeFolder, adapters: Adapters, manifest: Manifest) -> None:
    """Refuses to go back, unless the server says that it means to and the owner allows it.

    Raises:
        ModelError: The release is older than one that was installed.
    """
    pointer = adapters.pointer()
    highest = pointer.highest.get(manifest.kind, 0)
    remedy = "choose it with `fedprofile node adapter use N`, or set allow_older in node.toml"
    if manifest.number <= highest:
        raise ModelError(f"release={manifest.number} must be above {highest}; {remedy}")
    known = filter(None, map(adapters.readable, adapters.numbers()))
    own = (manifest.number, pointer.current.get(manifest.kind))  # a crash may have left the first
    old = manifest.run < pointer.run or any(
        m.sha256 == manifest.sha256 and m.number not in own for m in known
    )
    if (old or manifest.again_of is not None) and not (
        manifest.again_of is not None and folder.settings().allow_older
    ):
        raise ModelError(f"release={manifest.number} holds an older adapter; {remedy}")


def _record(folder: NodeFolder, adapters: Adapters, manifest: Manifest) -> None:
    """Writes the adapter into the ledger; that it cannot be written takes nothing back."""
    try:
        ledger = open_ledger(folder)
        file = adapters.file(manifest.number)
        ledger.record_adapter(manifest.plan[:16], file, folder=folder.root)
    except PrivacyError as error:
        LOG.error("release %d is not in the ledger: %s", manifest.number, error)
