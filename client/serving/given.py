"""What is served beside the shop's own signals: an adapter folder, or a node with its releases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.serving.outside import Released
from client.serving.texts import Base, read_adapter_base, take_base
from shared.errors import ModelError
from shared.model.adapter_folder import SavedAdapter
from shared.model.encoder_source import text_space

CONFIG = "node.toml"
"""A folder with this file is that of a node."""


@dataclass(frozen=True, eq=False)
class Given:
    """An adapter and what comes with it.

    Attributes:
        name: For people.
        base: The frozen base that item vectors belong to.
        saved: The adapter; None for a node that has installed none yet.
        released: The federation's statistics; None where there are none.
    """

    name: str
    base: Base
    saved: SavedAdapter | None
    released: Released | None = None


def read_given(folder: Path) -> Given:
    """Reads the folder of an adapter or of a node.

    Raises:
        FedprofileError: It is damaged, or the installed encoder is another one.
    """
    if (folder / CONFIG).exists():
        return _of_node(folder)
    saved, base = read_adapter_base(folder)
    return Given(folder.name, base, saved)


def watched_file(folder: Path) -> Path:
    """Returns the file that changes when there is another adapter to serve."""
    if (folder / CONFIG).exists():
        return folder / "adapters" / "current.json"
    return folder / "adapter_model.safetensors"


def _of_node(root: Path) -> Given:
    """Reads what a node has installed; a node's software is loaded for nothing else."""
    from client.deploy.adapters import Adapters
    from client.deploy.folder import NodeFolder
    from client.deploy.served import load_served

    folder = NodeFolder(root)
    public = folder.invitation().base
    whitening, space = public.whitening(), text_space(public.model)
    if whitening.base_hash(space) != public.base_hash:
        raise ModelError(
            f"encoder={public.model.encoder} gives another base than the invitation's "
            f"{public.base_hash[:16]}…; use the encoder that the server's owner names"
        )
    saved = SavedAdapter({}, public.model, whitening, space, public.base_hash)
    base = take_base(saved, root)
    if "adapter" not in Adapters(folder).pointer().current:
        return Given("none yet", base, None)
    served = load_served(folder)
    released = Released(
        item_ids=public.item_ids,
        releases=served.releases,
        scale=served.scale,
        reliability=0.5 if served.reliability is None else served.reliability,
        prior=served.prior,
        pairs=served.pairs,
        own_pairs=served.own_pairs,
        own=served.own,
    )
    arrays = SavedAdapter(dict(served.arrays), public.model, whitening, space, public.base_hash)
    return Given(f"release {served.releases['adapter']}", base, arrays, released)
