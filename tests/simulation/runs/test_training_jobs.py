"""Training in processes, and what is kept of a sweep between two commands."""

from __future__ import annotations

import multiprocessing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from shared.errors import ConfigError
from shared.settings.run_settings import RunSettings
from shared.settings.sources import assignments, load_settings
from simulation.evaluation.evaluate import PLAIN, read_evaluation, write_evaluation
from simulation.evaluation.measures import Ranking
from simulation.reporting.terminal import Progress
from simulation.runs.preparation import PortablePreparation, Prepared, prepare
from simulation.runs.training_jobs import TrainingJob, train_in_processes
from simulation.runs.variants import Sweep
from tests.simulation.experiments.sweep.sample_sweeps import SETTINGS, evaluation
from tests.simulation.tiny_shops import options, write_tiny_shops


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("world")
    words = options(write_tiny_shops(folder / "data"))
    sets = assignments([w for o, w in pairwise(words) if o == "--set"])
    given = {"data.source": str(folder / "data"), "data.shop_column": "shop_id", **sets}
    given |= {"data.split": "leave-last-out", "model.encoder": str(folder / "encoder")}
    settings = load_settings(file=None, environment={}, options={**given, "training.rounds": 3})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPROFILE_CACHE", str(folder / "cache"))
        return prepare(settings, folder=folder / "prepared", progress=Progress(quiet=True))


def job(name: str, settings: RunSettings, folder: Path) -> TrainingJob:
    return TrainingJob(name, settings, folder / name / "state", folder / name / "ledgers")


def test_what_is_sent_to_a_process_opens_as_what_was_prepared(prepared: Prepared) -> None:
    place = PortablePreparation.of(prepared)
    assert sum(len(shop.events) for shop in place.prepared.dataset.shops) == 0
    opened = place.open()
    assert opened.base.base_hash == prepared.base.base_hash
    assert np.array_equal(opened.item_vectors, prepared.item_vectors)
    assert (opened.n_shops, opened.settings) == (prepared.n_shops, prepared.settings)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_in_one_job_is_the_sweeps_and_leaves_the_finished_ones(
    prepared: Prepared, tmp_path: Path, processes: int
) -> None:
    good = prepared.settings
    federation = good.federation.model_copy(update={"min_replies": 9})
    bad = good.model_copy(update={"federation": federation})
    jobs = [job("good", good, tmp_path), job("bad", bad, tmp_path), job("never", good, tmp_path)]
    done: list[int] = []
    with pytest.raises(ConfigError, match="min_replies=9"):
        train_in_processes(
            prepared,
            jobs,
            processes=processes,
            workers=2,
            on_round=lambda info: done.append(info.round),
        )
    assert multiprocessing.active_children() == []
    assert not (tmp_path / "never" / "state").exists() or processes == 2
    if processes == 1:
        assert done == [0, 0, 1, 2, 3]
        asked: list[int] = []
        again = jobs[0].run(prepared, workers=1, on_round=lambda info: asked.append(info.round))
        assert asked == []  # nothing is trained again
        assert [info.round for info in again.result.rounds] == [0, 0, 1, 2, 3]


def test_a_kept_evaluation_is_the_same_in_every_bit(tmp_path: Path) -> None:
    variants = Sweep((1.0, None), seeds=2).variants(SETTINGS)
    result = evaluation(variants, lambda *_: 0.1, users=5)
    result.metrics["tail"] = {"fused": {"ndcg@10": {"mean": 0.1 + 0.2, "low": None}}}
    shop = result.shops[0]
    shop.weights["tail"] = {"fused": {"ease": 1.0}}
    shop.parameters["tail"] = {"ease": {"l2": 50.0, "form": "last"}}
    shop.rankings["tail"]["best-local"].scores[0, 0] = -np.inf
    write_evaluation(tmp_path / "kept", result)
    read = read_evaluation(tmp_path / "kept")
    assert read is not None
    assert (read.metrics, read.surfaces) == (result.metrics, result.surfaces)
    for mine, other in zip(result.shops, read.shops, strict=True):
        for name in ("shop_id", "weights", "parameters", "absent"):
            assert getattr(mine, name) == getattr(other, name)
        assert list(mine.rankings) == list(other.rankings)
        for surface, methods in mine.rankings.items():
            assert list(methods) == list(other.rankings[surface])
            for method, ranking in methods.items():
                assert_same(ranking, other.rankings[surface][method])


def assert_same(mine: Ranking, other: Ranking) -> None:
    for name, value in vars(mine).items():
        read = getattr(other, name)
        assert type(read) is type(value)
        assert np.array_equal(read, value)
        assert np.asarray(read).dtype == np.asarray(value).dtype


def test_an_evaluation_that_was_not_kept_to_its_end_is_none(tmp_path: Path) -> None:
    assert read_evaluation(tmp_path / "kept") is None
    write_evaluation(tmp_path / "kept", evaluation((), lambda *_: 0.0, users=3))
    (tmp_path / "kept" / PLAIN).unlink()
    assert read_evaluation(tmp_path / "kept") is None
