"""Adapters as PEFT applies them: the same profiles, or a refusal by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from shared.errors import ModelError
from shared.model.adapter import load_adapter, load_base
from shared.model.adapter_folder import read_adapter
from shared.model.profile_model import build_base
from shared.model.profile_space import PROJECTION, project_profiles, projection_matrix
from shared.settings.run_settings import ModelSettings
from tests.shared.model.test_adapter_folder import base, histories, save, trained, whitening
from tests.shared.model.tiny_encoders import LAYER, WIDTH, build_encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "adapter", trained(base()))


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensors(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "adapter_model.safetensors")


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def assert_as_peft(folder: Path) -> None:
    """Both ways of reading give PEFT's profiles, which are not those of the base."""
    saved = read_adapter(folder)
    with torch.no_grad():
        expected = PeftModel.from_pretrained(load_base(folder), folder)(histories()).numpy()
        ours = load_adapter(folder)(histories()).numpy()
    served = project_profiles(projection_matrix(saved.arrays, saved.settings), histories().numpy())
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    np.testing.assert_allclose(served, expected, atol=1e-5)
    assert np.abs(expected - base()(histories()).numpy()).max() > 0.1


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_alpha": 1.5},
        {"use_rslora": True},
        {"alpha_pattern": {"profile_.*": 2.0}, "r": 3},
        {"rank_pattern": {PROJECTION: 3}, "r": 8},
        {"lora_dropout": 0.5, "init_lora_weights": "gaussian"},
    ],
)
def test_scaling_follows_the_configuration(folder: Path, changes: dict[str, Any]) -> None:
    change_config(folder, **changes)
    assert_as_peft(folder)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_numbers_of_every_floating_type_are_read(folder: Path, dtype: torch.dtype) -> None:
    change_tensors(folder, {name: tensor.to(dtype) for name, tensor in tensors_of(folder).items()})
    assert_as_peft(folder)


def test_names_that_hold_the_adapter_s_name_are_read(folder: Path) -> None:
    named = {n.replace(".weight", ".default.weight"): t for n, t in tensors_of(folder).items()}
    change_tensors(folder, named)
    assert_as_peft(folder)


def test_layers_of_different_rank_and_scaling(tmp_path: Path) -> None:
    encoder_folder = build_encoder(tmp_path / "encoder")
    settings = ModelSettings(
        dim=6,
        rank=3,
        alpha=6.0,
        encoder=str(encoder_folder),
        target_modules=(PROJECTION, *LAYER["bert"]),
    )
    model = build_base(settings, whitening(WIDTH), cache_dir=tmp_path)
    folder = save(tmp_path / "adapter", trained(model, settings), settings)
    config = LoraConfig(
        r=3,
        lora_alpha=6.0,
        use_rslora=True,
        target_modules=list(settings.target_modules),
        rank_pattern={"query": 2, PROJECTION: 5},
        alpha_pattern={r"output\.dense": 1.0},
        init_lora_weights=False,
    )
    torch.manual_seed(0)
    theirs = get_peft_model(load_base(folder), config)
    theirs.save_pretrained(folder)
    tokens = model.text_encoder.pad(
        model.text_encoder.tokenize(["frozen ice cream", "soap"], max_tokens=8)
    )
    ours = load_adapter(folder)
    with torch.no_grad():
        expected = theirs.profile(theirs.encode(*tokens))
        torch.testing.assert_close(ours.profile(ours.encode(*tokens)), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "use_dora=True, which is not applied here"),
        ({"bias": "all"}, "bias=all"),
        ({"modules_to_save": [PROJECTION]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights=pissa"),
        ({"peft_type": "IA3"}, "peft_type=IA3"),
        ({"a_key_of_tomorrow": 1}, "a_key_of_tomorrow=1"),
        ({"target_modules": "all-linear"}, "adapts all-linear, profile_model.json profile_proj"),
        ({"r": 0}, "r below 1"),
        ({"rank_pattern": {"a(": 2}}, r"rank_pattern=a\( \(no regular expression\)"),
        ({"alpha_pattern": {"*": 2.0}}, r"alpha_pattern=\* \(no regular expression\)"),
        ({"r": 4}, "must have rank 4"),
        ({"lora_alpha": None}, "adapter_config.json is missing or damaged"),
    ],
)
def test_what_is_not_applied_is_refused_by_name(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    change_config(folder, **changes)
    with pytest.raises(ModelError, match=message):
        read_adapter(folder)


def test_empty_partial_and_renamed_files_are_refused(folder: Path) -> None:
    tensors = tensors_of(folder)
    a, b = sorted(tensors)
    cases = {
        "lora_A and lora_B of profile_projection are missing": {},
        "lora_B of profile_projection is missing": {a: tensors[a]},
        "lora_A of profile_projection is missing": {b: tensors[b]},
        "is unknown": {name.replace("lora_", "lora."): t for name, t in tensors.items()},
        "numbers of type I32": {name: tensor.int() for name, tensor in tensors.items()},
    }
    for message, content in cases.items():
        change_tensors(folder, content)
        with pytest.raises(ModelError, match=message) as caught:
            read_adapter(folder)
        assert "\n" not in str(caught.value)
    change_tensors(folder, tensors)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(ModelError, match=r"adapter_config\.json is missing"):
        read_adapter(folder)
