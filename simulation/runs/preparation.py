"""Everything that a run needs before its first round: data, vectors, base, shops.

Also in a form that is small to send to other processes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from server.federation.public_plan import with_noise
from shared.errors import ConfigError
from shared.interactions.datasets.load import load_dataset
from shared.interactions.events import Dataset
from shared.interactions.splits import Windows, resolve_windows
from shared.model.profile_model import ProfileModel, build_base
from shared.model.profile_space import Whitening, fit_whitening
from shared.model.text_vectors import encode_texts
from shared.privacy.accounting.calibration import check_delta
from shared.protocol.messages import FloatArray
from shared.runtime.environment import resolve_device
from shared.settings.run_settings import HEAD_ITEMS, RunSettings, resolve_time_defaults
from simulation.reporting.terminal import Progress
from simulation.runs.memory import check_memory
from simulation.runs.run_folder import BASE, ITEMS, StoredShops, store_shops

MOST_SHOPS_BY_PROTOCOL = 100
"""Above this the sum of shared noise is simulated where nothing else is said."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """Data and model of a run, the same for every epsilon and seed.

    Attributes:
        settings: As given, with the model settings that fit the catalogue.
        dataset: Shops and catalogue.
        windows: Fit, validation and test windows.
        item_vectors: `(n_items, dim)`.
        base: The frozen base.
        device: Where training runs.
        source: Opens the shops for an engine.
        notes: What had to differ from the settings, and how files were read that left a choice.
    """

    settings: RunSettings
    dataset: Dataset
    windows: Windows
    item_vectors: FloatArray
    base: ProfileModel
    device: torch.device
    source: StoredShops
    notes: tuple[str, ...]

    @property
    def n_shops(self) -> int:
        """Shops in the federation."""
        return len(self.dataset.shops)

    @property
    def smallest_federation(self) -> int:
        """Shops of the smallest federation of the run."""
        return _smallest_federation(self.settings, self.n_shops)

    def without(self, number: int) -> Prepared:
        """Returns the same for a federation that one shop takes no part in.

        Item vectors and base stay: they come from the public catalogue alone.

        Args:
            number: Of the shop that is left out, from 0.
        """
        shops = self.dataset.shops
        rest = replace(self.dataset, shops=shops[:number] + shops[number + 1 :])
        return replace(self, dataset=rest, source=replace(self.source, left_out=number))


def prepare(
    settings: RunSettings, *, folder: Path, progress: Progress, workers: int | None = None
) -> Prepared:
    """Loads, encodes, fits the base and writes the shops to `folder`.

    Args:
        settings: Of the run.
        folder: Gets the shops.
        progress: Bars and clock.
        workers: Shops that are evaluated at once; None where nothing is evaluated.

    Raises:
        FedprofileError: The data, the encoder or the settings cannot be used.
    """
    device = resolve_device(settings.device)
    with progress.phase("data", label="Reading the data"):
        dataset = load_dataset(settings.data, seed=settings.seed)
        windows = resolve_windows(settings.data, dataset)
    check_shops(settings, dataset)
    if workers is not None:
        check_memory(dataset, workers=workers)
    with progress.phase("encode", label="Encoding item texts") as phase:
        text_vectors = encode_texts(
            dataset.catalogue.texts,
            settings=settings.model,
            device=device,
            progress=phase.update,
        )
    whitening = fit_whitening(text_vectors, dim=settings.model.dim)
    model = resolve_time_defaults(whitening.fit_settings(settings.model), dataset.time_unit)
    head = settings.privacy.head_items or HEAD_ITEMS[dataset.time_unit]
    privacy = settings.privacy.model_copy(update={"head_items": head})
    base = build_base(model, whitening, device=device)
    item_vectors = whitening.apply(text_vectors)
    store_shops(folder, dataset, windows, item_vectors=item_vectors, base=base, settings=model)
    filled = settings.model_copy(update={"model": model, "privacy": privacy})
    return Prepared(
        settings=with_noise(filled, _smallest_federation(filled, len(dataset.shops))),
        dataset=dataset,
        windows=windows,
        item_vectors=item_vectors,
        base=base,
        device=device,
        source=StoredShops(folder, device.type),
        notes=tuple(
            note
            for note in (whitening.note, _apart(dataset), *dataset.report.get("read_as", ()))
            if note
        ),
    )


def _smallest_federation(settings: RunSettings, n_shops: int) -> int:
    """Returns how many shops the smallest federation of the run has."""
    return n_shops - 1 if settings.evaluation.new_shops else n_shops


def with_secure_sums(prepared: Prepared, *, single: bool) -> Prepared:
    """Fills in how shared noise is added up, where the settings leave it open.

    The protocol gives the numbers of the sum alone. It is run where a run stands for a deployment;
    its set-up grows with the square of the number of shops.
    """
    privacy = prepared.settings.privacy
    if privacy.secure_aggregation is not None:
        return prepared
    real = single and prepared.n_shops <= MOST_SHOPS_BY_PROTOCOL
    filled = privacy.model_copy(update={"secure_aggregation": "real" if real else "ideal"})
    return replace(prepared, settings=prepared.settings.model_copy(update={"privacy": filled}))


def _apart(dataset: Dataset) -> str:
    if dataset.shops_share_items:
        return ""
    return (
        "the shops share no item: each sells a catalogue of its own, so only what is learnt of "
        "texts carries over"
    )


def check_shops(settings: RunSettings, dataset: Dataset) -> None:
    """Refuses a plan that some shop cannot take part in, before anything is spent.

    Raises:
        PrivacyError: Delta is too large for the stated number of users.
        ConfigError: A step would hold less than one user on average.
    """
    smallest = min(dataset.shops, key=lambda shop: shop.n_users)
    rate = settings.training.sample_rate
    if settings.privacy.epsilon is not None:
        max_users = settings.federation.max_shop_users
        check_delta(settings.privacy.delta, max_users, users_name="max_shop_users")
    if rate * smallest.n_users < 1:
        raise ConfigError(
            f"sample_rate={rate} of {smallest.n_users} users of shop={smallest.shop_id} is less "
            "than 1 user a step",
            remedy=f"raise it to at least {1 / smallest.n_users:.3g} with --sample-rate, or leave "
            "small shops out with --min-shop-users",
        )
    if settings.federation.min_replies > len(dataset.shops):
        raise ConfigError(
            f"is above the number of shops={len(dataset.shops)}",
            name="min_replies",
            value=settings.federation.min_replies,
            remedy="lower it with --set federation.min_replies=1",
        )
    settings.federation.check_robust(len(dataset.shops))


@dataclass(frozen=True, eq=False)
class PortablePreparation:
    """Picklable description of a prepared run, without its events, vectors and model.

    Attributes:
        prepared: With empty arrays in place of what is on disk.
        folder: Where `store_shops` wrote it.
    """

    prepared: Prepared
    folder: Path

    @staticmethod
    def of(prepared: Prepared) -> PortablePreparation:
        """Leaves out all that the files of `prepared.source` hold."""
        vectors = np.zeros((0, 0), dtype=prepared.item_vectors.dtype)
        small = replace(
            prepared,
            dataset=_without_events(prepared.dataset),
            item_vectors=vectors,
            base=None,  # type: ignore[arg-type]  # built again by `open`
        )
        return PortablePreparation(small, prepared.source.folder)

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
