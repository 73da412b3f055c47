"""What is saved is what left the ClientApp, on both engines, and the audit reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from client.federation.outgoing_releases import AccountedSource
from shared.errors import DataError, FedprofileError
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.reporting.status import read_ledger
from shared.privacy.noise import GRID, grid_variance
from simulation.runs.saved_releases import SaveReleases, read_releases
from simulation.runs.training import run_federation
from tests.simulation.runs.least_squares_shops import (
    LeastSquaresSource,
    make_federation,
    make_plan,
    write_shops,
)

SHOPS = 3
PLAN = make_plan(
    rounds=3, local_steps=1, noise_multiplier=4.0, counts_release=True, counts_noise_multiplier=6.0
)


def run(folder: Path, engine: str) -> None:
    (folder / "shops").mkdir()
    source = AccountedSource(
        write_shops(folder / "shops", num_shops=SHOPS),
        folder / "ledgers",
        LifetimeLimits(epsilon=40.0, delta=1e-5),
        repeatable=True,
        planning="planned",
    )
    run_federation(
        engine,  # type: ignore[arg-type]
        make_federation(plan=PLAN),
        source,
        num_shops=SHOPS,
        workers=2,
        mods=[SaveReleases(folder)],
    )


@pytest.mark.parametrize("engine", ["in-process", pytest.param("ray", marks=pytest.mark.slow)])
def test_every_release_is_saved_as_the_ledger_committed_it(tmp_path: Path, engine: str) -> None:
    run(tmp_path, engine)
    saved = read_releases(tmp_path)
    names = {"counts.npz", *(f"round-{i + 1:04d}.npz" for i in range(PLAN.rounds))}
    assert len(saved) == SHOPS * len(names)
    for shop in {release.asked.shop for release in saved}:
        mine = [release for release in saved if release.asked.shop == shop]
        assert {release.path.name for release in mine} == names
        chain, _ = read_ledger(tmp_path / "ledgers" / f"{shop}.jsonl")
        lines = {chain.bodies[line].round: chain.bodies[line] for line in chain.commits}
        for release in mine:
            assert all(array.dtype == np.int64 for array in release.arrays.values())
            assert release.asked.inputs == lines[release.asked.round].inputs
            assert release.asked.grid == GRID
            noise = 6.0 if release.asked.kind == "counts" else 4.0
            assert int(release.asked.variance) == grid_variance(noise)


def test_a_file_is_read_without_this_software(tmp_path: Path) -> None:
    run(tmp_path, "in-process")
    path = next(tmp_path.glob("releases/*/counts.npz"))
    with np.load(path, allow_pickle=False) as file:
        assert set(file.files) == {"counts", "grid", "asked"}
        assert file["grid"] == 2**20
        asked = json.loads(str(file["asked"]))
    assert (asked["kind"], asked["round"]) == ("counts", 0)
    assert len(asked["inputs"]) == len(asked["plan"]) == 64


def test_refusals_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(FedprofileError):
        run_federation(
            "in-process",
            make_federation(plan=PLAN),
            LeastSquaresSource(tmp_path / "nothing"),
            num_shops=SHOPS,
            mods=[SaveReleases(tmp_path)],
        )
    assert read_releases(tmp_path) == ()


def test_what_is_no_saved_release_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "releases" / "north"
    folder.mkdir(parents=True)
    (folder / "counts.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="is no saved release"):
        read_releases(tmp_path)
    np.savez(folder / "counts.npz", counts=np.arange(3))
    with pytest.raises(DataError, match="is no saved release"):
        read_releases(tmp_path)
