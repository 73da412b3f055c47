"""Writes an adapter folder: plain PEFT, the base beside it, and the model card as its README."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from shared.errors import ModelError
from shared.model.adapter import Array, lora_config
from shared.model.adapter_folder import FORMAT, check_finite
from shared.model.profile_model import ProfileModel
from shared.model.profile_space import Whitening
from shared.runtime.file_store import write_folder_atomic
from shared.settings.run_settings import ModelSettings

_TEMPLATE = """\
---
library_name: peft
tags: [fedprofile, lora, recommendation, federated-learning, differential-privacy]
---

# Profile adapter

LoRA matrices for a profile model: a shopper's history, as vectors of item texts, becomes a
profile vector, and items are ranked by their inner product with it. Several shops trained it
together; no purchase left its shop.

## Base

| | |
|---|---|
| Encoder | `{encoder}` |
| Base hash | `{base_hash}` |
| Adapted modules | {modules} |
| Dimension, rank, alpha | {dim}, {rank}, {alpha:g} |

The adapter fits the base with this hash alone; `base.safetensors` and `profile_model.json` hold
it (the text encoder itself is not included).

## Training data

{data}

## Privacy

{privacy}

## Use

```python
from peft import PeftModel
from shared.model.adapter_folder import load_base

model = PeftModel.from_pretrained(load_base("."), ".")
profiles = model(history_vectors)  # (users, {dim}) -> (users, {dim})
scores = profiles @ item_vectors.T
```
"""


def model_card(
    *,
    settings: ModelSettings,
    base_hash: str,
    data_shape: Mapping[str, Any],
    guarantee: Mapping[str, Any] | None,
    repeatable: bool,
) -> str:
    """Writes the card as Markdown.

    Args:
        settings: Of the adapter.
        base_hash: Of the base it belongs to.
        data_shape: Public facts about the data (shops, items, rounds), never user counts.
        guarantee: `Guarantee.to_json()` of every shop, None for training without privacy.
        repeatable: Whether the noise came from a seed.
    """
    folder = Path(settings.encoder).expanduser()
    return _TEMPLATE.format(
        encoder=folder.name if folder.is_dir() else settings.encoder,
        base_hash=base_hash,
        modules=", ".join(f"`{name}`" for name in settings.target_modules),
        dim=settings.dim,
        rank=settings.rank,
        alpha=settings.alpha,
        data=_table(data_shape),
        privacy=privacy_statement(guarantee, repeatable=repeatable),
    )


def privacy_statement(guarantee: Mapping[str, Any] | None, *, repeatable: bool) -> str:
    """States a guarantee in words.

    Args:
        guarantee: `Guarantee.to_json()`, None for none.
        repeatable: Whether the noise came from a seed.
    """
    if guarantee is None:
        return (
            "**None.** Trained without differential privacy, for comparison only: the matrices may "
            "reveal single users. Do not pass them on."
        )
    statement = (
        f"Towards every user of a shop, all that left the shop in training is "
        f"({guarantee['epsilon']:.4g}, {guarantee['delta']:.3g})-differentially private. "
        f"Unit: {guarantee['unit']}. Neighbouring data sets: {guarantee['adjacency']}. "
        f"Sampling: {guarantee['sampling']}. Accountant: {guarantee['accountant']}; "
        f"{guarantee['accountant_check']} gives {guarantee['epsilon_check']:.4g}. "
        f"Trust: {guarantee['trust']}. A user of several shops is covered by the composition of "
        "their guarantees."
    )
    if repeatable:
        statement += (
            "\n\n**A simulation, not a release.** The noise came from a seed, and whoever knows "
            "the seed can take it away again."
        )
    return statement


def _table(facts: Mapping[str, Any]) -> str:
    rows = [f"| {key} | {value} |" for key, value in facts.items()]
    return "\n".join(["| | |", "|---|---|", *rows]) if rows else "Not stated."


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
        raise ModelError(
            f"adapter folder={folder} exists", remedy="choose another one or move it away"
        )
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
    write_folder_atomic(
        folder,
        files,
        private=False,
        name="adapter folder",
        refusal=ModelError,
        remedy="free space or choose another folder; what was there is untouched",
    )


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
