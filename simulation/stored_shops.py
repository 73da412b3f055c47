"""Simulated shops on disk: what a partition's node opens, on every engine, one at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from client.node import NodeConfig
from client.shop_node import ShopNode
from shared.array_headers import ONE_READER
from shared.config import ModelSettings
from shared.device import resolve_device
from shared.interactions.events import Dataset, Events, Shop
from shared.interactions.splits import FIT, VALIDATION, Windows, parts
from shared.messages import FloatArray
from shared.model.profile_model import ProfileModel, build_base
from shared.model.whitening import Whitening
from shared.privacy.noise import RandomSource
from shared.storage import writing

ITEMS, BASE, TEXTS, SETTINGS = "items.npy", "base.safetensors", "texts.json", "model.json"
_LEARNED = "learned"


@dataclass(frozen=True)
class StoredShops:
    """Opens the shops that `store_shops` wrote; picklable.

    Attributes:
        folder: Where they are.
        device: Where they train.
        left_out: Number of a shop that takes no part; those behind it move up by one partition.
    """

    folder: Path
    device: str = "cpu"
    left_out: int | None = None

    def open(self, node_config: NodeConfig) -> ShopNode:
        """Opens the shop of `node_config["partition-id"]`; its noise comes from the run's seed."""
        number = int(node_config["partition-id"])
        if self.left_out is not None and number >= self.left_out:
            number += 1
        path = self.folder / "shops" / f"{number:06d}.npz"
        with ONE_READER, np.load(path, allow_pickle=False) as file:
            item_vectors = np.load(self.folder / ITEMS, mmap_mode="r")
            known = Events(**{f.name: file[f.name] for f in fields(Events)})
            events = known.select(file[_LEARNED])
            shop_id, n_users = str(file["shop_id"]), int(file["n_users"])
        settings, whitening, texts = _common(self.folder)
        return ShopNode(
            shop_id=shop_id,
            events=events,
            n_users=n_users,
            item_vectors=item_vectors,
            base=lambda: build_base(settings, whitening),
            settings=settings,
            randomness=RandomSource.from_seed,
            device=resolve_device(self.device),
            texts=texts,
            known=known,
        )


@lru_cache(maxsize=2)
def _common(folder: Path) -> tuple[ModelSettings, Whitening, tuple[str, ...]]:
    """Reads what all shops share, once a process."""
    settings = ModelSettings.model_validate_json((folder / SETTINGS).read_text(encoding="utf-8"))
    arrays = load_file(folder / BASE)
    whitening = Whitening(arrays["mean"], arrays["components"])
    path = folder / TEXTS
    texts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else ()
    return settings, whitening, tuple(texts)


def store_shops(
    folder: Path,
    dataset: Dataset,
    windows: Windows,
    *,
    item_vectors: FloatArray,
    base: ProfileModel,
    settings: ModelSettings,
) -> None:
    """Writes each shop's events before the test window and the public parts that all share.

    Args:
        folder: Made if absent; what is there is replaced.
        dataset: Shops and catalogue.
        windows: Where the validation and the test window begin.
        item_vectors: `(n_items, dim)`.
        base: The frozen base.
        settings: Model settings that fit the base.

    Raises:
        StorageError: The folder cannot be written.
    """
    with writing(folder):
        _store(folder, dataset, windows, item_vectors=item_vectors, base=base, settings=settings)


def _store(
    folder: Path,
    dataset: Dataset,
    windows: Windows,
    *,
    item_vectors: FloatArray,
    base: ProfileModel,
    settings: ModelSettings,
) -> None:
    (folder / "shops").mkdir(parents=True, exist_ok=True)
    np.save(folder / ITEMS, item_vectors)
    whitening = {"mean": base.whitening.mean, "components": base.whitening.components}
    save_file({k: np.ascontiguousarray(v) for k, v in whitening.items()}, folder / BASE)
    (folder / SETTINGS).write_text(settings.model_dump_json(), encoding="utf-8")
    if base.text_encoder is not None:
        texts = json.dumps(list(dataset.catalogue.texts))
        (folder / TEXTS).write_text(texts, encoding="utf-8")
    for number, shop in enumerate(dataset.shops):
        _store_shop(folder / "shops" / f"{number:06d}.npz", shop, windows)


def sees_answers(windows: Windows) -> bool:
    """Says whether counts and adapter learn from the validation window too."""
    return windows.kind != "time"


def _store_shop(path: Path, shop: Shop, windows: Windows) -> None:
    """Writes what the shop knows before the test window, and what counts and adapter learn from.

    In order data that is all of it, as in a deployed node; each user has its own moment. In a split
    by time the questions of the validation window are of the same weeks for all, and what was
    learned in these weeks would look better there than it is later: decision 007.
    """
    part = parts(shop.events, windows)
    before = (part == FIT) | (part == VALIDATION)
    known = shop.events.select(before)
    columns = {f.name: getattr(known, f.name) for f in fields(Events)}
    columns[_LEARNED] = (part[before] == FIT) | sees_answers(windows)
    np.savez(path, shop_id=shop.shop_id, n_users=shop.n_users, **columns)
