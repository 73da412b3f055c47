"""Copies of what a shop released, kept on its own disk so that digests can be checked later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from shared.errors import PrivacyError
from shared.privacy.ledger.digests import digest_arrays
from shared.privacy.ledger.shop_files import file_stem
from shared.privacy.ledger.storage import replace_file

RELEASES = "releases"
"""Folder of the copies, within a run's folder."""


def release_path(folder: Path, shop: str, entry: int) -> Path:
    """Returns where the release of a ledger's line is kept."""
    return folder / RELEASES / file_stem(shop) / f"{entry:08d}.safetensors"


def keep_release(
    folder: Path, shop: str, entry: int, arrays: Mapping[str, npt.NDArray[Any]]
) -> Path:
    """Writes a release before it is committed.

    Raises:
        PrivacyError: The disk refused.
    """
    path = release_path(folder, shop, entry)
    replace_file(path, save({n: np.ascontiguousarray(a) for n, a in arrays.items()}))
    return path


def read_release(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Reads a kept release.

    Raises:
        PrivacyError: The file cannot be read.
    """
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise PrivacyError(f"release={path} cannot be read ({error})") from error


def find_release(
    folder: Path, shop: str, entry: int, digest: str
) -> dict[str, npt.NDArray[Any]] | None:
    """Returns the kept release of a line if it is there and what was committed."""
    path = release_path(folder, shop, entry)
    if not path.exists():
        return None
    arrays = read_release(path)
    return arrays if digest_arrays(arrays) == digest else None
