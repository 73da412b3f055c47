from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.numpy import load_file, save_file

from shared.errors import ModelError
from shared.model.adapter import (
    adapter_arrays,
    attach,
    load_adapter,
    load_adapter_arrays,
    load_base,
)
from shared.model.adapter_folder import read_adapter
from shared.model.adapter_saving import privacy_statement, save_adapter
from shared.model.profile_model import ProfileModel, build_base
from shared.model.profile_space import (
    PROJECTION_A,
    PROJECTION_B,
    Whitening,
    fit_whitening,
    project_profiles,
    projection_matrix,
)
from shared.settings.run_settings import ModelSettings
from tests.shared.model.tiny_encoders import FAMILIES, LAYER, WIDTH, build_encoder

SMALL = ModelSettings(dim=6, rank=3, alpha=6.0)
GUARANTEE = {
    "epsilon": 8.0,
    "delta": 1e-5,
    "unit": "one user's whole history",
    "adjacency": "add or remove one user",
    "sampling": "full-batch",
    "accountant": "exact Gaussian",
    "epsilon_check": 8.0004,
    "accountant_check": "dp-accounting PLD",
    "trust": "the server, other shops and outsiders",
}


def whitening(width: int = 8, seed: int = 0) -> Whitening:
    vectors = np.random.default_rng(seed).standard_normal((50, width)).astype(np.float32)
    return fit_whitening(vectors, dim=6)


def base(seed: int = 0) -> ProfileModel:
    return ProfileModel(whitening(seed=seed), text_space="space")


def trained(model: ProfileModel, settings: ModelSettings = SMALL) -> PeftModel:
    """A model whose adapter has random values in every matrix."""
    peft_model = attach(model, settings, seed=0)
    rng = np.random.default_rng(2)
    arrays = adapter_arrays(peft_model).items()
    load_adapter_arrays(peft_model, {n: rng.standard_normal(a.shape) for n, a in arrays})
    return peft_model


def save(
    folder: Path, model: PeftModel, settings: ModelSettings = SMALL, **options: object
) -> Path:
    given = {"guarantee": GUARANTEE, "data_shape": {"shops": 3}} | options
    base_model = model.base_model.model
    save_adapter(folder, adapter_arrays(model), base=base_model, settings=settings, **given)
    return folder


def histories() -> torch.Tensor:
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("way", ["peft", "ours", "numpy", "peft saves again"])
def test_a_loaded_adapter_reproduces_trained_scores(tmp_path: Path, way: str) -> None:
    model = trained(base())
    folder = save(tmp_path / "adapter", model)
    with torch.no_grad():
        expected = model(histories()).numpy()
        if way == "numpy":
            saved = read_adapter(folder, base_hash=base().base_hash)
            matrix = projection_matrix(saved.arrays, saved.settings)
            result = project_profiles(matrix, histories().numpy())
        elif way == "ours":
            result = load_adapter(folder, base())(histories()).numpy()
        else:
            loaded = PeftModel.from_pretrained(load_base(folder), folder)
            if way == "peft saves again":
                loaded.save_pretrained(tmp_path / "again")
                loaded = PeftModel.from_pretrained(load_base(folder), tmp_path / "again")
            result = loaded(histories()).numpy()
    assert np.abs(expected - base()(histories()).numpy()).max() > 0.1
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_encoder_layers_come_back_with_their_base(tmp_path: Path, family: str) -> None:
    encoder_folder = build_encoder(tmp_path / "encoder", family)
    targets = ("profile_projection", *LAYER[family])
    settings = SMALL.model_copy(update={"encoder": str(encoder_folder), "target_modules": targets})
    model = trained(build_base(settings, whitening(WIDTH), cache_dir=tmp_path), settings)
    folder = save(tmp_path / "adapter", model, settings)
    encoder = model.base_model.model.text_encoder
    tokens = encoder.pad(encoder.tokenize(["frozen ice cream", "soap"], max_tokens=8))
    loaded = PeftModel.from_pretrained(load_base(folder), folder)
    with torch.no_grad():
        expected = model.profile(model.encode(*tokens))
        torch.testing.assert_close(loaded.profile(loaded.encode(*tokens)), expected)
        ours = load_adapter(folder)
        torch.testing.assert_close(ours.profile(ours.encode(*tokens)), expected)

    replaced = build_encoder(tmp_path / "other", family, seed=1) / "model.safetensors"
    replaced.rename(encoder_folder / "model.safetensors")
    with pytest.raises(ModelError, match="use the files it was trained with"):
        load_base(folder)


def test_files_are_plain_peft(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", trained(base()))
    assert {path.name for path in folder.iterdir()} == {
        *("adapter_config.json", "adapter_model.safetensors", "README.md"),
        *("base.safetensors", "profile_model.json"),
    }
    config = LoraConfig.from_pretrained(folder)
    assert (config.r, config.lora_alpha, config.inference_mode) == (3, 6.0, True)
    assert set(config.target_modules) == {"profile_projection"}
    tensors = load_file(folder / "adapter_model.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        PROJECTION_A: (3, 7),
        PROJECTION_B: (6, 3),
    }
    saved_again = save(tmp_path / "again", trained(base()))
    for path in folder.iterdir():
        assert path.read_bytes() == (saved_again / path.name).read_bytes()


def test_the_card_states_base_data_and_privacy(tmp_path: Path) -> None:
    model = trained(base())
    card = (save(tmp_path / "adapter", model) / "README.md").read_text()
    for fact in (base().base_hash, "| shops | 3 |", "(8, 1e-05)-differentially private"):
        assert fact in card
    for fact in ("one user's whole history", "exact Gaussian", "8", "not a release"):
        assert fact in card
    released = privacy_statement(GUARANTEE, repeatable=False)
    assert "not a release" not in released
    assert privacy_statement(None, repeatable=True).startswith("**None.**")


def test_an_adapter_for_another_base_is_refused_with_both_hashes(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", trained(base()))
    other = base(seed=9)
    with pytest.raises(ModelError) as caught:
        load_adapter(folder, other)
    assert base().base_hash[:16] in str(caught.value)
    assert other.base_hash[:16] in str(caught.value)

    foreign = save(tmp_path / "foreign", trained(base(seed=9)))
    for name in ("adapter_model.safetensors", "base.safetensors"):
        mixed = save(tmp_path / name, trained(base()))
        (mixed / name).write_bytes((foreign / name).read_bytes())
        with pytest.raises(ModelError, match="take an adapter that was trained on this base"):
            read_adapter(mixed)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (PROJECTION_B, np.full((6, 3), np.inf, np.float32), "not finite"),
        (PROJECTION_B, np.zeros((6, 2), np.float32), r"B \(6, 2\) of .* must have rank 3"),
        ("base_model.model.strange.lora_B.weight", np.zeros((6, 3), np.float32), "is missing"),
        ("base_model.model.strange.weight", np.zeros((6, 3), np.float32), "is unknown"),
    ],
)
def test_values_and_shapes_are_checked_on_load(
    tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    folder = save(tmp_path / "adapter", trained(base()))
    path = folder / "adapter_model.safetensors"
    save_file(load_file(path) | {name: array}, path)
    with pytest.raises(ModelError, match=message):
        load_adapter(folder)


@pytest.mark.parametrize(
    "name", ["profile_model.json", "base.safetensors", "adapter_model.safetensors"]
)
def test_missing_and_torn_files_are_named(tmp_path: Path, name: str) -> None:
    folder = save(tmp_path / "adapter", trained(base()))
    path = folder / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelError, match=name):
        read_adapter(folder)
    path.unlink()
    with pytest.raises(ModelError, match=name):
        read_adapter(folder)


def test_a_description_of_another_format_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", trained(base()))
    path = folder / "profile_model.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps(description | {"settings": {"dim": 6, "strange": 1}}))
    with pytest.raises(ModelError, match="is not of format 1"):
        read_adapter(folder)


def test_a_folder_that_exists_is_kept_unless_replacing_is_asked(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", trained(base()))
    with pytest.raises(ModelError, match="exists; choose another one"):
        save(folder, attach(base(), SMALL, seed=0))
    assert read_adapter(folder).arrays[PROJECTION_B].any()
    save(folder, attach(base(), SMALL, seed=0), replace=True)
    assert not read_adapter(folder).arrays[PROJECTION_B].any()
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_a_full_disk_leaves_the_old_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "adapter", trained(base()))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match=r"No space left on device.*untouched"):
        save(folder, attach(base(), SMALL, seed=0), replace=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_a_failure_between_the_two_moves_puts_the_old_adapter_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "adapter", trained(base()))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rename, calls = Path.rename, []

    def fail_second(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises(ModelError, match="Input/output error"):
        save(folder, attach(base(), SMALL, seed=0), replace=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_non_finite_matrices_are_never_saved(tmp_path: Path) -> None:
    model = trained(base())
    arrays = adapter_arrays(model) | {PROJECTION_B: np.full((6, 3), np.nan, np.float32)}
    with pytest.raises(ModelError, match="not finite"):
        save_adapter(
            tmp_path / "adapter",
            arrays,
            base=base(),
            settings=SMALL,
            guarantee=None,
            data_shape={},
        )
    assert not list(tmp_path.iterdir())


def test_reading_needs_neither_torch_nor_peft(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", trained(base()))
    code = (
        "import sys; from pathlib import Path\n"
        "from shared.model.adapter_folder import read_adapter\n"
        "from shared.model.profile_space import projection_matrix\n"
        f"saved = read_adapter(Path({str(folder)!r}))\n"
        "print(projection_matrix(saved.arrays, saved.settings).shape)\n"
        "print({'torch', 'transformers', 'peft'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["(6, 7)", "set()"]
