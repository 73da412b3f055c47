"""What a training process needs of the prepared data: small to send, the rest read from files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from shared.device import resolve_device
from shared.interactions.events import Dataset
from shared.model.profile_model import build_base
from shared.model.whitening import Whitening
from simulation.preparation import Prepared
from simulation.stored_shops import BASE, ITEMS


@dataclass(frozen=True, eq=False)
class TrainingPlace:
    """Picklable description of a prepared run, without its events, vectors and model.

    Attributes:
        prepared: With empty arrays in place of what is on disk.
        folder: Where `store_shops` wrote it.
    """

    prepared: Prepared
    folder: Path

    @staticmethod
    def of(prepared: Prepared) -> TrainingPlace:
        """Leaves out all that the files of `prepared.source` hold."""
        vectors = np.zeros((0, 0), dtype=prepared.item_vectors.dtype)
        small = replace(
            prepared,
            dataset=_without_events(prepared.dataset),
            item_vectors=vectors,
            base=None,  # type: ignore[arg-type]  # built again by `open`
        )
        return TrainingPlace(small, prepared.source.folder)

    def open(self) -> Prepared:
        """Reads item vectors and base; the shops' events stay on disk until a node opens them."""
        device = resolve_device(self.prepared.source.device)
        arrays = load_file(self.folder / BASE)
        whitening = Whitening(arrays["mean"], arrays["components"])
        return replace(
            self.prepared,
            item_vectors=np.load(self.folder / ITEMS),
            base=build_base(self.prepared.settings.model, whitening, device=device),
            device=device,
        )


def _without_events(dataset: Dataset) -> Dataset:
    shops = tuple(
        replace(shop, user_ids=shop.user_ids[:0], events=shop.events.select(slice(0)))
        for shop in dataset.shops
    )
    return replace(dataset, shops=shops)
