"""Curves over the number of users: nested users, page and figures, mistakes in the list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import ConfigError, RunExistsError
from shared.interactions.datasets.load import load_dataset
from shared.settings.run_settings import DataSettings
from simulation.experiments.users_curve.schema import UsersCurve
from simulation.runs.variants import CurveSize, parse_users_curve
from tests.simulation.commands import run
from tests.simulation.tiny_shops import options


@pytest.fixture(scope="module", autouse=True)
def cache(world: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPROFILE_CACHE", str(world.parent / "cache"))
        yield


def test_a_list_names_users_and_shops() -> None:
    sizes = parse_users_curve("2000, 22000x32")
    assert sizes == (CurveSize(2000, None), CurveSize(22000, 32))
    assert [size.name for size in sizes] == ["users-2000", "users-22000-shops-32"]


@pytest.mark.parametrize("text", ["", "0", "2000x", "2000x3x4", "many", "-5", "20,20"])
def test_a_mistake_in_the_list_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="users_curve="):
        parse_users_curve(text)


@pytest.mark.parametrize("shops", ["r19", "virtual:4"])
def test_the_users_of_a_smaller_size_are_among_those_of_a_larger_one(
    world: Path, shops: str
) -> None:
    column = "shop_id" if shops == "r19" else None
    found = []
    for most in (12, 30, None):
        data = DataSettings(
            source=str(world),
            shops=shops,
            shop_column=column,
            split="leave-last-out",
            min_user_items=1,
            max_users=most,
        )
        dataset = load_dataset(data, seed=3)
        sizes = [shop.n_users for shop in dataset.shops]
        assert max(sizes) - min(sizes) <= 1
        assert most is None or sum(sizes) == most
        found.append({user for shop in dataset.shops for user in shop.user_ids})
    assert found[0] < found[1] < found[2]


@pytest.mark.slow
def test_a_curve_has_a_sweep_a_size_and_one_page(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "curve"
    command = [*options(world), "--epsilon", "2", "--noise", "shop,shared", "--out", str(out)]
    result = run(*command, "--users-curve", "42,21", "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout == (out / "users-curve.json").read_text()
    curve = UsersCurve.model_validate_json(result.stdout)
    assert [(point.users, point.shops) for point in curve.points] == [(21, 3), (42, 3)]
    for point in curve.points:
        report = json.loads((out / point.folder / "sweep.json").read_text())
        for name, surface in point.surfaces.items():
            same = report["surfaces"][name]
            assert surface.best_local == same["best_local"]["mean"]
            gains = [(g.epsilon, g.noise, g.gain.mean) for g in surface.gains]
            assert gains == [
                (c["epsilon"], c["noise"], c["gain"]["mean"]) for c in same["comparisons"]
            ]
    page = (out / "users-curve.html").read_text()
    assert page.count("<svg") >= len(curve.points[0].surfaces)
    again = run(*command, "--users-curve", "42,21", "--resume", "--quiet")
    assert again.exit_code == 0, again.output
    assert "Over placebo" not in again.output
    assert "over placebo" in again.output
    refused = run(*command, "--users-curve", "42,21")
    assert isinstance(refused.exception, RunExistsError)
