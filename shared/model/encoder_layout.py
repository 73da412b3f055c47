"""Reads from an encoder's folder how sentence-transformers would make vectors with it.

Nothing is loaded and nothing of the folder is run: only JSON is read. What cannot be honoured is
refused by name, because an encoder that is used otherwise than it was trained gives vectors
without an error.

| File | Says |
|---|---|
| `modules.json` | where model, pooling and what follows it lie |
| `sentence_bert_config.json`, older names | lower-casing, longest text, arguments |
| `config_sentence_transformers.json` | the prompt by default, the width by default |
| `config.json` | without `modules.json`: whether it is a causal language model |

https://sbert.net/docs/package_reference/sentence_transformer/SentenceTransformer.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NoReturn, cast

from shared.errors import ModelError

PoolingMode = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]

_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Older spelling, one flag a mode; several are joined in this order."""
_TRANSFORMER_FILES = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_TRANSFORMER_KEYS = {
    *("max_seq_length", "do_lower_case", "transformer_task", "modality_config"),
    *("module_output_name", "processing_kwargs", "unpad_inputs", "query_expansion"),
    *("query_length", "document_length", "model_args", "model_kwargs", "tokenizer_args"),
    *("processor_kwargs", "config_args", "config_kwargs"),
}
_NO_EFFECT = {
    *("trust_remote_code", "torch_dtype", "dtype", "attn_implementation", "low_cpu_mem_usage"),
    *("device_map", "use_safetensors", "add_pooling_layer", "cache_dir", "token", "revision"),
    *("local_files_only", "use_fast", "padding_side", "model_max_length", "use_cache"),
    *("use_memory_efficient_attention", "unpad_inputs"),
}
"""Arguments that change no vector here: weights are read in float32, padding is made here, code of
a folder is never run; `model_max_length` is read for itself."""
_AFTER_POOLING = ("Dense", "Normalize", "Dropout")
_COPY_AGAIN = "copy the whole model folder, with its sub-folders"


@dataclass(frozen=True)
class EncoderLayout:
    """How an encoder's vectors are made.

    Attributes:
        model_folder: Of config, tokenizer and weights, relative to the encoder's folder.
        pooling: How token vectors become one; several are joined end to end.
        include_prompt: Whether the prompt's tokens are pooled too.
        prompt: Put before each text, "" for none.
        lowercase: Whether texts are lower-cased before anything else.
        max_tokens: Longest text that the encoder was made for, None where nothing says it.
        truncate_dim: Leading numbers of a vector that are taken, None for all.
        after_pooling: What follows, `Dense` or `Normalize`, with its folder.
        files: JSON files that were read for it, relative to the encoder's folder.
    """

    model_folder: str = ""
    pooling: tuple[PoolingMode, ...] = ("mean",)
    include_prompt: bool = True
    prompt: str = ""
    lowercase: bool = False
    max_tokens: int | None = None
    truncate_dim: int | None = None
    after_pooling: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()


def read_layout(name: str, folder: Path) -> EncoderLayout:
    """Reads an encoder's layout.

    Args:
        name: The encoder, as the settings give it.
        folder: Where its files are.

    Raises:
        ModelError: A file is damaged or missing, or something cannot be honoured.
    """
    return _LayoutReader(name, folder).read()


class _LayoutReader:
    """Reads the files of one encoder; every refusal names it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def read(self) -> EncoderLayout:
        if not (self.folder / "modules.json").is_file():
            return self._plain()
        modules = self._modules()
        kinds = [kind for kind, _ in modules]
        if kinds[:2] != ["Transformer", "Pooling"]:
            self._refuse(
                f"modules.json starts with {', '.join(kinds[:2])}, read are Transformer and Pooling"
            )
        strange = [kind for kind in kinds[2:] if kind not in _AFTER_POOLING]
        if strange:
            self._refuse(f"modules.json names {', '.join(strange)} after its pooling")
        model_folder, pooling_folder = modules[0][1], modules[1][1]
        transformer = self._transformer(model_folder)
        pooling, include_prompt = self._pooling(pooling_folder)
        prompt, truncate_dim = self._sentence_settings()
        after = tuple((kind, path) for kind, path in modules[2:] if kind != "Dropout")
        return EncoderLayout(
            model_folder=model_folder,
            pooling=pooling,
            include_prompt=include_prompt,
            prompt=prompt,
            lowercase=bool(transformer.get("do_lower_case")),
            max_tokens=self._max_tokens(transformer, model_folder),
            truncate_dim=truncate_dim,
            after_pooling=after,
            files=tuple(f"{path}/config.json" for _, path in (modules[1], *after) if path),
        )

    def _plain(self) -> EncoderLayout:
        """A folder that sentence-transformers did not write."""
        pooling = sorted(path.parent.name for path in self.folder.glob("*_Pooling/config.json"))
        if pooling:
            self._refuse(f"{pooling[0]} is there and modules.json is not", remedy=_COPY_AGAIN)
        self._no_adapter("")
        config = self._json("config.json")
        architecture = (config.get("architectures") or [""])[0]
        causal = str(architecture).endswith("ForCausalLM") and config.get("is_causal", True)
        return EncoderLayout(
            pooling=("lasttoken" if causal else "mean",), max_tokens=self._max_tokens({}, "")
        )

    def _modules(self) -> list[tuple[str, str]]:
        """Returns kind and folder of each module, in their order."""
        content = self._read("modules.json")
        if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
            self._refuse("modules.json is not a list of modules", remedy=_COPY_AGAIN)
        return [self._module(entry) for entry in content]

    def _module(self, entry: Mapping[str, Any]) -> tuple[str, str]:
        kind, path = str(entry.get("type")), entry.get("path")
        if not kind.startswith("sentence_transformers."):
            self._refuse(f"module {kind} needs code of its own, which is never run")
        place = PurePosixPath(path) if isinstance(path, str) else None
        if place is None or place.is_absolute() or ".." in place.parts:
            self._refuse(f"modules.json gives {kind} the path {path!r}", remedy=_COPY_AGAIN)
        return kind.rpartition(".")[2], "" if str(place) == "." else str(place)

    def _transformer(self, path: str) -> dict[str, Any]:
        """Returns the settings of the Transformer module, after refusing what has no place here."""
        self._no_adapter(path)
        names = [f"{path}/{name}" if path else name for name in _TRANSFORMER_FILES]
        settings = next((found for found in map(self._json, names) if found), {})
        arguments = {
            key
            for group, values in settings.items()
            if group.endswith(("_args", "_kwargs")) and isinstance(values, dict)
            for key in values
        }
        strange = sorted((set(settings) - _TRANSFORMER_KEYS) | (arguments - _NO_EFFECT))
        if strange:
            self._refuse(f"sets {', '.join(strange)} for its model")
        text = settings.get("modality_config", {"text": _FORWARD}).get("text")
        if (
            settings.get("transformer_task", "feature-extraction") != "feature-extraction"
            or settings.get("module_output_name", "token_embeddings") != "token_embeddings"
            or text != _FORWARD
            or settings.get("query_expansion")
        ):
            self._refuse("its model gives no token vectors of a text")
        return settings

    def _pooling(self, path: str) -> tuple[tuple[PoolingMode, ...], bool]:
        place = f"{path}/config.json"
        if not (self.folder / place).is_file():
            self._refuse(f"modules.json names {path}, {place} is not there", remedy=_COPY_AGAIN)
        settings = self._json(place)
        named = settings.get("pooling_mode")
        flags = [mode for flag, mode in _FLAGS.items() if settings.get(flag)]
        modes = flags if named is None else [named] if isinstance(named, str) else named
        unknown = [mode for mode in modes if mode not in _MODES] + [
            key
            for key, value in settings.items()
            if key.startswith("pooling_mode_") and key not in _FLAGS and value
        ]
        if unknown:
            self._refuse(
                f"pooling {', '.join(map(str, unknown))} in {place} is not one of "
                f"{', '.join(_MODES)}"
            )
        pooling = cast(tuple[PoolingMode, ...], tuple(modes) or ("mean",))
        return pooling, bool(settings.get("include_prompt", True))

    def _sentence_settings(self) -> tuple[str, int | None]:
        """Returns the prompt and the width by default."""
        settings = self._json("config_sentence_transformers.json")
        kind = settings.get("model_type", "SentenceTransformer")
        if kind != "SentenceTransformer":
            self._refuse(f"is a {kind}, which gives no one vector a text")
        prompts = {"query": "", "document": ""} | (settings.get("prompts") or {})
        default = settings.get("default_prompt_name")
        if default is not None and default not in prompts:
            self._refuse(
                f"its default prompt {default!r} is not among its prompts {', '.join(prompts)}"
            )
        truncate_dim = settings.get("truncate_dim")
        return str(prompts[default] or "") if default else "", truncate_dim

    def _max_tokens(self, transformer: Mapping[str, Any], path: str) -> int | None:
        tokenizer = self._json(f"{path}/tokenizer_config.json" if path else "tokenizer_config.json")
        arguments = transformer.get("tokenizer_args") or transformer.get("processor_kwargs") or {}
        stated = (
            arguments.get("model_max_length"),
            transformer.get("max_seq_length"),
            tokenizer.get("model_max_length"),
        )
        numbers = [number for number in stated if isinstance(number, int | float) and number > 0]
        return int(numbers[0]) if numbers and numbers[0] < 1 << 30 else None

    def _no_adapter(self, path: str) -> None:
        if (self.folder / path / "adapter_config.json").is_file():
            self._refuse(
                "is an adapter of another encoder (adapter_config.json)",
                remedy="merge it with `PeftModel.merge_and_unload` and save the whole model",
            )

    def _json(self, place: str) -> dict[str, Any]:
        if not (self.folder / place).is_file():
            return {}
        content = self._read(place)
        if not isinstance(content, dict):
            self._refuse(f"{place} is not a JSON object", remedy=_COPY_AGAIN)
        return content

    def _read(self, place: str) -> Any:
        try:
            return json.loads((self.folder / place).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._refuse(f"{place} is not JSON", remedy=_COPY_AGAIN)

    def _refuse(self, problem: str, *, remedy: str = "name another encoder") -> NoReturn:
        raise ModelError(
            f"{problem} in {self.folder}", name="encoder", value=self.name, remedy=remedy
        )


_FORWARD = {"method": "forward", "method_output_name": "last_hidden_state"}
