"""LoRA on the profile model through PEFT: attach it, choose what trains, move its arrays.

LoRA: https://arxiv.org/abs/2106.09685. Frozen A (FFA-LoRA): https://arxiv.org/abs/2403.12313.
Arrays carry the names that PEFT saves, `base_model.model.<module>.lora_A.weight`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from shared.errors import ModelError
from shared.model.adapter_folder import check_finite, read_adapter
from shared.model.profile_model import ProfileModel
from shared.model.profile_space import PROJECTION
from shared.settings.run_settings import ModelSettings

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel


Array = npt.NDArray[np.float32]
Init = Literal["catalogue-pca", "random"]

_NAME = ".default."
"""PEFT puts the adapter's name into parameter names and leaves it out of saved ones."""


def attach(
    base: ProfileModel,
    settings: ModelSettings,
    *,
    init: Init = "catalogue-pca",
    seed: int,
    device: torch.device | str | None = None,
) -> PeftModel:
    """Adds LoRA layers to the base, in place, with public A and zero B.

    Args:
        base: Frozen base; it is moved to `device` before LoRA is added, so that adapter and
            optimizer refer to the same tensors.
        settings: `target_modules`, `rank`, `alpha`.
        init: A of the profile projection. `catalogue-pca`: the unit rows that select the
            `rank - 1` largest principal coordinates of the catalogue and the constant, so that
            a frozen A spends its rank where items differ most. `random`: orthonormal rows, as
            all other modules get.
        seed: Public seed of the random rows.
        device: None to stay where the base is.

    Returns:
        The PEFT model; `base_model.model` in it is `base`.

    Raises:
        ModelError: A target names no linear layer, or the rank is above a layer's width.
    """
    from peft import get_peft_model

    if device is not None:
        base.to(device)
    _check_targets(base, settings)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # PEFT draws from the global generator, and remarks on GPT-2's transposed layers
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        model = get_peft_model(base, lora_config(settings))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in _lora_parameters(model):
        if ".lora_A." not in name:
            continue
        projection = f".{PROJECTION}." in name
        rank, width = parameter.shape
        if projection and init == "catalogue-pca":
            rows = _principal_rows(rank, width)
        else:
            rows = _orthonormal_rows(rank, width, generator)
        with torch.no_grad():
            parameter.copy_(rows)
    return model


def lora_config(settings: ModelSettings) -> LoraConfig:
    """Returns PEFT's configuration of the adapter."""
    from peft import LoraConfig

    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(settings.target_modules),
        lora_dropout=0.0,
        bias="none",
    )


def set_trainable(model: nn.Module, aggregation: str) -> list[str]:
    """Chooses which LoRA matrices train, and returns their array names.

    Args:
        model: From `attach`.
        aggregation: `average` trains A and B; `frozen-a` and `fedsvd` train B alone.
    """
    trained = []
    for name, parameter in _lora_parameters(model):
        parameter.requires_grad_(aggregation == "average" or ".lora_B." in name)
        if parameter.requires_grad:
            trained.append(array_name(name))
    return trained


def array_name(parameter_name: str) -> str:
    """Turns a name of `named_parameters` into the name that PEFT saves."""
    return parameter_name.replace(_NAME, ".")


def adapter_arrays(model: nn.Module) -> dict[str, Array]:
    """Copies the adapter's matrices to float32 arrays under the names that PEFT saves."""
    return {
        array_name(name): parameter.detach().to("cpu", torch.float32, copy=True).numpy()
        for name, parameter in _lora_parameters(model)
    }


def load_adapter_arrays(model: nn.Module, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes arrays into the adapter's parameters, all or none.

    Raises:
        ModelError: Keys or shapes differ from the adapter's, or a value is not finite.
    """
    parameters = {array_name(name): parameter for name, parameter in _lora_parameters(model)}
    check_arrays(arrays, {name: tuple(p.shape) for name, p in parameters.items()})
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(np.array(arrays[name], dtype=np.float32)))


def check_arrays(
    arrays: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuses arrays that do not fit.

    Raises:
        ModelError: Keys or shapes differ from `shapes`, or a value is not finite.
    """
    strange = sorted(set(arrays) ^ set(shapes))
    if strange:
        kind = "is missing" if strange[0] in shapes else "is unknown"
        raise ModelError(
            f"adapter: {strange[0]} {kind} ({len(strange)} such names)",
            remedy="take an adapter for the same target_modules",
        )
    for name, array in arrays.items():
        if array.shape != shapes[name]:
            raise ModelError(
                f"adapter: {name} has shape {array.shape}, expected {shapes[name]}",
                remedy="take an adapter of the same dim and rank",
            )
    check_finite(arrays)


def _lora_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if ".lora_" in name)


def _check_targets(base: ProfileModel, settings: ModelSettings) -> None:
    """Refuses targets that name no linear layer, and ranks that a layer cannot hold."""
    layers = {
        name: module
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    }
    for target in settings.target_modules:
        hits = [name for name in layers if name == target or name.endswith(f".{target}")]
        if not hits:
            known = sorted({name.rpartition(".")[2] for name in layers})
            raise ModelError(
                "names no linear layer",
                name="target_modules",
                value=target,
                remedy=f"the layers' names end in {', '.join(known)}",
            )
        if target == PROJECTION and settings.rank > base.dim + 1:
            raise ModelError(
                f"is above dim + 1 = {base.dim + 1} of the profile projection",
                name="rank",
                value=settings.rank,
                remedy="lower it with --rank",
            )


def _principal_rows(rank: int, width: int) -> torch.Tensor:
    """Unit rows that select the first `rank - 1` coordinates and the last: `(rank, width)`."""
    return torch.eye(width)[[*range(rank - 1), width - 1]]


def _orthonormal_rows(rank: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Random rows of unit length, orthogonal to each other: `(rank, width)`.

    Raises:
        ModelError: More rows than dimensions.
    """
    if rank > width:
        raise ModelError(
            f"is above a layer's input width {width}", name="rank", value=rank, remedy="lower it"
        )
    axes: torch.Tensor = torch.linalg.qr(torch.randn(width, rank, generator=generator)).Q
    return axes.T.contiguous()


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
            f"gives base {base.base_hash[:16]}…, the adapter in {folder} expects "
            f"{saved.base_hash[:16]}…",
            name="encoder",
            value=saved.settings.encoder,
            remedy="use the files it was trained with",
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
    base = load_base(folder) if base is None else base
    saved = read_adapter(Path(folder), base_hash=base.base_hash)
    model = attach(base, saved.settings, seed=0)
    load_adapter_arrays(model, saved.arrays)
    return model
