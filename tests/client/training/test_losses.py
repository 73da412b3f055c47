"""The two losses against a naive softmax, and their separation by user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from client.training.dp_sgd import StepSpec, train_privately
from client.training.examples import Examples
from client.training.losses import EncoderLoss, FrozenTextLoss, context_vectors
from shared.model.adapter import attach, set_trainable
from shared.model.profile_model import build_base
from shared.model.profile_space import fit_whitening
from shared.model.text_vectors import encode_texts
from shared.privacy.noise import GRID, RandomSource
from shared.settings.run_settings import ModelSettings
from tests.shared.model.tiny_encoders import build_encoder

TEXTS = ["frozen apple", "ice cream", "apple juice", "large soap", "small bread", "private juice"]
CANDIDATES = np.array([0, 2, 4], dtype=np.int64)
EXAMPLES = Examples(
    context=np.array([[[0, 1], [2, -1]], [[3, -1], [-1, -1]]], dtype=np.int32),
    weight=np.array([[[1.0, 0.5], [2.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]], dtype=np.float32),
    target=np.array([[[2, 3], [5, -1]], [[4, -1], [-1, -1]]], dtype=np.int32),
)


def naive(vectors: np.ndarray, weight: np.ndarray, *, scale: float = 3.0) -> list[float]:
    """The users' losses by loops, with projection `weight` `(dim, dim + 1)`."""
    losses = []
    for context, weights, target in zip(
        EXAMPLES.context, EXAMPLES.weight, EXAMPLES.target, strict=True
    ):
        each = []
        for c, w, t in zip(context, weights, target, strict=True):
            history = sum((wi * vectors[i] for i, wi in zip(c, w, strict=True) if i >= 0), 0.0)
            for item in t[t >= 0]:
                unit = history / np.linalg.norm(history)
                profile = weight @ np.append(unit, 1.0)
                scores = scale * vectors[[item, *CANDIDATES]] @ profile
                each.append(np.log(np.exp(scores).sum()) - scores[0])
        losses.append(float(np.mean(each)))
    return losses


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    folder = build_encoder(tmp_path_factory.mktemp("encoder"))
    return ModelSettings(
        encoder=str(folder), dim=4, rank=3, target_modules=("profile_projection", "query")
    )


@pytest.fixture(scope="module")
def world(settings: ModelSettings, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    cache: Path = tmp_path_factory.mktemp("cache")
    text_vectors = encode_texts(TEXTS, settings=settings, device="cpu", cache_dir=cache)
    whitening = fit_whitening(text_vectors, dim=4)
    return settings, whitening, whitening.apply(text_vectors)


def adapted(world, aggregation: str = "average"):  # type: ignore[no-untyped-def]
    settings, whitening, vectors = world
    model = attach(build_base(settings, whitening), settings, init="random", seed=3)
    generator = torch.Generator().manual_seed(5)
    for name, p in model.named_parameters():
        if ".lora_B." in name and "profile_projection" in name:
            p.data = 0.3 * torch.randn(p.shape, generator=generator)
    set_trainable(model, aggregation)
    return model, vectors


def test_frozen_text_loss_equals_a_softmax_by_loops(world) -> None:  # type: ignore[no-untyped-def]
    model, vectors = adapted(world)
    projection = model.base_model.model.profile_projection
    weight = (projection.base_layer.weight + projection.get_delta_weight("default")).detach()
    loss = FrozenTextLoss(EXAMPLES, vectors, CANDIDATES, scale=3.0, device=torch.device("cpu"))
    found = loss(model, torch.tensor([0, 1])).detach().numpy()
    assert found == pytest.approx(naive(vectors, weight.numpy()), rel=1e-4)


def test_context_vectors_are_sums_by_user_and_pair() -> None:
    rng = np.random.default_rng(0)
    shape = users, pairs, width = 5, 3, 4
    context = rng.integers(-1, 7, shape).astype(np.int32)
    weight = np.where(context >= 0, rng.random(shape), 0.0).astype(np.float32)
    vectors = rng.normal(size=(7, 2)).astype(np.float32)
    expected = np.zeros((users, pairs, 2))
    for user, pair, place in np.ndindex(users, pairs, width):
        item = context[user, pair, place]
        if item >= 0:
            expected[user, pair] += weight[user, pair, place] * vectors[item]
    found = context_vectors(Examples(context, weight, context), vectors)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_encoder_loss_equals_the_frozen_one_while_the_encoder_is_unchanged(world) -> None:  # type: ignore[no-untyped-def]
    model, vectors = adapted(world)
    encoder = model.base_model.model.text_encoder
    loss = EncoderLoss(EXAMPLES, encoder.tokenize(TEXTS, max_tokens=16), CANDIDATES, scale=3.0)
    frozen = FrozenTextLoss(EXAMPLES, vectors, CANDIDATES, scale=3.0, device=torch.device("cpu"))
    users = torch.tensor([1, 0])
    model.eval()
    with torch.no_grad():
        assert loss(model, users).numpy() == pytest.approx(frozen(model, users).numpy(), rel=1e-3)


def test_encoder_gradients_of_a_user_do_not_depend_on_the_others(world) -> None:  # type: ignore[no-untyped-def]
    model, _ = adapted(world, "frozen-a")
    encoder = model.base_model.model.text_encoder
    tokens = encoder.tokenize(TEXTS, max_tokens=16)
    spec = StepSpec(
        steps=1,
        sample_rate=1.0,
        divisor=1.0,
        max_grad_norm=1e-3,
        noise_variance=0,
        learning_rate=1.0,
        physical_batch=2,
    )

    def update(rows: list[int]) -> dict[str, torch.Tensor]:
        part = Examples(EXAMPLES.context[rows], EXAMPLES.weight[rows], EXAMPLES.target[rows])
        loss = EncoderLoss(part, tokens, CANDIDATES, scale=3.0)
        random = RandomSource.from_seed(1)
        return train_privately(model=model, loss=loss, n_users=len(rows), spec=spec, random=random)

    both, first, second = update([0, 1]), update([0]), update([1])
    assert any("query" in name for name in both)
    for name, moved in both.items():
        assert moved.abs().max() > 0
        torch.testing.assert_close(moved, first[name] + second[name], rtol=1e-3, atol=20)
    total = sum(float(t.double().square().sum()) for t in first.values()) ** 0.5 / GRID
    assert total == pytest.approx(1.0, rel=1e-2), (
        "one user's clipped step has the norm of the bound"
    )
