"""An adapter on disk: a plain PEFT folder that also carries its base.

| File | Holds |
|---|---|
| `adapter_config.json`, `adapter_model.safetensors` | the adapter, as PEFT writes it |
| `base.safetensors` | the whitening: `whitening_mean`, `whitening_components` |
| `profile_model.json` | model settings, text space and base hash |
| `README.md` | the model card |

Reading needs neither torch nor PEFT; only `load_base` and `load_adapter` do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from shared.config import ModelSettings
from shared.errors import ModelError
from shared.model.projection import PROJECTION, projection_matrix
from shared.model.whitening import Whitening

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from shared.model.profile_model import ProfileModel

FORMAT = 1
"""Version of `profile_model.json`."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SavedAdapter:
    """What an adapter folder holds.

    Attributes:
        arrays: LoRA matrices under PEFT's names.
        settings: Model settings of the adapter.
        whitening: The base's map from text vectors to item vectors.
        text_space: Name of the text vectors' space.
        base_hash: Of the base, from `whitening` and `text_space`.
    """

    arrays: dict[str, Array]
    settings: ModelSettings
    whitening: Whitening
    text_space: str
    base_hash: str


def read_adapter(folder: Path, *, base_hash: str | None = None) -> SavedAdapter:
    """Reads an adapter folder and checks it.

    Args:
        folder: From `save_adapter`.
        base_hash: Of the base that the adapter is for; None takes the folder's own.

    Raises:
        ModelError: A file is missing or damaged, the adapter belongs to another base, a value is
            not finite, or a shape is wrong.
    """
    description = _read_description(folder)
    try:
        settings = ModelSettings.model_validate(description["settings"])
        text_space, stated = str(description["text_space"]), str(description["base_hash"])
    except (KeyError, ValidationError) as error:
        raise ModelError(
            f"{folder / 'profile_model.json'} is not of format {FORMAT} "
            f"({type(error).__name__}); save the adapter again"
        ) from error
    base_arrays, _ = _read_tensors(folder / "base.safetensors")
    arrays, metadata = _read_tensors(folder / "adapter_model.safetensors")
    mean, components = (base_arrays.get(f"whitening_{n}") for n in ("mean", "components"))
    if mean is None or components is None or components.shape != (len(mean), settings.dim):
        raise ModelError(f"{folder / 'base.safetensors'} holds no whitening to {settings.dim} dims")
    whitening = Whitening(mean, components)
    found = whitening.base_hash(text_space)
    for expected in (stated, metadata.get("base_hash", stated), base_hash or stated):
        if expected != found:
            raise ModelError(
                f"adapter folder={folder} has base {found[:16]}…, expected {expected[:16]}…; take "
                "an adapter that was trained on this base"
            )
    check_finite(arrays)
    projection_matrix(arrays, settings)
    return SavedAdapter(arrays, settings, whitening, text_space, found)


def load_base(folder: Path | str, *, device: torch.device | str = "cpu") -> ProfileModel:
    """Builds the base that an adapter folder carries, ready for `PeftModel.from_pretrained`.

    Raises:
        ModelError: As `read_adapter`; or the encoder, where its layers are adapted, is missing or
            differs from the one of training.
    """
    from shared.model.profile_model import ProfileModel, build_base

    saved = read_adapter(Path(folder))
    if set(saved.settings.target_modules) == {PROJECTION}:
        return ProfileModel(saved.whitening, text_space=saved.text_space).to(device)
    base = build_base(saved.settings, saved.whitening, device=device)
    if base.base_hash != saved.base_hash:
        raise ModelError(
            f"encoder={saved.settings.encoder} gives base {base.base_hash[:16]}…, the adapter in "
            f"{folder} expects {saved.base_hash[:16]}…; use the files it was trained with"
        )
    return base


def load_adapter(folder: Path | str, base: ProfileModel | None = None) -> PeftModel:
    """Loads an adapter onto its base, which it changes in place.

    Args:
        folder: From `save_adapter`.
        base: None builds the folder's own.

    Raises:
        ModelError: As `read_adapter` and `load_base`; or keys or shapes do not fit the base.
    """
    from shared.model.adapter import attach, load_adapter_arrays

    base = load_base(folder) if base is None else base
    saved = read_adapter(Path(folder), base_hash=base.base_hash)
    model = attach(base, saved.settings, seed=0)
    load_adapter_arrays(model, saved.arrays)
    return model


def _read_description(folder: Path) -> dict[str, Any]:
    try:
        description = json.loads((folder / "profile_model.json").read_text())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"adapter folder={folder} has no readable profile_model.json; name the folder that a "
            "run wrote as `adapter`"
        ) from error
    return description if isinstance(description, dict) else {}


def _read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    try:
        with safe_open(path, framework="np") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is missing or damaged; copy the whole folder again") from error
    return {
        name: np.asarray(tensor, dtype=np.float32) for name, tensor in tensors.items()
    }, metadata


def check_finite(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuses arrays that are not finite.

    Raises:
        ModelError: Names the first such array.
    """
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ModelError(f"adapter: {name} holds values that are not finite; discard it")
