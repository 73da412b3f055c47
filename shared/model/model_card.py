"""The README of a saved adapter: what it is, what it was trained on, what privacy it gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.config import ModelSettings

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
