"""Federations without one shop: what their models depend on, and what is not trained twice."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shared.settings.sources import assignments, load_settings
from simulation.evaluation.evaluate import evaluate, ranking_table
from simulation.experiments.new_shops.federations import (
    HeldOutFederation,
    list_federations,
    train_federations,
)
from simulation.experiments.new_shops.measurement import measure_sizes
from simulation.reporting.terminal import Progress
from simulation.runs.preparation import PortablePreparation, Prepared, prepare
from simulation.runs.training import Trained, train_global
from simulation.runs.variants import SeedGroup
from tests.simulation.tiny_shops import options

pytestmark = pytest.mark.usefixtures("cache")

QUIET = Progress(quiet=True)
GROUPS = (SeedGroup(2.0, "shop", ((1, "a"), (2, "b"))), SeedGroup(None, None, ((1, "control"),)))


def prepared_from(data: Path, folder: Path, **changes: object) -> Prepared:
    words = options(data)
    sets = assignments([w for o, w in pairwise(words) if o == "--set"])
    given = {"data.source": str(data), "data.shop_column": "shop_id", "training.rounds": 2}
    given |= {"data.split": "leave-last-out", "model.encoder": str(data.parent / "encoder")}
    given |= {"evaluation.new_shops": (0, 5)}
    settings = load_settings(file=None, environment={}, options={**given, **sets, **changes})
    return prepare(settings, folder=folder, progress=QUIET)


@pytest.fixture
def prepared(world: Path, tmp_path: Path) -> Prepared:
    return prepared_from(world, tmp_path / "prepared")


def variant_of(world: Path, name: str, *, drop: bool) -> Path:
    """The same data with other purchases in shop1, or without that shop."""
    folder = world.parent / name / "data"
    folder.mkdir(parents=True, exist_ok=True)
    rows = pd.read_csv(world / "interactions.csv")
    theirs = rows.shop_id == "shop1"
    rows.loc[theirs, "item_id"] = rows.loc[theirs, "item_id"].to_numpy()[::-1]
    (rows[~theirs] if drop else rows).to_csv(folder / "interactions.csv", index=False)
    (folder / "items.csv").write_bytes((world / "items.csv").read_bytes())
    if not (folder.parent / "encoder").exists():
        (folder.parent / "encoder").symlink_to(world.parent / "encoder")
    return folder


def trained(prepared: Prepared, folder: Path) -> dict[tuple[str, int], Trained]:
    folds = list_federations(prepared, GROUPS, state=folder)
    return {
        (f.model, f.held_out): f.job.run(prepared, workers=1, on_round=lambda _: None)
        for f in folds
    }


def same(mine: Trained, other: Trained) -> bool:
    assert mine.result.counts is not None
    assert other.result.counts is not None
    assert mine.result.pairs is not None
    adapters = [
        array.tobytes() == other.result.adapter[name].tobytes()
        for name, array in mine.result.adapter.items()
    ]
    return (
        all(adapters)
        and mine.result.counts.tobytes() == other.result.counts.tobytes()
        and np.array_equal(mine.result.head, other.result.head)  # type: ignore[arg-type]
        and np.array_equal(mine.result.pairs, other.result.pairs)  # type: ignore[arg-type]
    )


def test_a_model_does_not_depend_on_the_shop_that_is_held_out(
    prepared: Prepared, world: Path, tmp_path: Path
) -> None:
    changed = prepared_from(variant_of(world, "changed", drop=False), tmp_path / "changed")
    before, after = trained(prepared, tmp_path / "one"), trained(changed, tmp_path / "two")
    assert set(before) == {(m, i) for m in ("epsilon-2-shop", "epsilon-none") for i in range(3)}
    for (model, held_out), one in before.items():
        assert same(one, after[model, held_out]) == (held_out == 1)


def test_a_fold_is_the_federation_of_the_other_shops(
    prepared: Prepared, world: Path, tmp_path: Path
) -> None:
    rest = prepared_from(variant_of(world, "rest", drop=True), tmp_path / "rest")
    assert rest.n_shops == 2
    for fold in list_federations(prepared, GROUPS, state=tmp_path / "folds"):
        if fold.held_out == 1:
            assert fold.job.settings.seed == prepared.settings.seed + 1
            mine = fold.job.run(prepared, workers=1, on_round=lambda _: None)
            other = train_global(
                rest,
                fold.job.settings,
                checkpoints=tmp_path / fold.model,
                workers=1,
                on_round=lambda _: None,
            )
            assert same(mine, other)
            assert mine.plan.noise_shops == 1


def test_ledgers_are_those_of_the_other_shops(prepared: Prepared, tmp_path: Path) -> None:
    trained(prepared, tmp_path)
    ledgers = tmp_path / "epsilon-2-shop" / "000001" / "ledgers"
    assert {path.stem for path in ledgers.glob("*.jsonl")} == {"shop0", "shop2"}
    assert not (tmp_path / "epsilon-none" / "000001" / "ledgers").exists()


def test_a_place_sent_to_a_process_leaves_the_same_shop_out(prepared: Prepared) -> None:
    ids = [
        shop.shop_id for shop in PortablePreparation.of(prepared).open().without(0).dataset.shops
    ]
    assert ids == ["shop1", "shop2"]
    source = prepared.without(1).source
    assert [source.open({"partition-id": i}).shop_id for i in (0, 1)] == ["shop0", "shop2"]


def checkpoints(folds: list[HeldOutFederation]) -> dict[Path, int]:
    files = [path for fold in folds for path in fold.job.checkpoints.iterdir()]
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
def test_nothing_is_trained_or_measured_twice(prepared: Prepared, tmp_path: Path) -> None:
    folds = list_federations(prepared, GROUPS, state=tmp_path / "folds")
    models = train_federations(prepared, folds, processes=1, workers=1, progress=QUIET)
    assert [set(found) for found in models] == [{"epsilon-2-shop", "epsilon-none"}] * 3
    written = checkpoints(folds)
    train_federations(prepared, folds, processes=1, workers=1, progress=QUIET)
    assert checkpoints(folds) == written
    kept = tmp_path / "kept"
    first = measure_sizes(prepared, models, workers=1, folder=kept, progress=QUIET)
    # Without models nothing could be measured again.
    again = measure_sizes(prepared, [], workers=1, folder=kept, progress=QUIET)
    assert list(first) == list(again) == [0, 5]
    for size, result in first.items():
        for mine, other in zip(result.shops, again[size].shops, strict=True):
            for surface, methods in mine.rankings.items():
                for method, ranking in methods.items():
                    read = other.rankings[surface][method].values
                    assert np.array_equal(ranking.values, read)
    at_none = first[0].shops[0].rankings["discover"]
    assert np.array_equal(at_none["best-local"].values, at_none["text"].values)


def test_shops_that_share_no_item_rank_their_own_catalogue_alone(
    world: Path, tmp_path: Path
) -> None:
    changes = {"data.shops": "items:3", "data.shop_column": None}
    prepared = prepared_from(world, tmp_path / "apart", **changes)
    assert any("share no item" in note for note in prepared.notes)
    result = evaluate(
        prepared.dataset, prepared.windows, prepared.item_vectors, {}, bootstrap=100, seed=1
    )
    table = ranking_table(result, prepared.dataset)
    for shop in prepared.dataset.shops:
        assert shop.sells is not None
        mine = table[(table.shop_id == shop.shop_id) & (table.surface == "for-you")]
        own = set(prepared.dataset.catalogue.item_ids[shop.sells])
        assert set(mine.item_id) <= own
        # Leave-last-out asks for any item of the catalogue, also for one that nobody had before.
        assert set(mine[mine.method == "text"].item_id) == own
