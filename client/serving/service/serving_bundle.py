"""What is served beside the shop's own signals: an adapter folder, or a node with its releases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.serving.features.federated_statistics import ReleasedStatistics
from client.serving.features.text_vectors import FrozenBase, base_of_adapter, read_adapter_base
from shared.errors import ModelError
from shared.model.adapter_folder import SavedAdapter
from shared.model.encoder_files import text_space

NODE_FILE = "node.toml"
"""A folder with this file is that of a node."""


@dataclass(frozen=True, eq=False)
class ServingBundle:
    """An adapter and what comes with it.

    Attributes:
        name: For people.
        base: The frozen base that item vectors belong to.
        saved: The adapter; None for a node that has installed none yet.
        released: The federation's statistics; None where there are none.
    """

    name: str
    base: FrozenBase
    saved: SavedAdapter | None
    released: ReleasedStatistics | None = None


def read_serving_bundle(folder: Path) -> ServingBundle:
    """Reads the folder of an adapter or of a node.

    Raises:
        FedprofileError: It is damaged, or the installed encoder is another one.
    """
    if (folder / NODE_FILE).exists():
        return _read_node_bundle(folder)
    saved, base = read_adapter_base(folder)
    return ServingBundle(folder.name, base, saved)


def watched_file(folder: Path) -> Path:
    """Returns the file that changes when there is another adapter to serve."""
    if (folder / NODE_FILE).exists():
        return folder / "adapters" / "current.json"
    return folder / "adapter_model.safetensors"


def drop_own_pairs(root: Path) -> None:
    """Removes what a node keeps of its own part of released pairs; nothing for another folder."""
    if (root / NODE_FILE).exists():
        from client.deploy.federated_model import OwnPairSumsFolder
        from client.deploy.folder import NodeFolder

        OwnPairSumsFolder(NodeFolder(root)).drop()


def _read_node_bundle(root: Path) -> ServingBundle:
    """Reads what a node has installed; only then is `client.deploy` imported."""
    from client.deploy.federated_model import load_federated_model
    from client.deploy.folder import NodeFolder
    from client.deploy.installed_releases import InstalledReleases

    folder = NodeFolder(root)
    public = folder.invitation().base
    whitening, space = public.whitening(), text_space(public.model)
    if whitening.base_hash(space) != public.base_hash:
        raise ModelError(
            f"gives another base than the invitation's {public.base_hash[:16]}…",
            name="encoder",
            value=public.model.encoder,
            remedy="use the encoder that the server's owner names",
        )
    saved = SavedAdapter({}, public.model, whitening, space, public.base_hash)
    base = base_of_adapter(saved, root)
    if "adapter" not in InstalledReleases(folder).pointer().current:
        return ServingBundle("none yet", base, None)
    served = load_federated_model(folder)
    released = ReleasedStatistics(
        item_ids=public.item_ids,
        releases=served.releases,
        scale=served.scale,
        reliability=0.5 if served.reliability is None else served.reliability,
        prior=served.prior,
        pair_release=served.pairs,
        includes_own=served.includes_own,
        own_contribution=served.own_contribution,
    )
    arrays = SavedAdapter(dict(served.arrays), public.model, whitening, space, public.base_hash)
    return ServingBundle(f"release {served.releases['adapter']}", base, arrays, released)
