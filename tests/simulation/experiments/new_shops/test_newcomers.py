"""A single run also says what a new shop gains: a few shops are held out of it in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.interactions.events import Catalogue, Dataset, Events, Shop
from shared.settings.run_settings import EvaluationSettings, RunSettings
from simulation.experiments.new_shops.schema import NewShopsReport
from simulation.runs.variants import Variant, newcomers
from tests.simulation.commands import run
from tests.simulation.tiny_shops import options, write_tiny_shops


@pytest.fixture(autouse=True)
def cache(world: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPROFILE_CACHE", str(world.parent / "cache"))
        yield


def dataset(*sizes: int) -> Dataset:
    nothing = Events.build(user=[], item=[], time=[])
    shops = tuple(
        Shop(f"shop-{i}", np.arange(size).astype(str).astype(object), nothing)
        for i, size in enumerate(sizes)
    )
    catalogue = Catalogue(np.array(["a"], dtype=object), ["a"])
    return Dataset("sizes", catalogue, shops, {}, "order", np.ones(1, np.bool_))


PRIVATE = (Variant(8.0, "shared", 1, ""),)


def test_small_middling_and_large_shops_are_held_out() -> None:
    shops = dataset(90, 10, 80, 20, 70, 30, 60, 40, 50)
    held_out = newcomers(RunSettings(), shops, PRIVATE)
    assert [shops.shops[number].n_users for number in held_out] == [80, 20, 50]


@pytest.mark.parametrize(
    ("settings", "variants", "shops"),
    [
        (RunSettings(), PRIVATE, 7),
        (RunSettings(), (Variant(None, None, 1, ""),), 9),
        (RunSettings(), PRIVATE * 2, 9),
        (RunSettings(evaluation=EvaluationSettings(newcomers=0)), PRIVATE, 9),
        (RunSettings(evaluation=EvaluationSettings(new_shops=(0, 15))), PRIVATE, 9),
    ],
)
def test_none_is_where_nobody_would_look(
    settings: RunSettings, variants: tuple[Variant, ...], shops: int
) -> None:
    assert newcomers(settings, dataset(*range(20, 20 + shops)), variants) == []


@pytest.mark.slow
def test_a_single_run_answers_for_a_new_shop_too(world: Path, tmp_path: Path) -> None:
    data = write_tiny_shops(world.parent / "eight", shops=8, users=8)
    out = tmp_path / "run"
    result = run(*options(data), "--epsilon", "2", "--out", str(out), "--quiet")
    assert result.exit_code == 0, result.output
    report = NewShopsReport.model_validate_json((out / "new-shops.json").read_text())
    assert list(report.sizes) == [0]
    assert len(report.sizes[0].shops) == 3
    assert [group.epsilon for group in report.groups] == [2.0]
    verdict = result.output.replace("\n", " ")
    assert report.title[:60] in verdict
    assert "3 shops held out in turn" in verdict
    page = (out / "new-shops.html").read_text()
    assert "3 of 8 shops, each held out in turn" in page
    assert "Each of 3 shops was held out" in page
