"""What a run estimates from its noisy counts, and how far shops may rely on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.releases.noisy_statistics import denoise_counts, signal_share
from shared.settings.run_settings import (
    DataSettings,
    ModelSettings,
    PrivacySettings,
    RunSettings,
    TrainingSettings,
)
from simulation.reporting.terminal import Progress
from simulation.runs.preparation import Prepared, prepare
from simulation.runs.training import Trained, global_model, train_global
from tests.simulation.tiny_shops import write_tiny_shops

SHOPS = 6
STATISTICS = {"counts_share": 0.75, "pairs_share": 0.25, "adapter_share": 0.0}
"""No rounds: counts and pairs alone."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("training")
    data = write_tiny_shops(folder / "data", shops=SHOPS, users=10)
    settings = RunSettings(
        data=DataSettings(source=str(data), split="leave-last-out", shop_column="shop_id"),
        model=ModelSettings(encoder=str(folder / "encoder"), dim=6, rank=4, alpha=4),
        training=TrainingSettings(divisor=10, candidates=16, rounds=1),
    )
    with pytest.MonkeyPatch.context() as patch, Progress(quiet=True) as progress:
        patch.setenv("FEDPROFILE_CACHE", str(folder / "cache"))
        return prepare(settings, folder=folder / "state", progress=progress)


def train(prepared: Prepared, folder: Path, **privacy: object) -> Trained:
    settings = prepared.settings.model_copy(
        update={"privacy": PrivacySettings(**{"head_items": 10, **privacy})}  # type: ignore[arg-type]
    )
    return train_global(
        prepared, settings, checkpoints=folder / "state", workers=1, on_round=lambda _: None
    )


@pytest.mark.parametrize("noise", ["shop", "shared"])
def test_popularity_is_estimated_against_the_noise_of_the_whole_sum(
    prepared: Prepared, tmp_path: Path, noise: str
) -> None:
    """The sum of six has the root of six times the noise that each shop adds."""
    trained = train(prepared, tmp_path, noise=noise, epsilon=8.0, **STATISTICS)
    counts, each = trained.result.counts, trained.plan.counts_noise_multiplier
    assert counts is not None
    std = trained.plan.own_noise(each) * SHOPS**0.5
    assert (std < 1.5 * each) == (noise == "shared")
    expected = denoise_counts(counts, prepared.item_vectors, std=std)
    np.testing.assert_allclose(trained.popularity, expected, atol=1e-6)
    weaker = denoise_counts(counts, prepared.item_vectors, std=std / SHOPS**0.5)
    assert np.abs(weaker - expected).max() > 0.1  # so that another size of noise would be noticed
    assert global_model(prepared, trained).reliability == pytest.approx(
        signal_share(counts, std=std)
    )


def test_what_was_released_is_relied_on_as_far_as_it_stands_out_of_its_noise(
    prepared: Prepared, tmp_path: Path
) -> None:
    shares = {}
    for epsilon in (0.5, 50.0, None):
        trained = train(prepared, tmp_path / f"{epsilon}", epsilon=epsilon, **STATISTICS)
        shares[epsilon] = global_model(prepared, trained).reliability
    assert shares[0.5] < 0.7  # ten users a shop drown in this noise
    assert 0.9 < shares[50.0] < 1.0
    assert shares[None] == 1.0


def test_without_counts_nothing_tells_how_far_to_rely_on_the_adapter(
    prepared: Prepared, tmp_path: Path
) -> None:
    adapter_alone = {"counts_share": 0.0, "pairs_share": 0.0, "adapter_share": 1.0}
    trained = train(prepared, tmp_path, epsilon=8.0, **adapter_alone)
    assert trained.popularity is None
    assert global_model(prepared, trained).reliability == 0.5
