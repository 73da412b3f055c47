"""Saved releases of a real run: held against the ledgers, and their noise tested."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shared.interactions.events import Events
from shared.privacy.noise import GRID, RandomSource, discrete_gaussian, grid_variance
from shared.releases.item_counts import grid_user_counts
from shared.settings.sources import check_settings
from simulation.audit.checks.release_check import UNSEEN, check_releases
from simulation.audit.checks.residual_tests import (
    Residual,
    noise_p_values,
    repetition_p_values,
    smallest,
    unknown_sum_p_values,
)
from simulation.audit.checks.subject import subject_of_run
from simulation.runs.saved_releases import SavedRelease, read_releases, write_release
from tests.simulation.commands import run
from tests.simulation.tiny_shops import N_ITEMS, options

pytestmark = pytest.mark.usefixtures("cache")


def simulated(world: Path, out: Path, *more: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPROFILE_CACHE", str(world.parent / "cache"))
        result = run(*options(world), "--out", str(out), "--json", "--save-releases", *more)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["files"]["releases"] == "releases/"
    return out


@pytest.fixture(scope="module")
def finished(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(world, tmp_path_factory.mktemp("runs") / "saved", "--noise", "shop")


@pytest.fixture(scope="module")
def secure(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(
        world, tmp_path_factory.mktemp("runs") / "secure", "--secure-aggregation", "real"
    )


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def saved(folder: Path, kind: str) -> SavedRelease:
    return next(r for r in read_releases(folder) if r.asked.kind == kind)


def test_an_honest_run_passes_with_every_release_of_every_shop(finished: Path) -> None:
    finding = check_releases(subject_of_run(finished))
    assert finding.passed, finding.text
    assert finding.figures["saved"] == 3 * (1 + 1 + 3)
    assert finding.text.startswith("15 releases of 3 shops are what their ledgers committed")


def test_a_run_that_saved_nothing_passes_and_says_so(copied: Path) -> None:
    shutil.rmtree(copied / "releases")
    assert check_releases(subject_of_run(copied)).text == "the run saved no releases"


def test_with_the_data_at_hand_what_is_left_is_the_noise_exactly(
    finished: Path, world: Path
) -> None:
    events = pd.read_csv(world / "interactions.csv")
    catalogue = list(pd.read_csv(world / "items.csv").item_id)
    settings = check_settings(json.loads((finished / "report.json").read_text())["settings"])
    for release in (r for r in read_releases(finished) if r.asked.kind == "counts"):
        # The last event of each user is held back for the test.
        mine = events[events.shop_id == release.asked.shop].sort_values(["user_id", "position"])
        mine = mine[mine.groupby("user_id").cumcount(ascending=False) >= 1]
        learned = Events.build(
            user=pd.factorize(mine.user_id)[0],
            item=[catalogue.index(item) for item in mine.item_id],
            time=mine.position,
        )
        residual = release.numbers - grid_user_counts(learned, N_ITEMS)
        variance = int(release.asked.variance)
        source = RandomSource.from_seed(settings.seed, release.asked.shop, "counts", 0)
        np.testing.assert_array_equal(
            residual, discrete_gaussian(source, N_ITEMS, variance=variance)
        )
        tests = noise_p_values(Residual(release.asked.shop, "counts", residual, variance))
        assert smallest(tests)[1] > 1e-3


def remove(folder: Path) -> None:
    saved(folder, "update").path.unlink()


def change_a_number(folder: Path) -> None:
    release = saved(folder, "pairs")
    release.arrays["pairs"][0] += 1
    write_release(folder, release.asked, release.arrays)


def state_more_noise(folder: Path) -> None:
    release = saved(folder, "counts")
    asked = replace(release.asked, variance=str(2 * int(release.asked.variance)))
    write_release(folder, asked, release.arrays)


def state_another_head(folder: Path) -> None:
    release = saved(folder, "pairs")
    write_release(folder, replace(release.asked, inputs="0" * 64), release.arrays)


def cut_short(folder: Path) -> None:
    release = saved(folder, "pairs")
    write_release(folder, release.asked, {"pairs": release.arrays["pairs"][:-1]})


def fractions(folder: Path) -> None:
    release = saved(folder, "counts")
    write_release(folder, release.asked, {"counts": release.arrays["counts"] / GRID})


def stranger(folder: Path) -> None:
    release = saved(folder, "counts")
    write_release(folder, replace(release.asked, shop="nobody"), release.arrays)


def damage(folder: Path) -> None:
    saved(folder, "counts").path.write_bytes(b"PK")


TAMPERED = pytest.mark.parametrize(
    ("tamper", "text"),
    [
        (remove, "shop0: 1 of 5 committed releases are not saved"),
        (change_a_number, "shop0/pairs.npz is not what the ledger committed"),
        (state_more_noise, "shop0/counts.npz states another variance than the ledger"),
        (state_another_head, "shop0/pairs.npz states another inputs than the ledger"),
        (cut_short, "have 2 different lengths"),
        (fractions, "shop0/counts.npz holds numbers that are not int64"),
        (stranger, "nobody has releases and no ledger"),
        (damage, "is no saved release"),
    ],
)


@TAMPERED
def test_what_is_not_as_the_ledger_says_fails(
    copied: Path, tamper: Callable[[Path], None], text: str
) -> None:
    tamper(copied)
    finding = check_releases(subject_of_run(copied))
    assert not finding.passed
    assert text in finding.text + str(finding.figures.get("faults"))


def test_the_releases_of_a_secure_run_are_what_left_and_the_finding_says_what_cannot_be_seen(
    secure: Path,
) -> None:
    releases = read_releases(secure)
    assert {release.asked.kind for release in releases} == {"counts", "pairs", "update"}
    assert all(set(release.arrays) == {"masked"} for release in releases)
    assert {len(r.numbers) for r in releases if r.asked.kind == "counts"} == {6 * N_ITEMS}
    finding = check_releases(subject_of_run(secure))
    assert finding.passed, finding.text
    assert finding.figures["masked"] == finding.figures["saved"] == 3 * (1 + 1 + 3)
    assert finding.text == f"15 releases of 3 shops are what their ledgers committed, {UNSEEN}"
    assert "--secure-aggregation ideal --save-releases" in UNSEEN


def test_an_ideal_sum_keeps_the_numbers_with_the_share_of_the_noise(
    world: Path, tmp_path: Path
) -> None:
    folder = simulated(world, tmp_path / "ideal", "--secure-aggregation", "ideal")
    finding = check_releases(subject_of_run(folder))
    assert finding.passed, finding.text
    assert finding.figures["masked"] == 0
    assert finding.text.endswith("are what their ledgers committed, with noise")
    mechanisms = subject_of_run(folder).mechanisms
    (counts,) = (m for m in mechanisms if m.name == "item-counts")
    assert counts.shared_by == 2
    variance = grid_variance(counts.noise_multiplier, shops=2)
    assert {int(r.asked.variance) for r in read_releases(folder) if r.asked.kind == "counts"} == {
        variance
    }


def change_a_byte(folder: Path) -> None:
    release = saved(folder, "pairs")
    release.arrays["masked"][0] ^= 1
    write_release(folder, release.asked, release.arrays)


def state_another_question(folder: Path) -> None:
    release = saved(folder, "pairs")
    write_release(folder, replace(release.asked, inputs="0" * 64), release.arrays)


def bare_numbers(folder: Path) -> None:
    release = saved(folder, "counts")
    numbers = {"counts": np.arange(release.length, dtype=np.int64)}
    write_release(folder, release.asked, numbers)


def halves_of_numbers(folder: Path) -> None:
    release = saved(folder, "counts")
    write_release(folder, release.asked, {"masked": release.arrays["masked"][:-3]})


def wide_numbers(folder: Path) -> None:
    release = saved(folder, "counts")
    write_release(folder, release.asked, {"masked": release.arrays["masked"].astype(np.int64)})


@pytest.mark.parametrize(
    ("tamper", "text"),
    [
        (remove, "shop0: 1 of 5 committed releases are not saved"),
        (change_a_byte, "shop0/pairs.npz is not what the ledger committed"),
        (state_more_noise, "shop0/counts.npz states another variance than the ledger"),
        (state_another_question, "shop0/pairs.npz states another inputs than the ledger"),
        (bare_numbers, "shop0/counts.npz is not what the ledger committed"),
        (halves_of_numbers, "shop0/counts.npz holds numbers that are not uint8, 6 a number"),
        (wide_numbers, "shop0/counts.npz holds numbers that are not uint8, 6 a number"),
    ],
)
def test_masked_releases_that_are_not_as_the_ledger_says_fail(
    secure: Path, tmp_path: Path, tamper: Callable[[Path], None], text: str
) -> None:
    folder = Path(shutil.copytree(secure, tmp_path / "run"))
    tamper(folder)
    finding = check_releases(subject_of_run(folder))
    assert not finding.passed
    assert text in finding.text + str(finding.figures.get("faults"))


def test_what_was_asked_is_kept_whole(finished: Path) -> None:
    release = saved(finished, "pairs")
    assert set(asdict(release.asked)) >= {"kind", "round", "grid", "variance", "head", "candidates"}
    assert len(release.asked.head) == 64
    assert len(saved(finished, "update").asked.candidates) == 64


VARIANCE = grid_variance(0.775)


def test_without_the_clean_sum_gross_faults_show_and_honest_releases_pass() -> None:
    clean = np.random.default_rng(1).integers(0, 9 * GRID, 4095) * np.arange(4095) // 4095
    noise = discrete_gaussian(RandomSource.from_os(), 4095, variance=VARIANCE)

    def p(numbers: np.ndarray[tuple[int], np.dtype[np.int64]], test: str) -> float:
        return unknown_sum_p_values(Residual("a", "pairs", numbers, VARIANCE))[test]

    honest = unknown_sum_p_values(Residual("a", "pairs", clean + noise, VARIANCE))
    assert smallest(honest)[1] > 1e-6
    assert p(noise * 8 // 10, "size") < 1e-9
    assert p((clean + noise) & ~np.int64(255), "rest by 16") < 1e-9
    assert p(np.resize(noise[:2048], 4095), "repeated numbers") < 1e-9
    quiet = noise.copy()
    quiet[::200] = 0
    assert p(quiet, "share without noise") < 1e-9
    pair = [Residual(name, "pairs", noise, VARIANCE) for name in "ab"]
    assert repetition_p_values(pair)["a repeated in b"] < 1e-9
