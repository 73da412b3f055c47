"""What a shop serves of the federation: adapter, popularity and co-purchase, ready for use.

Estimates are made here of the noisy sums that were released: post-processing, free of privacy cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from client.deploy.adapters import Adapters
from client.deploy.folder import NodeFolder
from client.deploy.kept_pairs import KeptPairs
from client.own_pairs import OwnPairs
from shared.deploy.invitation import PublicBase
from shared.errors import ConfigError
from shared.messages import COUNTS, HEAD, PAIRS, Arrays, FloatArray
from shared.model.popularity import denoise_counts, log_prior, signal_share
from shared.model.projection import project_profiles, projection_matrix
from shared.model.text_cache import encode_texts
from shared.releases.pair_release import PairRelease, release_pairs


@dataclass(frozen=True, eq=False)
class Served:
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
        own_pairs: Whether this shop's users are in `pairs`.
        own: Their part, as it was when the shop gave it; None where it was not kept.
    """

    releases: Mapping[str, int]
    public: PublicBase
    arrays: Arrays
    scale: float
    item_vectors: FloatArray
    prior: FloatArray | None = None
    reliability: float | None = None
    pairs: PairRelease | None = None
    own_pairs: bool = False
    own: OwnPairs | None = None

    def project(self, history: FloatArray) -> FloatArray:
        """Turns histories `(n, dim)` into scaled profiles `(n, dim)`."""
        matrix = projection_matrix(self.arrays, self.public.model)
        profiles: FloatArray = np.float32(self.scale) * project_profiles(matrix, history)
        return profiles


def load_served(folder: NodeFolder) -> Served:
    """Loads what is served, each release verified again.

    Raises:
        ConfigError: No adapter is installed.
        ModelError: A release does not verify.
    """
    adapters, public = Adapters(folder), folder.invitation().base
    current = adapters.pointer().current
    if "adapter" not in current:
        raise ConfigError("adapter=none is installed; wait for the first run of the server")
    manifest, arrays = adapters.read(current["adapter"])
    vectors = encode_texts(public.texts, settings=public.model, cache_dir=folder.cache)
    items = public.whitening().apply(vectors)
    served = Served(
        releases=dict(current),
        public=public,
        arrays=arrays,
        scale=manifest.statistics["scale"],
        item_vectors=items,
    )
    return _with_statistics(served, adapters)


def _with_statistics(served: Served, adapters: Adapters) -> Served:
    """Adds what the noisy counts and pair sums say."""
    folder = adapters.folder
    items, releases = served.item_vectors, served.releases
    popularity: FloatArray = np.ones(len(items), np.float32)
    found: dict[str, object] = {}
    if "counts" in releases:
        said, arrays = adapters.read(releases["counts"])
        counts, std = arrays[COUNTS], said.statistics["noise_std"]
        popularity = denoise_counts(counts, items, std=std)
        found = {"prior": log_prior(popularity), "reliability": signal_share(counts, std=std)}
    if "pairs" in releases:
        said, arrays = adapters.read(releases["pairs"])
        head = arrays[HEAD].astype(np.int64)
        found["pairs"] = release_pairs(
            arrays[PAIRS],
            head=head,
            std=said.statistics["noise_std"],
            item_vectors=items,
            popularity=popularity,
        )
        found["own_pairs"] = folder.settings().shop in said.participants
        found["own"] = KeptPairs(folder).find(said.plan, head) if found["own_pairs"] else None
    return Served(**{**vars(served), **found})
