"""What an adapter's `adapter_config.json` asks for, and its matrices as PEFT would apply them.

PEFT adds `scaling * B A` to a layer, with a rank and a scaling that may differ from layer to layer.
Here all layers share one rank and one scaling `alpha / rank`: matrices of a smaller rank are filled
up with zeros and a different scaling is multiplied into B, which leaves every product as it is.
What PEFT would do beyond that (DoRA, biases, other initialisations) is refused by name.

https://huggingface.co/docs/peft/package_reference/lora
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from shared.errors import ModelError
from shared.settings.run_settings import ModelSettings

Array = npt.NDArray[np.float32]
_N = TypeVar("_N", int, float)

_HONOURED = {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules"}
_NO_EFFECT = {
    *("peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path"),
    *("revision", "inference_mode", "lora_dropout", "fan_in_fan_out", "megatron_core"),
    *("qalora_group_size", "init_lora_weights"),
}
"""Keys that change no product: for training alone, read for themselves, or a default of PEFT."""
_INITIALISATIONS = (None, True, False, "gaussian", "orthogonal")
"""`init_lora_weights` under which the base stays as it is."""
_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(\.default)?\.weight")
"""PEFT reads a matrix with the adapter's name in it as well as without."""


@dataclass(frozen=True)
class AdapterConfig:
    """Rank and scaling of each layer.

    Attributes:
        rank: Of layers that no pattern names.
        alpha: Their LoRA scale.
        rslora: Whether the scaling is alpha / sqrt(rank) in place of alpha / rank.
        ranks: Ranks by pattern of a layer's name.
        alphas: LoRA scales by pattern.
        target_modules: Names, or ends of names, of the layers.
    """

    rank: int
    alpha: float
    rslora: bool
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    target_modules: frozenset[str]

    def rank_of(self, module: str) -> int:
        """Returns the rank of a layer."""
        return _by_pattern(self.ranks, module, self.rank)

    def scaling_of(self, module: str) -> float:
        """Returns the factor of B A in a layer."""
        rank = self.rank_of(module)
        alpha = _by_pattern(self.alphas, module, self.alpha)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Reads `adapter_config.json`.

    Raises:
        ModelError: It is missing or damaged, or asks for something that is not applied here.
    """
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text())
        strange = [
            f"{key}={value}"
            for key, value in sorted(config.items())
            if value and key not in _HONOURED | _NO_EFFECT and (key, value) != ("bias", "none")
        ]
        if config.get("peft_type") != "LORA":
            strange.append(f"peft_type={config.get('peft_type')}")
        if config.get("init_lora_weights") not in _INITIALISATIONS:
            strange.append(f"init_lora_weights={config['init_lora_weights']}")
        targets = config["target_modules"]
        parsed = AdapterConfig(
            rank=int(config["r"]),
            alpha=float(config["lora_alpha"]),
            rslora=bool(config.get("use_rslora")),
            ranks={str(key): int(rank) for key, rank in (config.get("rank_pattern") or {}).items()},
            alphas={str(k): float(a) for k, a in (config.get("alpha_pattern") or {}).items()},
            target_modules=frozenset([targets] if isinstance(targets, str) else targets),
        )
        if min(parsed.rank, *parsed.ranks.values(), 1) < 1:
            strange.append("r below 1")
        strange += _bad_patterns("rank_pattern", parsed.ranks)
        strange += _bad_patterns("alpha_pattern", parsed.alphas)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is missing or damaged ({type(error).__name__})",
            remedy="copy the whole folder again",
        ) from error
    if strange:
        raise ModelError(
            f"{path} asks for {', '.join(strange)}, which is not applied here",
            remedy="export the adapter as plain LoRA, or merge it",
        )
    return parsed


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(.*\.)?({pattern})$")


def _bad_patterns(key: str, patterns: Iterable[str]) -> list[str]:
    """Names the patterns that are no regular expressions."""
    bad = []
    for pattern in patterns:
        try:
            _compiled(pattern)
        except (re.error, OverflowError, RecursionError):
            bad.append(f"{key}={pattern} (no regular expression)")
    return bad


def _by_pattern(values: Mapping[str, _N], module: str, default: _N) -> _N:
    """Returns the value of the first pattern that a layer's name ends in, as PEFT matches them."""
    for pattern, value in values.items():
        if _compiled(pattern).match(module):
            return value
    return default


def apply_config(
    arrays: Mapping[str, Array], config: AdapterConfig, settings: ModelSettings
) -> tuple[dict[str, Array], ModelSettings]:
    """Brings matrices to one rank and one scaling, and checks that they are all there.

    Args:
        arrays: As the file names them.
        config: From `read_adapter_config`.
        settings: Of the adapter.

    Returns:
        Matrices under PEFT's names, and the settings with their common rank and alpha.

    Raises:
        ModelError: A name is unknown, a partner is missing, a layer is not among the targets or has
            another rank than the configuration says.
    """
    if config.target_modules != set(settings.target_modules):
        raise ModelError(
            f"adapter_config.json adapts {', '.join(sorted(config.target_modules))}, "
            f"profile_model.json {', '.join(sorted(settings.target_modules))}",
            remedy="copy both files of one adapter",
        )
    layers = _layers(arrays)
    _check_targets(layers, settings.target_modules)
    ranks = {module: config.rank_of(module) for module in layers}
    rank, first = max(ranks.values()), config.scaling_of(next(iter(layers)))
    scaling = first or 1.0
    result: dict[str, Array] = {}
    for module, (A, B) in layers.items():
        if A.ndim != 2 or B.ndim != 2 or not A.shape[0] == B.shape[1] == ranks[module]:
            raise ModelError(
                f"adapter: A {A.shape} and B {B.shape} of {module} must have rank {ranks[module]}",
                remedy="take the adapter_config.json that it was trained with",
            )
        factor = np.float32(config.scaling_of(module) / scaling)
        missing = rank - ranks[module]
        name = f"base_model.model.{module}.lora_"
        result[f"{name}A.weight"] = np.pad(A, ((0, missing), (0, 0)))
        result[f"{name}B.weight"] = np.pad(B * factor, ((0, 0), (0, missing)))
    update = {"rank": rank, "alpha": scaling * rank}
    return result, settings.model_copy(update=update)


def _layers(arrays: Mapping[str, Array]) -> dict[str, tuple[Array, Array]]:
    """Returns A and B by the name of their layer, sorted."""
    sides: dict[str, dict[str, Array]] = {}
    for name, array in sorted(arrays.items()):
        match = _NAME.fullmatch(name)
        known = sides.setdefault(match["module"], {}) if match else {}
        if match is None or match["side"] in known:
            raise ModelError(
                f"adapter: {name} is unknown",
                remedy="export the adapter with PEFT's `save_pretrained`, LoRA alone",
            )
        known[match["side"]] = array
    for module, pair in sides.items():
        if len(pair) < 2:
            raise ModelError(
                f"adapter: lora_{'B' if 'A' in pair else 'A'} of {module} is missing",
                remedy="copy the whole folder again",
            )
    return {module: (pair["A"], pair["B"]) for module, pair in sides.items()}


def _check_targets(layers: Iterable[str], targets: Iterable[str]) -> None:
    """Refuses layers that are not adapted, and targets without matrices."""
    hits = {
        module: [t for t in targets if module == t or module.endswith(f".{t}")] for module in layers
    }
    strange = [module for module, names in hits.items() if not names]
    if strange:
        raise ModelError(
            f"adapter: {strange[0]} is unknown to target_modules", remedy="save the adapter again"
        )
    for target in targets:
        if not any(target in names for names in hits.values()):
            raise ModelError(
                f"adapter: lora_A and lora_B of {target} are missing",
                remedy="copy the whole folder again",
            )
