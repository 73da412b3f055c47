"""`fedprofile simulate --new-shops` from outside: files, refusals, interruption and going on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from shared.errors import ConfigError
from simulation.experiments.new_shops.schema import NewShopsReport
from tests.simulation.commands import run
from tests.simulation.tiny_shops import options, write_tiny_shops


@pytest.fixture(scope="module", autouse=True)
def cache(world: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPROFILE_CACHE", str(world.parent / "cache"))
        yield


def measured(folder: Path) -> dict[str, Any]:
    """All of `new-shops.json` that is no clock."""
    found = json.loads((folder / "new-shops.json").read_text())
    kept = ("sizes", "groups", "title", "advice", "correction", "shops")
    return {key: found[key] for key in kept}


@pytest.mark.slow
def test_a_single_run_measures_its_own_budget_and_the_control(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run(*options(world), "--new-shops", "4,0", "--out", str(out))
    assert result.exit_code == 0, result.output
    report = NewShopsReport.model_validate_json((out / "new-shops.json").read_text())
    assert [(g.epsilon, g.noise) for g in report.groups] == [(8.0, "shop"), (None, None)]
    assert list(report.sizes) == [0, 4]
    for record in report.sizes.values():
        assert record.shops == ("shop0", "shop1", "shop2")
        for surface in record.surfaces.values():
            assert [set(g.methods) for g in surface.groups] == [
                {"global", "pairs", "placebo", "fused"}
            ] * 2
    assert (
        report.sizes[0].surfaces["discover"].methods["best-local"]
        == (report.sizes[0].surfaces["discover"].methods["text"])
    )
    assert report.title in (out / "new-shops.html").read_text()
    assert report.title.split(":")[0] in " ".join(result.output.split())
    assert (out / "report.json").exists()
    assert not (out / "state").exists()
    # Two shops are left where one is held out: too few to share the noise.
    plain = run(*options(world), "--noise", "shop", "--out", str(tmp_path / "plain"), "--quiet")
    assert plain.exit_code == 0
    assert not (tmp_path / "plain" / "new-shops.json").exists()
    metrics = [
        json.loads((f / "report.json").read_text())["metrics"] for f in (out, tmp_path / "plain")
    ]
    assert metrics[0] == metrics[1]


SWEEP = ("--epsilon", "2,none", "--noise", "shop,shared", "--seeds", "2", "--new-shops", "0,5,14")


@pytest.mark.slow
def test_a_sweep_measures_each_group_once_and_processes_change_nothing(
    tmp_path: Path,
) -> None:
    four = write_tiny_shops(tmp_path / "four" / "data", shops=4)
    for jobs in ("1", "2"):
        out = tmp_path / jobs
        result = run(*options(four), *SWEEP, "--jobs", jobs, "--out", str(out), "--quiet")
        assert result.exit_code == 0, result.output
    one, two = measured(tmp_path / "1"), measured(tmp_path / "2")
    assert [(g["epsilon"], g["noise"]) for g in one["groups"]] == [
        (2.0, "shop"),
        (2.0, "shared"),
        (None, None),
    ]
    assert [g["seeds"] for g in one["groups"]] == [[1, 2, 3, 4]] * 3
    assert one == two
    assert (tmp_path / "1" / "sweep.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("reached", ["federations/epsilon-none/000001", "evaluation/0"])
def test_a_run_that_was_killed_goes_on(world: Path, tmp_path: Path, reached: str) -> None:
    words = [*options(world), "--new-shops", "0,5,14", "--jobs", "2"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(*words, "--out", str(whole), "--quiet").exit_code == 0
    command = [sys.executable, "-m", "shared", "simulate", *words, "--out", str(cut)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 600
        while not (cut / "state" / "new-shops" / reached).exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=120)
        psutil.wait_procs(family, timeout=120)
    assert not (cut / "new-shops.json").exists()
    report = (cut / "report.json").read_bytes()
    result = run(*words, "--out", str(cut), "--resume", "--quiet")
    assert result.exit_code == 0, result.output
    assert measured(cut) == measured(whole)
    assert (cut / "report.json").read_bytes() == report  # what was finished is not done again


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["adapter=1", "counts=0.2,pairs=0.6,adapter=0.2"])
def test_shops_that_share_no_item_are_measured_and_named(
    world: Path, tmp_path: Path, budget: str
) -> None:
    out = tmp_path / "run"
    words = ("--shops", "items:3", "--budget", budget, "--new-shops", "0,3")
    result = run(*options(world), *words, "--out", str(out))
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    assert report["data"]["shops_share_items"] is False
    assert "share no item" in (out / "report.html").read_text()
    assert "share no item" in (out / "new-shops.html").read_text()
    assert "share no item" in " ".join(result.output.split())
    assert json.loads((out / "new-shops.json").read_text())["shops_share_items"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--new-shops", "1.5"], "new_shops='1.5' must be a whole number"),
        (["--new-shops", "0,-3"], "new_shops='-3' must be a whole number"),
        (["--new-shops", "0,,3"], "new_shops='' must be a whole number"),
        (["--new-shops", "ten"], "for example 0,15,60,200"),
        (["--new-shops", "5,0,5"], "5 is named twice"),
        (["--new-shops", "0,15"], "new_shops=15 must be at most the users of .* 14"),
        (["--new-shops", "0", "--set", "federation.min_replies=3"], "2 shops remain"),
    ],
)
def test_what_cannot_be_measured_is_refused_and_leaves_nothing(
    world: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    result = run(*options(world), *arguments, "--out", str(tmp_path / "run"))
    with pytest.raises(ConfigError, match=words) as caught:
        raise result.exception or AssertionError(result.output)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
