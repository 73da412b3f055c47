"""Everything that a federated run needs before its first round: data, vectors, base, shops."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from shared.config import RunSettings
from shared.device import resolve_device
from shared.errors import ConfigError
from shared.interactions.events import Dataset
from shared.interactions.load import load_dataset
from shared.interactions.splits import Windows, resolve_windows
from shared.messages import FloatArray
from shared.model.profile_model import ProfileModel, build_base
from shared.model.text_cache import encode_texts
from shared.model.time_defaults import HEADS, resolve
from shared.model.whitening import fit_whitening
from shared.privacy.calibration import check_delta
from simulation.report.progress import Progress
from simulation.stored_shops import StoredShops, store_shops


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
        notes: What had to differ from the settings.
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

    def without(self, number: int) -> Prepared:
        """Returns the same for a federation that one shop takes no part in.

        Item vectors and base stay: they come from the public catalogue alone.

        Args:
            number: Of the shop that is left out, from 0.
        """
        shops = self.dataset.shops
        rest = replace(self.dataset, shops=shops[:number] + shops[number + 1 :])
        return replace(self, dataset=rest, source=replace(self.source, left_out=number))


def prepare(settings: RunSettings, *, folder: Path, progress: Progress) -> Prepared:
    """Loads, encodes, fits the base and writes the shops to `folder`.

    Raises:
        FedprofileError: The data, the encoder or the settings cannot be used.
    """
    device = resolve_device(settings.device)
    with progress.phase("data", label="Reading the data"):
        dataset = load_dataset(settings.data, seed=settings.seed)
        windows = resolve_windows(settings.data, dataset)
    check_shops(settings, dataset)
    with progress.phase("encode", label="Encoding item texts") as phase:
        text_vectors = encode_texts(
            dataset.catalogue.texts,
            settings=settings.model,
            device=device,
            progress=phase.update,
        )
    whitening = fit_whitening(text_vectors, dim=settings.model.dim)
    model = resolve(whitening.fit_settings(settings.model), dataset.time_unit)
    head = settings.privacy.head_items or HEADS[dataset.time_unit]
    privacy = settings.privacy.model_copy(update={"head_items": head})
    base = build_base(model, whitening, device=device)
    item_vectors = whitening.apply(text_vectors)
    store_shops(folder, dataset, windows, item_vectors=item_vectors, base=base, settings=model)
    return Prepared(
        settings=settings.model_copy(update={"model": model, "privacy": privacy}),
        dataset=dataset,
        windows=windows,
        item_vectors=item_vectors,
        base=base,
        device=device,
        source=StoredShops(folder, device.type),
        notes=tuple(note for note in (whitening.note, _apart(dataset)) if note),
    )


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
        PrivacyError: Delta is too large for a shop.
        ConfigError: A step would hold less than one user on average.
    """
    smallest = min(dataset.shops, key=lambda shop: shop.n_users)
    largest = max(dataset.shops, key=lambda shop: shop.n_users)
    rate = settings.training.sample_rate
    if settings.privacy.epsilon is not None:
        check_delta(settings.privacy.delta, largest.n_users)
    if rate * smallest.n_users < 1:
        raise ConfigError(
            f"sample_rate={rate} of {smallest.n_users} users of shop={smallest.shop_id} is less "
            f"than 1 user a step; raise it to at least {1 / smallest.n_users:.3g} with "
            "--sample-rate, or leave small shops out with --min-shop-users"
        )
    if settings.federation.min_replies > len(dataset.shops):
        raise ConfigError(
            f"min_replies={settings.federation.min_replies} is above the number of shops="
            f"{len(dataset.shops)}; lower it with --set federation.min_replies=1"
        )
