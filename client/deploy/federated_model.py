"""What a shop serves of the federation: adapter, popularity and co-purchase, ready for use.

Estimates are made here of the noisy sums that were released: post-processing, free of privacy cost.
The shop's own part of the pair sums is read from the node's folder and taken out of them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from client.deploy.folder import NodeFolder
from client.deploy.installed_releases import InstalledReleases
from client.federation.own_contribution import OwnPairSums
from shared.errors import ConfigError, FedprofileError, StorageError
from shared.keys.private_keys import read_owner_file
from shared.model.profile_space import project_profiles, projection_matrix
from shared.model.text_vectors import encode_texts
from shared.protocol.invitation import PublicBase
from shared.protocol.messages import COUNTS, HEAD, PAIRS, Arrays, FloatArray
from shared.releases.noisy_statistics import (
    PairRelease,
    denoise_counts,
    log_prior,
    release_pairs,
    signal_share,
)
from shared.runtime.file_store import make_folder, write_atomic

LOG = logging.getLogger("fedprofile.client")
Head = npt.NDArray[np.integer]


@dataclass(frozen=True)
class OwnPairSumsFolder:
    """A node's clean pair sums by plan and head. They are private: no message ever holds them.

    Without them a service takes out of the released sums what its users have done up to today,
    and so also what they did after the release, which never was in it.

    Attributes:
        folder: The node's folder.
    """

    folder: NodeFolder

    def save(self, plan: str, head: Head, own: OwnPairSums) -> None:
        """Writes the shop's part, readable by the owner alone, and forgets the oldest ones.

        Where the disk refuses, the release leaves all the same.

        Args:
            plan: Digest of the run's plan.
            head: Item codes, ascending `(h,)`.
            own: What the noise is added to.
        """
        try:
            make_folder(self.folder.own_pairs)
            write_atomic(self._path(plan, head), own.content(), durable=True, private=True)
        except StorageError as error:
            LOG.error("own pairs not saved: %s", error)
            return
        files = sorted(self.folder.own_pairs.glob("*.safetensors"), key=_write_time)
        for old in files[: -self.folder.settings().keep]:
            old.unlink(missing_ok=True)

    def load(self, plan: str, head: Head) -> OwnPairSums | None:
        """Returns the shop's part of a release; None where it was not saved or is damaged."""
        path = self._path(plan, head)
        if not path.exists():
            return None
        try:
            content = read_owner_file(path, remedy="start the service as the node's owner")
            return OwnPairSums.read(content, h=len(head))
        except FedprofileError as error:
            LOG.warning("file=%s is not used: %s", path, error)
            return None

    def drop(self) -> int:
        """Forgets all parts, as somebody who is in them was deleted; returns how many there were.

        The service then takes out what its users have done up to today.
        """
        files = list(self.folder.own_pairs.glob("*.safetensors"))
        for path in files:
            path.unlink(missing_ok=True)
        return len(files)

    def follow_deletions(self, deletions: int) -> None:
        """Forgets all parts where users were deleted since this was last called.

        Args:
            deletions: Users who were deleted so far, as the shop's database counts them.
        """
        note = self.folder.own_pairs / "deletions"
        try:
            known = int(note.read_text())
        except (OSError, ValueError):
            known = 0
        if known == deletions:
            return
        self.drop()
        try:
            make_folder(self.folder.own_pairs)
            write_atomic(note, str(deletions).encode(), durable=True, private=True)
        except StorageError as error:
            LOG.error("deletions not noted: %s", error)

    def _path(self, plan: str, head: Head) -> Path:
        # A message has the head as int32, a release file as int64: both must lead to one file.
        digest = hashlib.sha256(head.astype(np.int64).tobytes()).hexdigest()
        return self.folder.own_pairs / f"{plan[:16]}-{digest[:16]}.safetensors"


def _write_time(path: Path) -> int:
    return path.stat().st_mtime_ns


@dataclass(frozen=True, eq=False)
class FederatedModel:
    """The global model as a shop serves it; arrays over items are by code of the public catalogue.

    Attributes:
        releases: Number by kind.
        public: Catalogue and base.
        arrays: The adapter's matrices.
        scale: Factor on similarities, on which the prior is measured.
        item_vectors: `(n_items, dim)`.
        prior: Log popularity `(n_items,)`, None where no counts are installed.
        reliability: Share of signal in the counts, in [0, 1]; None where none are installed.
        pairs: Co-purchase over the head, None where none is installed.
        includes_own: Whether this shop's users are in `pairs`.
        own_contribution: Their part as it was released, without noise; None where it was not saved.
    """

    releases: Mapping[str, int]
    public: PublicBase
    arrays: Arrays
    scale: float
    item_vectors: FloatArray
    prior: FloatArray | None = None
    reliability: float | None = None
    pairs: PairRelease | None = None
    includes_own: bool = False
    own_contribution: OwnPairSums | None = None

    def project(self, history: FloatArray) -> FloatArray:
        """Turns histories `(n, dim)` into scaled profiles `(n, dim)`."""
        matrix = projection_matrix(self.arrays, self.public.model)
        profiles: FloatArray = np.float32(self.scale) * project_profiles(matrix, history)
        return profiles


def load_federated_model(folder: NodeFolder) -> FederatedModel:
    """Loads what is served, each release verified again.

    Raises:
        ConfigError: No adapter is installed.
        ModelError: A release does not verify.
    """
    installed, public = InstalledReleases(folder), folder.invitation().base
    current = installed.pointer().current
    if "adapter" not in current:
        raise ConfigError(
            "is installed",
            name="adapter",
            value="none",
            remedy="wait for the first run of the server",
        )
    manifest, arrays = installed.read(current["adapter"])
    vectors = encode_texts(public.texts, settings=public.model, cache_dir=folder.cache)
    items = public.whitening().apply(vectors)
    served = FederatedModel(
        releases=dict(current),
        public=public,
        arrays=arrays,
        scale=manifest.statistics["scale"],
        item_vectors=items,
    )
    return _with_statistics(served, installed)


def _with_statistics(served: FederatedModel, installed: InstalledReleases) -> FederatedModel:
    """Adds popularity and co-purchase, as estimated from the noisy counts and pair sums."""
    folder = installed.folder
    items, releases = served.item_vectors, served.releases
    popularity: FloatArray = np.ones(len(items), np.float32)
    statistics: dict[str, object] = {}
    if "counts" in releases:
        manifest, arrays = installed.read(releases["counts"])
        counts, std = arrays[COUNTS], manifest.statistics["noise_std"]
        popularity = denoise_counts(counts, items, std=std)
        statistics = {"prior": log_prior(popularity), "reliability": signal_share(counts, std=std)}
    if "pairs" in releases:
        manifest, arrays = installed.read(releases["pairs"])
        head = arrays[HEAD].astype(np.int64)
        statistics["pairs"] = release_pairs(
            arrays[PAIRS],
            head=head,
            std=manifest.statistics["noise_std"],
            item_vectors=items,
            popularity=popularity,
        )
        if folder.settings().shop in manifest.participants:
            own = OwnPairSumsFolder(folder).load(manifest.plan, head)
            statistics |= {"includes_own": True, "own_contribution": own}
    return FederatedModel(**{**vars(served), **statistics})
