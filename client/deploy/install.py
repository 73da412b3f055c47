"""What a node checks before it serves a release."""

from __future__ import annotations

import logging

import numpy as np

from client.deploy.adapters import Adapters, decode
from client.deploy.folder import NodeFolder
from client.deploy.source import open_base, open_ledger
from shared.deploy.invitation import Invitation
from shared.deploy.manifest import Manifest, check_manifest
from shared.errors import ModelError, PrivacyError
from shared.messages import COUNTS, Arrays
from shared.model.adapter import adapter_arrays, attach, check_arrays

LOG = logging.getLogger("fedprofile.client")
NORM_ROUNDING = 1e-3
"""Relative difference of a norm that machines may compute."""


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
        ModelError: Signature, base, names, shapes, numbers or norm are wrong, or it is older.
        StorageError: The disk refused; what was served still is.
    """
    offer, adapters = folder.invitation(), Adapters(folder)
    manifest = check_manifest(content, signature, server_key=offer.signing_key, file=file)
    pointer = adapters.pointer()
    if manifest.number in adapters.numbers() and (
        adapters.read(manifest.number)[0] == manifest
        and manifest.number == pointer.highest.get(manifest.kind)
    ):
        return manifest.number
    arrays = decode(file)
    check_content(folder, offer, manifest, arrays)
    check_order(folder, adapters, manifest)
    adapters.keep(manifest, content=content, signature=signature, file=file)
    if manifest.kind == "adapter":
        _record(folder, adapters, manifest)
    number, kind, seen = manifest.number, manifest.kind, {"round": manifest.round}
    LOG.info("release %d (%s) of run %d installed", number, kind, manifest.run, extra=seen)
    return manifest.number


def check_content(
    folder: NodeFolder, offer: Invitation, manifest: Manifest, arrays: Arrays
) -> None:
    """Checks base, names, shapes, numbers and norm.

    Raises:
        ModelError: One is wrong.
    """
    if manifest.base_hash != offer.base.base_hash:
        raise ModelError(
            f"base_hash={manifest.base_hash[:16]}… must be {offer.base.base_hash[:16]}…; ask for a "
            "new invitation"
        )
    if manifest.kind == "adapter":
        base = attach(open_base(folder), offer.base.model, seed=0)
        shapes = {name: array.shape for name, array in adapter_arrays(base).items()}
    elif manifest.kind == "counts":
        shapes = {COUNTS: (len(offer.base.item_ids),)}
    else:
        raise ModelError(f"kind={manifest.kind} is not known here; update fedprofile")
    check_arrays(arrays, shapes)
    norm = float(np.sqrt(sum(np.square(a, dtype=np.float64).sum() for a in arrays.values())))
    said, most = manifest.norms.get("total", -1.0), folder.settings().max_adapter_norm
    if abs(norm - said) > NORM_ROUNDING * max(norm, 1.0):
        raise ModelError(f"norm={norm:.6g} must be {said:.6g}, as signed; fetch it again")
    if manifest.kind == "adapter" and norm > most:
        raise ModelError(f"norm={norm:.6g} must be at most max_adapter_norm={most:g}")


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
    known = [adapters.read(number)[0] for number in adapters.numbers()]
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
