"""An adapter on disk: a plain PEFT folder that also carries its base.

| File | Holds |
|---|---|
| `adapter_config.json`, `adapter_model.safetensors` | the adapter, as PEFT writes it |
| `base.safetensors` | the whitening: `whitening_mean`, `whitening_components` |
| `profile_model.json` | model settings, text space and base hash |
| `README.md` | the model card |

Reading needs neither torch nor PEFT; `adapter.load_base` and `adapter.load_adapter` do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from safetensors import SafetensorError, deserialize

from shared.errors import ModelError
from shared.model.adapter_config import apply_config, read_adapter_config
from shared.model.profile_space import Whitening, projection_matrix
from shared.settings.run_settings import ModelSettings

FORMAT = 1
"""Version of `profile_model.json`."""

Array = npt.NDArray[np.float32]

_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
"""Types of numbers that an adapter may be saved in, besides bfloat16."""


@dataclass(frozen=True, eq=False)
class SavedAdapter:
    """What an adapter folder holds.

    Attributes:
        arrays: LoRA matrices under PEFT's names, all of one rank and one scaling.
        settings: Model settings of the adapter; its rank and alpha are those of `arrays`.
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
        ModelError: A file is missing or damaged, the adapter belongs to another base, a matrix is
            missing or unknown, a value is not finite, a shape is wrong, or PEFT would do more with
            it than add `scaling * B A`.
    """
    description = _read_description(folder)
    try:
        settings = ModelSettings.model_validate(description["settings"])
        text_space, stated = str(description["text_space"]), str(description["base_hash"])
    except (KeyError, ValidationError) as error:
        raise ModelError(
            f"{folder / 'profile_model.json'} is not of format {FORMAT} ({type(error).__name__})",
            remedy="save the adapter again",
        ) from error
    base_arrays, _ = _read_tensors(folder / "base.safetensors")
    arrays, metadata = _read_tensors(folder / "adapter_model.safetensors")
    mean, components = (base_arrays.get(f"whitening_{n}") for n in ("mean", "components"))
    if mean is None or components is None or components.shape != (len(mean), settings.dim):
        raise ModelError(
            f"holds no whitening to {settings.dim} dims",
            name="file",
            value=folder / "base.safetensors",
            remedy="copy the whole adapter folder again",
        )
    whitening = Whitening(mean, components)
    actual = whitening.base_hash(text_space)
    for expected in (stated, metadata.get("base_hash", stated), base_hash or stated):
        if expected != actual:
            raise ModelError(
                f"adapter folder={folder} has base {actual[:16]}…, expected {expected[:16]}…",
                remedy="take an adapter that was trained on this base",
            )
    check_finite(arrays)
    arrays, settings = apply_config(arrays, read_adapter_config(folder), settings)
    projection_matrix(arrays, settings)
    return SavedAdapter(arrays, settings, whitening, text_space, actual)


def _read_description(folder: Path) -> dict[str, Any]:
    try:
        description = json.loads((folder / "profile_model.json").read_text())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"adapter folder={folder} has no readable profile_model.json",
            remedy="name the folder that a run wrote as `adapter`",
        ) from error
    return description if isinstance(description, dict) else {}


def _read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    try:
        packed = path.read_bytes()
        entries = deserialize(packed)  # type: ignore[no-untyped-call]
        header = json.loads(packed[8 : 8 + int.from_bytes(packed[:8], "little")])
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(
            f"{path} is missing or damaged", remedy="copy the whole folder again"
        ) from error
    arrays = {name: _decode(entry, name=name, path=path) for name, entry in entries}
    return arrays, header.get("__metadata__", {})


def _decode(entry: Mapping[str, Any], *, name: str, path: Path) -> Array:
    """Returns a tensor as float32; NumPy has no bfloat16, which is the upper half of a float32."""
    kind, data = entry["dtype"], bytes(entry["data"])
    if kind == "BF16":
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif kind in _FLOATS:
        values = np.frombuffer(data, _FLOATS[kind])
    else:
        raise ModelError(
            f"{name} in {path} has numbers of type {kind}",
            remedy=f"save it as float32 or as one of {', '.join(_FLOATS)}, BF16",
        )
    with np.errstate(over="ignore"):  # infinity is refused with its name
        return values.astype(np.float32).reshape(entry["shape"])


def check_finite(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuses arrays that are not finite.

    Raises:
        ModelError: Names the first such array.
    """
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ModelError(
                f"adapter: {name} holds values that are not finite", remedy="discard it"
            )
