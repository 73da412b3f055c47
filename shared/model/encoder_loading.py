"""Loads any Hugging Face text encoder by name or folder, as sentence-transformers would.

What follows the model (pooling, Dense, Normalize) and what comes before it (prompt, lower-casing)
is what `encoder_layout` reads. Code of a folder is never run and nothing is asked on a terminal.

| Family | What is loaded | Pooling without `modules.json` |
|---|---|---|
| BERT and other encoders | the model, without the unused pooler | mean |
| Qwen and other `...ForCausalLM` | the model, causal as trained | last token |
| GPT-2 | the model, causal as trained | mean |
| T5, mT5, BART | the encoder half | mean |
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from tokenizers import normalizers

from shared.errors import ModelError
from shared.model.encoder_files import EncoderSource, find_encoder
from shared.model.packaged_encoder import PACKAGED_NAME
from shared.model.pooling import Dense, TextPooling, load_dense
from shared.model.text_encoder import TextEncoder

_POSITIONS_AFTER_PADDING = ("roberta", "camembert", "data2vec", "longformer", "mpnet", "ibert")
"""Families whose first position is `pad_token_id + 1`, so that they take fewer tokens."""


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
    if source.name == PACKAGED_NAME:
        _refuse(
            source,
            "has no layers that can be adapted",
            remedy="leave model.target_modules as it is, or name another encoder",
        )
    _refuse_own_code(source)
    try:
        with _quiet_transformers():
            model, tokenizer, missing = _load(source.model_folder)
            if source.layout.lowercase:
                _lowercase(tokenizer)
            pooling = _pooling(source, tokenizer)
    except Exception as error:  # damaged files surface as a dozen unrelated types
        line = str(error).strip().partition("\n")[0][:160]
        _refuse(
            source,
            f"cannot be loaded from {source.folder} ({type(error).__name__}: {line})",
            remedy="replace its files or name another encoder",
        )
    if missing:
        _refuse(
            source,
            f"the weights in {source.folder} lack {len(missing)} tensors, such as {missing[0]}",
            remedy="replace them by the complete weights",
        )
    _check_text_encoder(source, model, tokenizer)
    return TextEncoder(
        source=source,
        model=model.to(device).eval().requires_grad_(False),
        tokenizer=tokenizer,
        pooling=pooling.to(device).eval().requires_grad_(False),
        width=pooling.width(int(model.config.hidden_size)),
        positions=min(_positions(model.config), source.layout.max_tokens or 1 << 20),
    )


def _load(folder: Path) -> tuple[Any, Any, list[str]]:
    """Returns model, tokenizer and the names of tensors that the weights lack."""
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_TEXT_ENCODING_MAPPING,
        MODEL_MAPPING,
    )

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    for key, value in config.to_dict().items():
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)  # a forward pass must not depend on a global seed
    halved = config.is_encoder_decoder and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
    known = MODEL_FOR_TEXT_ENCODING_MAPPING if halved else MODEL_MAPPING
    options: dict[str, Any] = {
        "config": config,
        "dtype": torch.float32,
        "trust_remote_code": False,
        "local_files_only": True,
    }
    if "add_pooling_layer" in inspect.signature(known[type(config)].__init__).parameters:
        options["add_pooling_layer"] = False
    auto = AutoModelForTextEncoding if halved else AutoModel
    model, info = auto.from_pretrained(folder, output_loading_info=True, **options)
    if config.is_encoder_decoder and not halved:
        model = model.get_encoder()
    tokenizer = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    return model, tokenizer, sorted(info["missing_keys"])


def _lowercase(tokenizer: Any) -> None:
    """Puts lower-casing before all else that a tokenizer does to a text."""
    backend = tokenizer.backend_tokenizer
    before = [backend.normalizer] if backend.normalizer is not None else []
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])


def _pooling(source: EncoderSource, tokenizer: Any) -> TextPooling:
    layout = source.layout
    after: list[Dense | None] = []
    for kind, place in layout.after_pooling:
        folder = source.folder / place
        config_file = folder / "config.json"
        config = json.loads(config_file.read_text()) if config_file.is_file() else {}
        if kind == "Normalize":
            if config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
                raise ValueError(f"{place} normalises {config['module_input_name']}")
            after.append(None)
        else:
            after.append(load_dense(folder, config))
    prompt_tokens = 0
    if layout.prompt and not layout.include_prompt:
        ids = tokenizer([layout.prompt])["input_ids"][0]
        prompt_tokens = len(ids) - (ids[-1] in tokenizer.all_special_ids)
    return TextPooling(
        layout.pooling,
        prompt_tokens=prompt_tokens,
        after=after,
        truncate_dim=layout.truncate_dim,
    )


def _refuse_own_code(source: EncoderSource) -> None:
    """Refuses an encoder whose classes transformers does not have, before anything is loaded."""
    import transformers

    config = _read(source.model_folder / "config.json")
    tokenizer = _read(source.model_folder / "tokenizer_config.json")
    classes = [*(config.get("architectures") or []), tokenizer.get("tokenizer_class")]
    unknown = [name for name in classes if name and not hasattr(transformers, str(name))]
    asked = {**config.get("auto_map", {}), **tokenizer.get("auto_map", {})}
    known = config.get("model_type") in transformers.CONFIG_MAPPING
    if asked and (unknown or not known):
        _refuse(
            source,
            f"needs code of its own ({', '.join(sorted(asked))} in auto_map), which is never run",
            remedy="name an encoder that transformers knows",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):  # loading says what is wrong with it
        return {}
    return content if isinstance(content, dict) else {}


def _check_text_encoder(source: EncoderSource, model: Any, tokenizer: Any) -> None:
    """Refuses a model that takes no texts, and a tokenizer with tokens that the model lacks."""
    takes = set(inspect.signature(model.forward).parameters)
    width = getattr(model.config, "hidden_size", None)
    if not isinstance(width, int) or not {"input_ids", "attention_mask"} <= takes:
        _refuse(
            source,
            f"is not a text encoder: a model of type {model.config.model_type}",
            remedy="name an encoder of texts",
        )
    rows = model.get_input_embeddings().num_embeddings
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= rows:
        _refuse(
            source,
            f"its tokenizer knows {largest + 1} tokens, its model {rows}",
            remedy="take the tokenizer that it was trained with",
        )


def _refuse(source: EncoderSource, problem: str, *, remedy: str) -> NoReturn:
    raise ModelError(problem, name="encoder", value=source.name, remedy=remedy)


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
