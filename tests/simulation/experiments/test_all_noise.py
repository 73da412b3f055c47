"""Nothing that is noise, or that holds only what a shop has itself, is ever called a gain."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from shared.interactions.datasets.load import load_dataset
from shared.interactions.events import Dataset
from shared.interactions.splits import resolve_windows
from shared.releases.noisy_statistics import PairRelease
from shared.settings.run_settings import DataSettings
from simulation.evaluation.evaluate import evaluate
from simulation.evaluation.paired_bootstrap import judge, judged_mean
from simulation.evaluation.shop import GlobalModel
from simulation.experiments.single.findings import headline
from simulation.experiments.single.schema import Report
from simulation.experiments.sweep.comparison import compare
from simulation.experiments.sweep.schema import SweepReport
from simulation.runs.variants import SeedGroup
from tests.shared.model.tiny_encoders import build_encoder
from tests.simulation.commands import run
from tests.simulation.experiments.noisy_worlds import KINDS, N_ITEMS, options, write_world

pytestmark = pytest.mark.slow
SEEDS, GROUPS = 20, 10
Verdicts = dict[str, set[str]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("encoder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPROFILE_CACHE", str(folder / "cache"))
        build_encoder(folder / "encoder")
        yield folder / "encoder"


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_noise_never_pays(kind: str, encoder: Path, tmp_path: Path) -> None:
    """Twenty runs on ten data sets, each judged by itself and in its sweep."""
    for seed in range(1, SEEDS + 1, 2):
        data, out = write_world(tmp_path / f"{seed}", kind, seed=seed), tmp_path / f"run-{seed}"
        asked = ["--epsilon", "0.05", "--noise", "shared", "--seed", f"{seed}", "--seeds", "2"]
        result = run(
            *options(data, encoder, kind), *asked, "--jobs", "1", "--json", "--out", str(out)
        )
        assert result.exit_code == 0, result.output
        sweep = SweepReport.model_validate_json(result.stdout)
        assert sweep.title.startswith("Do not join")
        assert not any(recommendation.join for recommendation in sweep.recommendations)
        for surface in sweep.surfaces.values():
            assert all(c.verdict != "better" for c in surface.comparisons)
        for variant in sweep.variants:
            text = (out / variant.name / "report.json").read_text()
            report = Report.model_validate(json.loads(text))
            assert headline(report).title.startswith("Federation did not pay")
            assert all(c.verdict != "better" for c in report.comparison.values())


@pytest.mark.parametrize("kind", KINDS)
def test_noise_that_nobody_tells_from_signal_and_the_placebo_never_pay(
    kind: str, tmp_path: Path
) -> None:
    """The noise says of itself that it is reliable, the placebo knows texts alone."""
    for seed in range(SEEDS):
        data, vectors = _world(tmp_path, kind, seed)
        models = {"noise": _noise(vectors, seed)}
        assert "better" not in _verdicts(data, vectors, models)["noise"]
        placebo = {"placebo": GlobalModel(lambda history: 3 * history)}
        assert "better" not in _verdicts(data, vectors, placebo)["placebo"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_federation_that_knows_the_truth_pays(kind: str, tmp_path: Path) -> None:
    """The same small shops are large enough to see a gain where there is one."""
    seen = set()
    for seed in range(3):
        data, vectors = _world(tmp_path, kind, seed, groups=GROUPS)
        seen |= _verdicts(data, vectors, {"truth": _truth(data, vectors)})["truth"]
    assert "better" in seen


def _world(folder: Path, kind: str, seed: int, *, groups: int = 3) -> tuple[Dataset, np.ndarray]:
    """A data set, and texts that say something of who buys what."""
    split = "leave-last-out" if kind == "order" else "time"
    source = str(write_world(folder / f"{seed}", kind, seed=seed, groups=groups))
    settings = DataSettings(source=source, shop_column="shop_id", split=split)
    data = load_dataset(settings, seed=1)
    rng = np.random.default_rng([seed, 1])
    vectors = rng.normal(size=(3, 6))[_numbers(data) % 3] + 0.8 * rng.normal(size=(N_ITEMS, 6))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return data, unit.astype(np.float32)


def _numbers(data: Dataset) -> np.ndarray:
    return np.array([int(str(item)[1:]) for item in data.catalogue.item_ids])


def _noise(vectors: np.ndarray, seed: int) -> GlobalModel:
    rng = np.random.default_rng([seed, 2])
    turned = rng.normal(size=(6, 6)).astype(np.float32)
    pairs = np.maximum(rng.normal(size=N_ITEMS * (N_ITEMS - 1) // 2) - 1, 0)
    return GlobalModel(
        lambda history: 3 * history + history @ turned,
        rng.normal(size=N_ITEMS).astype(np.float32),
        pairs=_release(pairs, vectors),
    )


def _truth(data: Dataset, vectors: np.ndarray) -> GlobalModel:
    number = _numbers(data)
    alike = number[:, None] % GROUPS == number % GROUPS
    taste = 1.0 / (1.0 + number // GROUPS)
    pairs = 400 * np.where(alike, 1.0, 0.05) * np.outer(taste, taste)
    prior = np.log(taste).astype(np.float32)
    upper = pairs[np.triu_indices(N_ITEMS, 1)]
    return GlobalModel(lambda history: 3 * history, prior, pairs=_release(upper, vectors))


def _release(pairs: np.ndarray, vectors: np.ndarray) -> PairRelease:
    items = np.arange(N_ITEMS)
    return PairRelease(items, pairs.astype(np.float32), 0.0, vectors, np.ones(N_ITEMS))


def _verdicts(data: Dataset, vectors: np.ndarray, models: Mapping[str, GlobalModel]) -> Verdicts:
    """Judges each model as a sweep judges a run: *discover* by itself, the others by Holm."""
    windows = resolve_windows(_settings_of(data), data)
    result = evaluate(data, windows, vectors, models, pooled=False, bootstrap=2, workers=1)
    found: Verdicts = {}
    for name in models:
        group = SeedGroup(8.0, "shop", ((1, name),))
        rng = np.random.default_rng(1)
        surfaces = {s: compare(result, s, [group], draws=1000, rng=rng) for s in result.surfaces}
        judged = {s: c.comparisons[0] for s, c in surfaces.items() if c is not None}
        gains = [(judged_mean(c.gain, c.over_placebo), c.p) for c in judged.values()]
        verdicts = judge(gains, primary=list(judged).index("discover"))
        found[name] = {str(verdict["verdict"]) for verdict in verdicts}
    return found


@cache
def _settings_by(split: str) -> DataSettings:
    return DataSettings.model_validate({"source": "unused", "split": split})


def _settings_of(data: Dataset) -> DataSettings:
    return _settings_by("leave-last-out" if data.time_unit == "order" else "time")
