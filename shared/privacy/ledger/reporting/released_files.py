"""Are the files that a shop released, and the adapter of a run, those that its ledger recorded?"""

from __future__ import annotations

from pathlib import Path

from shared.errors import PrivacyError
from shared.privacy.ledger.log.chain import Chain
from shared.privacy.ledger.log.shop_files import (
    digest_arrays,
    digest_file,
    read_release,
    release_path,
)
from shared.privacy.ledger.reporting.evidence import Evidence


def check_released_files(
    chain: Chain, evidence: Evidence, checked: list[str], unchecked: list[str]
) -> None:
    """Holds the files in the folder of releases against the digests in the ledger.

    Args:
        chain: The ledger.
        evidence: Names the folder.
        checked: What was compared is added here, in words.
        unchecked: What could not be is added here.

    Raises:
        PrivacyError: A file was replaced, is missing although it must be there, or was never paid
            for.
    """
    folder, n_checked = evidence.releases, 0
    if folder is None:
        unchecked.append("released files: name their folder with --releases")
        return
    for adapter in chain.adapters:
        path = _adapter_path(folder, adapter.file)
        if not path.exists() and not evidence.required:
            continue
        if digest_file(path) != adapter.sha256:
            raise PrivacyError(
                f"adapter={path} of run={adapter.run} is not the one recorded "
                f"(sha256 {adapter.sha256[:16]}…): it was replaced after release",
                remedy="do not use it: restore the adapter that was released",
            )
        n_checked += 1
    for entry, digests in chain.commits.items():
        path = release_path(folder, chain.start.shop, entry)
        if not path.exists():
            continue
        if digest_arrays(read_release(path)) not in digests:
            raise PrivacyError(
                f"is not what line {entry} committed ({digests[0][:16]}…): it was replaced after "
                "release",
                name="release",
                value=path,
                remedy="restore the release from its backup",
            )
        n_checked += 1
    _check_all_paid(chain, folder)
    (checked if n_checked else unchecked).append(f"digests of {n_checked} released files")


def _adapter_path(folder: Path, name: str) -> Path:
    """Finds an adapter by its path in a run's folder, or by its name in the adapter's own."""
    whole, alone = folder / name, folder / Path(name).name
    return alone if alone.exists() and not whole.exists() else whole


def _check_all_paid(chain: Chain, folder: Path) -> None:
    shop_folder = release_path(folder, chain.start.shop, 0).parent
    known = {release_path(folder, chain.start.shop, entry) for entry in chain.bodies}
    for path in sorted(shop_folder.glob("*.safetensors")):
        if path not in known:
            raise PrivacyError(
                "has no line in the ledger: it was never paid for",
                name="release",
                value=path,
                remedy="find out what left the shop with it, and do not pass it on",
            )
