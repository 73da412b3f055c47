from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import get_peft_model_state_dict

from shared.errors import ModelError
from shared.model.adapter import (
    adapter_arrays,
    array_name,
    attach,
    load_adapter_arrays,
    set_trainable,
)
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


def whitening(width: int = 8, dim: int = 6) -> Whitening:
    vectors = np.random.default_rng(0).standard_normal((50, width)).astype(np.float32)
    return fit_whitening(vectors, dim=dim)


def base() -> ProfileModel:
    return ProfileModel(whitening(), text_space="space")


def histories(n: int = 5, dim: int = 6) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(1))


def randomise(model: torch.nn.Module) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    arrays = {
        name: rng.standard_normal(array.shape).astype(np.float32)
        for name, array in adapter_arrays(model).items()
    }
    load_adapter_arrays(model, arrays)
    return arrays


def test_without_training_a_profile_is_the_unit_history() -> None:
    expected = histories() / histories().norm(dim=1, keepdim=True)
    torch.testing.assert_close(base()(histories()), expected)
    torch.testing.assert_close(attach(base(), SMALL, seed=0)(histories()), expected)
    assert not base()(torch.zeros(1, 6)).any()
    assert not any(parameter.requires_grad for parameter in base().parameters())


def test_a_profile_by_hand() -> None:
    model = attach(base(), ModelSettings(dim=6, rank=2, alpha=4.0), seed=0)
    B = np.zeros((6, 2), dtype=np.float32)
    B[2, 0], B[3, 1] = 0.5, 0.25  # row 0 of A selects coordinate 0, row 1 the constant
    load_adapter_arrays(model, adapter_arrays(model) | {PROJECTION_B: B})
    profile = model.profile(torch.tensor([[3.0, 0, 0, 0, 0, 4.0]]))
    expected = torch.tensor([[0.6, 0, 2 * 0.5 * 0.6, 2 * 0.25, 0, 0.8]])
    torch.testing.assert_close(profile, expected)


def test_catalogue_pca_selects_leading_coordinates_and_the_constant() -> None:
    arrays = adapter_arrays(attach(base(), SMALL, init="catalogue-pca", seed=0))
    assert arrays[PROJECTION_A].tolist() == np.eye(7)[[0, 1, 6]].tolist()
    assert not arrays[PROJECTION_B].any()


def test_random_rows_are_orthonormal_and_follow_the_seed_alone() -> None:
    def rows(seed: int) -> np.ndarray:
        return adapter_arrays(attach(base(), SMALL, init="random", seed=seed))[PROJECTION_A]

    np.testing.assert_allclose(rows(3) @ rows(3).T, np.eye(3), atol=1e-6)
    before = torch.random.get_rng_state()
    first = rows(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)
    np.testing.assert_array_equal(rows(3), first)
    assert np.abs(rows(4) - first).max() > 0.1


@pytest.mark.parametrize(
    ("aggregation", "trained"),
    [
        ("frozen-a", {PROJECTION_B}),
        ("fedsvd", {PROJECTION_B}),
        ("average", {PROJECTION_A, PROJECTION_B}),
    ],
)
def test_what_trains_and_nothing_else(aggregation: str, trained: set[str]) -> None:
    model = attach(base(), SMALL, seed=0)
    set_trainable(model, "average" if aggregation != "average" else "frozen-a")
    assert set(set_trainable(model, aggregation)) == trained
    names = {array_name(name) for name, p in model.named_parameters() if p.requires_grad}
    assert names == trained


def test_arrays_carry_peft_s_names_and_are_copies() -> None:
    model = attach(base(), SMALL, seed=0)
    arrays = adapter_arrays(model)
    standard = get_peft_model_state_dict(model)
    assert set(arrays) == set(standard) == {PROJECTION_A, PROJECTION_B}
    arrays[PROJECTION_A] += 1
    np.testing.assert_array_equal(adapter_arrays(model)[PROJECTION_A], standard[PROJECTION_A])


def test_bfloat16_weights_travel_as_float32() -> None:
    model = attach(base(), SMALL, seed=0).to(torch.bfloat16)
    arrays = randomise(model)
    assert {array.dtype for array in adapter_arrays(model).values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(adapter_arrays(model)[PROJECTION_B], arrays[PROJECTION_B], rtol=0.01)


def test_loading_writes_into_the_tensors_that_an_optimizer_holds() -> None:
    model = attach(base(), SMALL, seed=0)
    held = dict(model.named_parameters())
    arrays = randomise(model)
    (name,) = [name for name in held if array_name(name) == PROJECTION_B]
    np.testing.assert_array_equal(held[name].detach(), arrays[PROJECTION_B])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({PROJECTION_B: np.full((6, 3), np.nan, np.float32)}, "lora_B.weight holds values that"),
        ({PROJECTION_B: np.zeros((6, 4), np.float32)}, r"shape \(6, 4\), expected \(6, 3\)"),
        ({"strange": np.zeros(1, np.float32)}, "strange is unknown"),
    ],
)
def test_arrays_that_do_not_fit_change_nothing(change: dict, message: str) -> None:
    model = attach(base(), SMALL, seed=0)
    before = adapter_arrays(model)
    with pytest.raises(ModelError, match=message):
        load_adapter_arrays(model, {PROJECTION_A: np.ones((3, 7), np.float32)} | before | change)
    for name, array in adapter_arrays(model).items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(ModelError, match=r"lora_B.weight is missing"):
        load_adapter_arrays(model, {PROJECTION_A: before[PROJECTION_A]})


@settings(max_examples=25, deadline=None)
@given(dim=st.integers(2, 6), rank=st.integers(1, 3), alpha=st.floats(0.5, 64))
def test_the_numpy_projection_equals_the_torch_model(dim: int, rank: int, alpha: float) -> None:
    chosen = ModelSettings(dim=dim, rank=rank, alpha=alpha)
    model = attach(ProfileModel(whitening(dim=dim), text_space="s"), chosen, seed=0)
    matrix = projection_matrix(randomise(model), chosen)
    assert matrix.shape == (dim, dim + 1)
    some = torch.cat([histories(7, dim), torch.zeros(1, dim)]).reshape(2, 4, dim)
    with torch.no_grad():
        expected = model(some).numpy()
    result = project_profiles(matrix, some.numpy())
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_projection_of_a_missing_or_misshapen_adapter() -> None:
    np.testing.assert_array_equal(projection_matrix({}, SMALL), np.eye(6, 7))
    arrays = adapter_arrays(attach(base(), SMALL, seed=0))
    with pytest.raises(ModelError, match=r"must be .* for dim=6, rank=2"):
        projection_matrix(arrays, SMALL.model_copy(update={"rank": 2}))


def test_targets_and_ranks_that_do_not_fit() -> None:
    wrong = SMALL.model_copy(update={"target_modules": ("profile_projection", "quary")})
    with pytest.raises(ModelError, match=r"target_modules=quary .* end in profile_projection"):
        attach(base(), wrong, seed=0)
    with pytest.raises(ModelError, match=r"rank=8 is above dim \+ 1 = 7"):
        attach(base(), SMALL.model_copy(update={"rank": 8}), seed=0)


def test_tokens_need_an_encoder() -> None:
    ids = torch.zeros(1, 2, dtype=torch.int64)
    with pytest.raises(ModelError, match="add a layer to target_modules"):
        base().encode(ids, ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_every_family_train(tmp_path: Path, family: str) -> None:
    folder = build_encoder(tmp_path / family, family)
    targets = ("profile_projection", *LAYER[family])
    chosen = ModelSettings(encoder=str(folder), dim=6, rank=3, target_modules=targets)
    whiten = whitening(width=WIDTH)
    model = attach(build_base(chosen, whiten, cache_dir=tmp_path), chosen, seed=0)
    encoder = model.base_model.model.text_encoder
    tokens = encoder.pad(encoder.tokenize(["frozen ice cream", "soap"], max_tokens=8))
    with torch.no_grad():
        untrained = model.encode(*tokens)
        expected = whiten.apply(encoder.embed(*tokens).numpy())
    np.testing.assert_allclose(untrained, expected, atol=1e-5)

    trained = set_trainable(model, "frozen-a")
    assert len(trained) == len(targets)
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=5.0)
    before = adapter_arrays(model)
    target = histories(2)
    for _ in range(3):
        optimizer.zero_grad()
        (model.profile(model.encode(*tokens)) - target).square().sum().backward()
        optimizer.step()
    after = adapter_arrays(model)
    moved = {name for name in after if (after[name] != before[name]).any()}
    assert moved == set(trained)
    assert (model.encode(*tokens) - untrained).abs().max() > 1e-3


def test_whitening_of_another_encoder_is_refused(tmp_path: Path) -> None:
    folder = str(build_encoder(tmp_path / "e"))
    chosen = ModelSettings(encoder=folder, target_modules=LAYER["bert"])
    with pytest.raises(ModelError, match="gives 16 numbers a text, the whitening takes 8"):
        build_base(chosen, whitening(width=8), cache_dir=tmp_path)


def test_the_base_needs_no_encoder_for_the_projection_alone(tmp_path: Path) -> None:
    folder = build_encoder(tmp_path / "e")
    chosen = ModelSettings(encoder=str(folder), dim=6)
    one = build_base(chosen, whitening(), cache_dir=tmp_path)
    assert one.text_encoder is None
    longer = chosen.model_copy(update={"max_tokens": 65})
    assert build_base(longer, whitening(), cache_dir=tmp_path).base_hash != one.base_hash


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_adapter_lives_on_the_gpu_and_gives_the_same_profiles() -> None:
    on_cpu, on_gpu = (attach(base(), SMALL, seed=0, device=d) for d in ("cpu", "cuda"))
    load_adapter_arrays(on_gpu, randomise(on_cpu))
    assert {p.device.type for p in on_gpu.parameters()} == {"cuda"}
    with torch.no_grad():
        result = on_gpu(histories().cuda()).cpu()
        torch.testing.assert_close(result, on_cpu(histories()), atol=1e-3, rtol=1e-3)
