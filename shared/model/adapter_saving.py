"""Writes an adapter folder: plain PEFT, the base beside it, and the model card."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from shared.config import ModelSettings
from shared.errors import ModelError
from shared.model.adapter import Array, lora_config
from shared.model.adapter_folder import FORMAT, check_finite
from shared.model.model_card import model_card
from shared.model.profile_model import ProfileModel
from shared.model.whitening import Whitening


def save_adapter(
    folder: Path,
    arrays: Mapping[str, Array],
    *,
    base: ProfileModel,
    settings: ModelSettings,
    guarantee: Mapping[str, Any] | None,
    data_shape: Mapping[str, Any],
    repeatable: bool = True,
    replace: bool = False,
) -> None:
    """Writes an adapter folder, whole or not at all.

    Args:
        folder: Its parent must exist.
        arrays: From `adapter_arrays`.
        base: The base that they were trained on.
        settings: Model settings that they were trained with.
        guarantee: `Guarantee.to_json()`, None for training without privacy.
        data_shape: Public facts for the model card, never user counts.
        repeatable: Whether the noise came from a seed, as in a simulation.
        replace: Whether a folder that is there already is replaced.

    Raises:
        ModelError: The folder exists, cannot be written, or a value is not finite.
    """
    if folder.exists() and not replace:
        raise ModelError(f"adapter folder={folder} exists; choose another one or move it away")
    check_finite(arrays)
    tensors = {name: np.ascontiguousarray(array, "<f4") for name, array in arrays.items()}
    metadata = {"format": "pt", "base_hash": base.base_hash}
    card = model_card(
        settings=settings,
        base_hash=base.base_hash,
        data_shape=data_shape,
        guarantee=guarantee,
        repeatable=repeatable,
    )
    files = {
        "adapter_model.safetensors": _pack(tensors, metadata),
        "adapter_config.json": _peft_config(settings).encode(),
        "base.safetensors": _pack(_base_tensors(base.whitening), metadata),
        "profile_model.json": _profile_json(base, settings).encode(),
        "README.md": card.encode(),
    }
    try:
        _write_folder(folder, files)
    except OSError as error:
        raise ModelError(
            f"adapter folder={folder} cannot be written ({error.strerror}); free space or choose "
            "another folder; what was there is untouched"
        ) from error


def _base_tensors(whitening: Whitening) -> dict[str, Array]:
    tensors = {"mean": whitening.mean, "components": whitening.components}
    return {f"whitening_{name}": np.ascontiguousarray(t, "<f4") for name, t in tensors.items()}


def _pack(tensors: dict[str, Array], metadata: dict[str, str]) -> bytes:
    """Serialises tensors with a sorted header, so that equal content gives equal files."""
    packed = save(tensors, metadata=metadata)
    end = 8 + int.from_bytes(packed[:8], "little")
    header = json.dumps(json.loads(packed[8:end]), sort_keys=True, separators=(",", ":"))
    return packed[:8] + header.encode().ljust(end - 8) + packed[end:]


def _peft_config(settings: ModelSettings) -> str:
    """Returns `adapter_config.json` as PEFT writes it, with sets in a fixed order."""
    config = lora_config(settings).to_dict()
    config["inference_mode"] = True
    return json.dumps(config, indent=2, sort_keys=True, default=sorted) + "\n"


def _profile_json(base: ProfileModel, settings: ModelSettings) -> str:
    description = {
        "format": FORMAT,
        "base_hash": base.base_hash,
        "text_space": base.text_space,
        "settings": settings.model_dump(mode="json"),
    }
    return json.dumps(description, indent=2) + "\n"


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a new folder and moves it into place in one step."""
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    old = staging.with_name(f"{staging.name}-old")
    try:
        for name, content in files.items():
            with (staging / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        staging.chmod(0o755)
        if folder.exists():
            folder.rename(old)
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
