"""Loads any Hugging Face text encoder by name or folder.

Pooling follows the encoder's own `1_Pooling/config.json` (sentence-transformers: mean, first or
last token); an encoder without one is pooled by the mean of its tokens, padding left out.

| Family | What is loaded | Pooling without `1_Pooling` |
|---|---|---|
| BERT and other encoders | the model, without the unused pooler | mean |
| GPT-2, Qwen and other decoders | the model, causal as trained | mean |
| T5, mT5, BART | the encoder half | mean |
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from shared.errors import ModelError
from shared.model.encoder_files import EncoderSource, find_encoder
from shared.model.text_encoder import Pooling, TextEncoder

_POSITIONS_AFTER_PADDING = ("roberta", "camembert", "data2vec", "longformer", "mpnet", "ibert")
"""Families whose first position is `pad_token_id + 1`, so that they take fewer tokens."""
_POOLING_MODES: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "mean": "mean",
    "cls": "cls",
    "lasttoken": "last",
}
"""Both spellings of sentence-transformers: one flag a mode, or one `pooling_mode`."""

_log = logging.getLogger(__name__)


def load_encoder(
    name: str, *, revision: str | None = None, device: torch.device | str = "cpu"
) -> TextEncoder:
    """Loads a text encoder in float32 for inference or as the frozen base of LoRA.

    Args:
        name: `all-MiniLM-L6-v2` (embedded), a local folder, or a name on the hub.
        revision: Branch, tag or commit on the hub.
        device: Where its weights go.

    Raises:
        ModelError: Not found, incomplete, or not a text encoder that transformers can load.
    """
    return load_source(find_encoder(name, revision=revision), device=device)


def load_source(source: EncoderSource, *, device: torch.device | str = "cpu") -> TextEncoder:
    """Loads an encoder whose files are known; see `load_encoder`."""
    try:
        with _quiet_transformers():
            model, tokenizer, missing = _load(source.folder)
    except Exception as error:  # damaged files surface as a dozen unrelated types
        line = str(error).strip().partition("\n")[0][:160]
        raise ModelError(
            f"cannot be loaded from {source.folder} ({type(error).__name__}: {line})",
            name="encoder",
            value=source.name,
            remedy="replace its files or name another encoder",
        ) from error
    if missing:
        raise ModelError(
            f"the weights in {source.folder} lack {len(missing)} tensors, such as {missing[0]}",
            name="encoder",
            value=source.name,
            remedy="replace them by the complete weights",
        )
    pooling, normalize = _pooling(source)
    return TextEncoder(
        source=source,
        model=model.to(device).eval().requires_grad_(False),
        tokenizer=tokenizer,
        pooling=pooling,
        normalize=normalize,
        width=int(model.config.hidden_size),
        positions=_positions(model.config),
    )


def _load(folder: Path) -> tuple[Any, Any, list[str]]:
    """Returns model, tokenizer and the names of tensors that the weights lack."""
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_TEXT_ENCODING_MAPPING,
        MODEL_MAPPING,
    )

    config = AutoConfig.from_pretrained(folder)
    for key, value in config.to_dict().items():
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)  # a forward pass must not depend on a global seed
    halved = config.is_encoder_decoder and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
    known = MODEL_FOR_TEXT_ENCODING_MAPPING if halved else MODEL_MAPPING
    options: dict[str, Any] = {"config": config, "dtype": torch.float32}
    if "add_pooling_layer" in inspect.signature(known[type(config)].__init__).parameters:
        options["add_pooling_layer"] = False
    auto = AutoModelForTextEncoding if halved else AutoModel
    model, info = auto.from_pretrained(folder, output_loading_info=True, **options)
    if config.is_encoder_decoder and not halved:
        model = model.get_encoder()
    return model, AutoTokenizer.from_pretrained(folder), sorted(info["missing_keys"])


def _pooling(source: EncoderSource) -> tuple[Pooling, bool]:
    """Reads pooling and normalisation from sentence-transformers' files, where there are any."""
    modules = _read_optional(source.folder / "modules.json")
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules or []]
    others = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if others:
        _log.warning("encoder=%s: modules %s are left out", source.name, ", ".join(others))
    settings = _read_optional(source.folder / "1_Pooling" / "config.json") or {}
    named = settings.pop("pooling_mode", None)
    flags = [key for key, value in settings.items() if key.startswith("pooling_mode") and value]
    chosen = [named] if named else flags
    if len(chosen) > 1 or any(mode not in _POOLING_MODES for mode in chosen):
        raise ModelError(
            f"pooling {', '.join(chosen)} is not one of mean, first or last token",
            name="encoder",
            value=source.name,
            remedy="change 1_Pooling/config.json in a copy of its folder",
        )
    return _POOLING_MODES[chosen[0]] if chosen else "mean", "Normalize" in kinds


def _read_optional(path: Path) -> Any:
    try:
        return json.loads(path.read_text()) if path.is_file() else None
    except ValueError as error:
        raise ModelError(f"{path} is not JSON", remedy="replace it") from error


def _positions(config: Any) -> int:
    """Tokens that a model takes at most; models with relative positions take any number."""
    positions = getattr(config, "max_position_embeddings", None) or 1 << 20
    if any(family in config.model_type for family in _POSITIONS_AFTER_PADDING):
        positions -= (config.pad_token_id or 0) + 1
    return int(positions)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keeps loading reports and progress bars off the terminal; problems are raised instead."""
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()
