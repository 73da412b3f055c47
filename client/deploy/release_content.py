"""What a release must hold before anything is made of it: names, types, shapes, numbers, norm."""

from __future__ import annotations

import math

import numpy as np

from client.deploy.folder import NodeFolder
from client.deploy.release_file import AnyArrays
from client.deploy.source import open_base
from shared.config import MAX_HEAD
from shared.deploy.invitation import Invitation
from shared.deploy.manifest import Manifest
from shared.errors import ModelError, PrivacyError
from shared.messages import COUNTS, HEAD, PAIRS
from shared.model.adapter import adapter_arrays, attach, check_arrays
from shared.releases.pairs import check_head, n_pairs

NORM_ROUNDING = 1e-3
"""Relative difference of a norm that machines may compute."""
MAX_SUM = 2.0**40
"""Length of counts or pair sums beyond which they are of no shops on earth."""
STATISTICS = {"adapter": ("scale",), "counts": ("noise_std",), "pairs": ("noise_std",)}
"""Public numbers that each kind of release must come with."""


def check_content(
    folder: NodeFolder, offer: Invitation, manifest: Manifest, arrays: AnyArrays
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
    check_arrays(dict(arrays), _shapes(folder, offer, manifest, arrays))
    for name in STATISTICS[manifest.kind]:
        value, least = manifest.statistics.get(name, -1.0), 0.0 if name == "noise_std" else 1e-6
        if not (math.isfinite(value) and value >= least):
            raise ModelError(f"release: {name}={value:g} must be a number from {least:g}")
    _check_norm(folder, manifest, arrays)


def _shapes(
    folder: NodeFolder, offer: Invitation, manifest: Manifest, arrays: AnyArrays
) -> dict[str, tuple[int, ...]]:
    """Returns the shape that each array must have."""
    n_items = len(offer.base.item_ids)
    if manifest.kind == "adapter":
        base = attach(open_base(folder), offer.base.model, seed=0)
        return {name: array.shape for name, array in adapter_arrays(base).items()}
    if manifest.kind == "counts":
        return {COUNTS: (n_items,)}
    head = arrays.get(HEAD, np.zeros(0, np.int32))
    try:
        check_head(head, n_items=n_items, most=MAX_HEAD)
    except PrivacyError as error:
        raise ModelError(f"release: {error}") from None
    return {HEAD: (len(head),), PAIRS: (n_pairs(len(head)),)}


def _check_norm(folder: NodeFolder, manifest: Manifest, arrays: AnyArrays) -> None:
    numbers = [array for array in arrays.values() if array.dtype.kind == "f"]
    norm = math.sqrt(sum(float(np.square(a, dtype=np.float64).sum()) for a in numbers))
    said = manifest.norms.get("total", -1.0)
    if abs(norm - said) > NORM_ROUNDING * max(norm, 1.0):
        raise ModelError(f"norm={norm:.6g} must be {said:.6g}, as signed; fetch it again")
    adapter = manifest.kind == "adapter"
    name = "max_adapter_norm" if adapter else "the largest sum"
    most = folder.settings().max_adapter_norm if adapter else MAX_SUM
    if norm > most:
        raise ModelError(f"norm={norm:.6g} must be at most {name}={most:g}")
