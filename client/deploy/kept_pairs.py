"""What the shop put into each release of pairs, kept in the node's folder for its own service."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from client.deploy.folder import NodeFolder
from client.own_pairs import OwnPairs
from shared.deploy.owner_files import make_folder, read_owner_file, write_owner_file
from shared.errors import FedprofileError, StorageError

LOG = logging.getLogger("fedprofile.client")
Head = npt.NDArray[np.integer]


@dataclass(frozen=True)
class KeptPairs:
    """Clean pair sums by plan and head. They are private: no message ever holds them.

    Without them a service takes out of the released sums what its users have done up to today,
    and so also what they did after the release, which never was in it.

    Attributes:
        folder: The node's folder.
    """

    folder: NodeFolder

    def keep(self, plan: str, head: Head, own: OwnPairs) -> None:
        """Writes the shop's part, readable by the owner alone, and forgets the oldest ones.

        A disk that refuses keeps no release from leaving.

        Args:
            plan: Digest of the run's plan.
            head: Item codes, ascending `(h,)`.
            own: What the noise is added to.
        """
        try:
            make_folder(self.folder.own_pairs)
            write_owner_file(self._path(plan, head), own.content())
        except StorageError as error:
            LOG.error("own pairs not kept: %s", error)
            return
        files = sorted(self.folder.own_pairs.glob("*.safetensors"), key=_written)
        for old in files[: -self.folder.settings().keep]:
            old.unlink(missing_ok=True)

    def find(self, plan: str, head: Head) -> OwnPairs | None:
        """Returns the shop's part of a release; None where it was not kept or is damaged."""
        path = self._path(plan, head)
        if not path.exists():
            return None
        try:
            content = read_owner_file(path, remedy="start the service as the node's owner")
            return OwnPairs.read(content, h=len(head))
        except FedprofileError as error:
            LOG.warning("file=%s is not used: %s", path, error)
            return None

    def _path(self, plan: str, head: Head) -> Path:
        digest = hashlib.sha256(head.astype(np.int64).tobytes()).hexdigest()
        return self.folder.own_pairs / f"{plan[:16]}-{digest[:16]}.safetensors"


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns
