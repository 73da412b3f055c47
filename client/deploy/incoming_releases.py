"""What comes in: a node checks order, names, types, shapes, numbers and norm, then installs.

The server is not trusted: its signature says who sent a release, not that it does no harm.
"""

from __future__ import annotations

import logging
import math

import numpy as np

from client.deploy.folder import NodeFolder
from client.deploy.installed_releases import (
    PUBLISH_AGAIN,
    AnyArrays,
    InstalledReleases,
    check_size,
    decode_release,
)
from client.deploy.node_ledger import open_ledger
from client.deploy.shop_source import open_base
from shared.errors import ModelError, PrivacyError
from shared.model.adapter import adapter_arrays, attach, check_arrays
from shared.protocol.invitation import Invitation
from shared.protocol.messages import COUNTS, HEAD, PAIRS
from shared.protocol.release_manifest import ReleaseManifest, check_manifest
from shared.releases.pair_sums import check_head, n_pairs
from shared.settings.plan_bounds import MAX_HEAD

LOG = logging.getLogger("fedprofile.client")
NORM_ROUNDING = 1e-3
"""Relative difference of a norm that machines may compute."""
MAX_SUM = 2.0**40
"""Largest L2 norm of counts or pair sums: more than any number of shops has users."""
STATISTICS = {"adapter": ("scale",), "counts": ("noise_std",), "pairs": ("noise_std",)}
"""Public numbers that each kind of release must come with."""


def check_content(
    folder: NodeFolder, invitation: Invitation, manifest: ReleaseManifest, arrays: AnyArrays
) -> None:
    """Checks base, names, shapes, numbers and norm.

    Raises:
        ModelError: One is wrong.
    """
    if manifest.base_hash != invitation.base.base_hash:
        raise ModelError(
            f"must be {invitation.base.base_hash[:16]}…",
            name="base_hash",
            value=f"{manifest.base_hash[:16]}…",
            remedy="ask for a new invitation",
        )
    check_arrays(dict(arrays), _shapes(folder, invitation, manifest, arrays))
    for name in STATISTICS[manifest.kind]:
        value, least = manifest.statistics.get(name, -1.0), 0.0 if name == "noise_std" else 1e-6
        if not (math.isfinite(value) and value >= least):
            raise ModelError(
                f"must be a number from {least:g}",
                name=f"release: {name}",
                value=f"{value:g}",
                remedy=PUBLISH_AGAIN,
            )
    _check_norm(folder, manifest, arrays)


def _shapes(
    folder: NodeFolder, invitation: Invitation, manifest: ReleaseManifest, arrays: AnyArrays
) -> dict[str, tuple[int, ...]]:
    """Returns the shape that each array must have."""
    n_items = len(invitation.base.item_ids)
    if manifest.kind == "adapter":
        base = attach(open_base(folder), invitation.base.model, seed=0)
        return {name: array.shape for name, array in adapter_arrays(base).items()}
    if manifest.kind == "counts":
        return {COUNTS: (n_items,)}
    head = arrays.get(HEAD, np.zeros(0, np.int32))
    try:
        check_head(head, n_items=n_items, most=MAX_HEAD)
    except PrivacyError as error:
        raise ModelError(error.message, name="release", remedy=PUBLISH_AGAIN) from None
    return {HEAD: (len(head),), PAIRS: (n_pairs(len(head)),)}


def _check_norm(folder: NodeFolder, manifest: ReleaseManifest, arrays: AnyArrays) -> None:
    numbers = [array for array in arrays.values() if array.dtype.kind == "f"]
    norm = math.sqrt(sum(float(np.square(a, dtype=np.float64).sum()) for a in numbers))
    signed = manifest.norms.get("total", -1.0)
    if abs(norm - signed) > NORM_ROUNDING * max(norm, 1.0):
        raise ModelError(
            f"must be {signed:.6g}, as signed",
            name="norm",
            value=f"{norm:.6g}",
            remedy=PUBLISH_AGAIN,
        )
    adapter = manifest.kind == "adapter"
    name = "max_adapter_norm" if adapter else "the largest sum"
    most = folder.settings().max_adapter_norm if adapter else MAX_SUM
    if norm > most:
        raise ModelError(
            f"must be at most {name}={most:g}",
            name="norm",
            value=f"{norm:.6g}",
            remedy="raise max_adapter_norm in node.toml if you trust it"
            if adapter
            else PUBLISH_AGAIN,
        )


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
    invitation, installed = folder.invitation(), InstalledReleases(folder)
    manifest = check_manifest(content, signature, server_key=invitation.signing_key, file=file)
    pointer = installed.pointer()
    if manifest.number in installed.numbers() and (
        installed.readable(manifest.number) == manifest
        and manifest.number == pointer.highest.get(manifest.kind)
    ):
        return manifest.number
    check_size(manifest, file, n_items=len(invitation.base.item_ids))
    arrays = decode_release(file)
    check_content(folder, invitation, manifest, arrays)
    check_release_order(folder, installed, manifest)
    installed.add(manifest, content=content, signature=signature, file=file)
    if manifest.kind == "adapter":
        _record(folder, installed, manifest)
    number, kind, extra = manifest.number, manifest.kind, {"round": manifest.round}
    LOG.info("release %d (%s) of run %d installed", number, kind, manifest.run, extra=extra)
    return manifest.number


def check_release_order(
    folder: NodeFolder, installed: InstalledReleases, manifest: ReleaseManifest
) -> None:
    """Refuses to go back, unless the server says that it means to and the owner allows it.

    Raises:
        ModelError: The release is older than one that was installed.
    """
    pointer = installed.pointer()
    highest = pointer.highest.get(manifest.kind, 0)
    remedy = "choose it with `fedprofile node adapter use N`, or set allow_older in node.toml"
    if manifest.number <= highest:
        raise ModelError(
            f"must be above {highest}", name="release", value=manifest.number, remedy=remedy
        )
    known = filter(None, map(installed.readable, installed.numbers()))
    # A crash may have left this very release installed and not pointed to.
    own = (manifest.number, pointer.current.get(manifest.kind))
    old = manifest.run < pointer.run or any(
        m.sha256 == manifest.sha256 and m.number not in own for m in known
    )
    if (old or manifest.again_of is not None) and not (
        manifest.again_of is not None and folder.settings().allow_older
    ):
        raise ModelError(
            "holds an older adapter", name="release", value=manifest.number, remedy=remedy
        )


def _record(folder: NodeFolder, installed: InstalledReleases, manifest: ReleaseManifest) -> None:
    """Writes the adapter into the ledger; a ledger that refuses undoes no installation."""
    try:
        ledger = open_ledger(folder)
        file = installed.file(manifest.number)
        ledger.record_adapter(manifest.plan[:16], file, folder=folder.root)
    except PrivacyError as error:
        LOG.error("release %d is not in the ledger: %s", manifest.number, error)
