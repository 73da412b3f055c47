"""The folder of a run, and its simulated shops on disk.

Made once, never overwritten, resumable only with the same settings. A partition's node opens its
shop from there, on every engine.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from client.federation.node_interface import NodeConfig
from client.federation.shop_node import ShopNode
from shared.errors import FedprofileError, RunError, RunExistsError
from shared.interactions.events import Dataset, Events, Shop
from shared.interactions.persons import by_person, n_persons, person_order
from shared.interactions.splits import FIT, VALIDATION, Windows, parts
from shared.model.profile_model import ProfileModel, build_base
from shared.model.profile_space import Whitening
from shared.privacy.noise import RandomSource
from shared.protocol.messages import FloatArray
from shared.runtime.environment import resolve_device
from shared.runtime.file_store import NUMPY_HEADER_LOCK, write_atomic, writing
from shared.settings.run_settings import ModelSettings

SETTINGS, STATE = "settings.json", "state"


@dataclass(frozen=True)
class RunFolder:
    """A run folder that belongs to this run.

    Attributes:
        path: `report.json`, `report.html`, `adapter/` and the rest.
        is_new: Whether nothing was in it before.
    """

    path: Path
    is_new: bool = True

    @contextmanager
    def emptied_on_refusal(self) -> Iterator[None]:
        """Takes back what was written so far where a new run is refused before it has begun."""
        try:
            yield
        except FedprofileError:
            if self.is_new:
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    @property
    def state(self) -> Path:
        """What a resumption needs; removed when the run has ended."""
        return self.path / STATE

    def of(self, variant: str, *, single: bool) -> Path:
        """Returns the folder of a variant: the run folder itself where there is only one."""
        return self.path if single else self.path / variant

    def finish(self) -> None:
        """Removes what only an interrupted run needs."""
        shutil.rmtree(self.state, ignore_errors=True)


def open_run_folder(path: Path, settings: Mapping[str, Any], *, resume: bool) -> RunFolder:
    """Makes a run folder, or takes up an interrupted one.

    Args:
        path: The run folder.
        settings: Plain values of all that decides the result.
        resume: Whether to go on in a folder that is there.

    Raises:
        RunExistsError: The folder holds something and `resume` is off, or the run has ended.
        RunError: It belongs to other settings.
        StorageError: It cannot be written.
    """
    text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
    known = path / SETTINGS
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not resume):
        raise RunExistsError(
            "exists and is not empty",
            name="out",
            value=path,
            remedy="choose another folder, or continue an interrupted run with --resume",
        )
    if known.exists():
        if known.read_text(encoding="utf-8") != text:
            raise RunError(
                f"its settings differ ({_difference(known, settings)})",
                name="resume",
                value=path,
                remedy="use the settings it began with, or another --out",
            )
        if not (path / STATE).exists():
            raise RunExistsError(
                "the run has ended", name="resume", value=path, remedy="choose another --out"
            )
    is_new = not known.exists()
    write_atomic(known, text.encode(), durable=False, private=False)
    with writing(path):
        (path / STATE).mkdir(parents=True, exist_ok=True)
    return RunFolder(path, is_new)


def _difference(known: Path, settings: Mapping[str, Any]) -> str:
    """Names the first setting that differs."""
    before = _flat(json.loads(known.read_text(encoding="utf-8")))
    after = _flat(json.loads(json.dumps(settings)))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            return f"{name} was {before.get(name)!r}, is {after.get(name)!r}"
    return "another version of the form"


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(_flat(value, f"{prefix}.{name}" if prefix else name))
    return flat


ITEMS, BASE, TEXTS, SHOP_SETTINGS = "items.npy", "base.safetensors", "texts.json", "model.json"
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
        with NUMPY_HEADER_LOCK, np.load(path, allow_pickle=False) as file:
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
            all_events=known,
        )


@lru_cache(maxsize=2)
def _common(folder: Path) -> tuple[ModelSettings, Whitening, tuple[str, ...]]:
    """Reads what all shops share, once a process."""
    settings = ModelSettings.model_validate_json(
        (folder / SHOP_SETTINGS).read_text(encoding="utf-8")
    )
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
    (folder / SHOP_SETTINGS).write_text(settings.model_dump_json(), encoding="utf-8")
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
    learned = (part[before] == FIT) | sees_answers(windows)
    if shop.persons is not None:  # what leaves is bounded by person, what is evaluated goes by id
        order = person_order(known, shop.persons)
        known, learned = by_person(known, shop.persons), learned[order]
    columns = {f.name: getattr(known, f.name) for f in fields(Events)}
    columns[_LEARNED] = learned
    np.savez(path, shop_id=shop.shop_id, n_users=n_persons(shop.n_users, shop.persons), **columns)
