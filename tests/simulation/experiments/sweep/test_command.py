"""Sweeps from the outside: kinds of noise, processes, interruption and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors import safe_open

from shared.errors import ConfigError
from simulation.experiments.sweep.schema import SweepReport
from tests.simulation.commands import run
from tests.simulation.tiny_shops import options

SWEEP = ("--epsilon", "2,none", "--noise", "shop,shared", "--seeds", "2")
NAMES = {
    *(f"epsilon-2-{noise}-seed-{seed}" for noise in ("shop", "shared") for seed in (1, 2)),
    *(f"epsilon-none-seed-{seed}" for seed in (1, 2)),
}


@pytest.fixture(scope="module", autouse=True)
def cache(world: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPROFILE_CACHE", str(world.parent / "cache"))
        yield


@pytest.fixture(scope="module")
def serial(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "serial"
    result = run(*options(world), *SWEEP, "--jobs", "1", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout == (out / "sweep.json").read_text()
    return out


def adapter(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def judged(folder: Path) -> dict[str, Any]:
    """All of `sweep.json` that is no clock."""
    found = json.loads((folder / "sweep.json").read_text())
    for variant in found["variants"]:
        del variant["train_seconds"]
    return {k: found[k] for k in ("variants", "surfaces", "recommendations", "title", "settings")}


@pytest.mark.slow
def test_a_sweep_has_a_folder_a_run_and_one_page(serial: Path) -> None:
    assert {p.name for p in serial.iterdir()} == {
        *NAMES,
        *("settings.json", "sweep.html", "sweep.json"),
    }
    sweep = SweepReport.model_validate_json((serial / "sweep.json").read_text())
    groups = [(2.0, "shop"), (2.0, "shared"), (None, None)]
    for surface in sweep.surfaces.values():
        assert [(c.epsilon, c.noise) for c in surface.comparisons] == groups
    assert sweep.correction.comparisons == 3 * len(sweep.surfaces) - 1
    reports = {n: json.loads((serial / n / "report.json").read_text()) for n in NAMES}
    for name, report in reports.items():
        assert report["settings"]["privacy"]["noise"] == ("shared" if "shared" in name else "shop")
    private, free = reports["epsilon-2-shop-seed-1"], reports["epsilon-none-seed-1"]
    control = private["metrics"]["for-you"]["fused-non-private"]
    assert control == free["metrics"]["for-you"]["fused"]


@pytest.mark.slow
def test_processes_change_no_bit_of_the_result(serial: Path, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "serial"
    result = run(*options(world), *SWEEP, "--jobs", "2", "--out", str(out), "--quiet")
    assert result.exit_code == 0, result.output
    for name in NAMES:
        assert adapter(out / name) == adapter(serial / name)
        tables = [(f / name / "users.parquet").read_bytes() for f in (out, serial)]
        assert tables[0] == tables[1]
    assert judged(out) == judged(serial)


def command(world: Path, out: Path, *more: str) -> list[str]:
    words = [*options(world), "--out", str(out), *more]
    return [sys.executable, "-m", "shared", "simulate", *words]


LONG = ("--epsilon", "2,3,none", "--jobs", "2", "--rounds", "60")


def wait_for(found: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rounds(out: Path, name: str) -> list[dict[str, Any]]:
    """What the newest checkpoint of a model says of its rounds."""
    files = sorted((out / "state" / name).glob("round-*.safetensors"))
    if not files:
        return []
    with safe_open(files[-1], framework="numpy") as file:
        state: list[dict[str, Any]] = json.loads(file.metadata()["state"])["rounds"]
    return state


@contextmanager
def started(words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose whole family is gone in the end."""
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        family = psutil.Process(process.pid)
        try:
            yield process
        finally:
            for member in (*family.children(recursive=True), family) if family.is_running() else ():
                member.kill()


def family_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def training(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Processes below the one that forks them."""
    return [c for child in psutil.Process(process.pid).children() for c in child.children()]


@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on_and_trains_nothing_twice(
    world: Path, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole" / "run", tmp_path / "cut" / "run"
    assert subprocess.run(command(world, whole, *LONG), check=False).returncode == 0
    with started(command(world, cut, *LONG)) as process:
        names = ("epsilon-2-seed-1", "epsilon-3-seed-1", "epsilon-none-seed-1")
        wait_for(lambda: any(len(rounds(cut, n)) >= 60 for n in names), process)
        family = family_of(process)
        assert len(family) >= 2
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=120)
        _, alive = psutil.wait_procs(family, timeout=120)
        writing = [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
        assert writing == []  # nobody goes on writing ledgers
    before = {name: rounds(cut, name) for name in names}
    assert any(len(found) >= 60 for found in before.values())
    assert not (cut / "sweep.json").exists()
    again = subprocess.run(
        command(world, cut, *LONG, "--resume"), capture_output=True, check=False, timeout=900
    )
    assert again.returncode == 0, again.stderr
    for name, found in before.items():
        training = json.loads((cut / name / "report.json").read_text())["training"]
        now = training["non-private" if "none" in name else "private"]
        # A round that was trained again would have taken another time.
        assert [r["seconds"] for r in now][: len(found)] == [r["seconds"] for r in found]
        assert adapter(cut / name) == adapter(whole / name)
    assert judged(cut) == judged(whole)
    assert not (cut / "state").exists()


@pytest.mark.slow
def test_a_sweep_killed_while_it_writes_neither_evaluates_nor_writes_again(
    world: Path, tmp_path: Path
) -> None:
    out, words = tmp_path / "run", ("--epsilon", "2,3,none", "--seeds", "2")
    with started(command(world, out, *words)) as process:
        wait_for(lambda: bool(list(out.glob("epsilon-*/report.json"))), process)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=120)
    written = {path: path.read_bytes() for path in out.glob("epsilon-*/report.json")}
    assert 0 < len(written) < 6
    again = subprocess.run(
        command(world, out, *words, "--resume"), capture_output=True, check=False, timeout=900
    )
    assert again.returncode == 0, again.stderr
    reports = set(out.glob("epsilon-*/report.json"))
    assert len(reports) == 6
    for path in reports:
        if path in written:
            assert path.read_bytes() == written[path]
        else:
            assert "evaluate" not in json.loads(path.read_text())["seconds"]
    SweepReport.model_validate_json((out / "sweep.json").read_text())


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_at_once_and_says_how_to_go_on(
    world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with started(command(world, out, *LONG[:-1], "4000")) as process:
        wait_for(lambda: len(list(out.glob("state/*/round-*"))) >= 2, process)
        family = family_of(process)
        began = time.monotonic()
        for member in (process.pid, *(child.pid for child in family)):
            os.kill(member, signal.SIGINT)  # as a terminal does
        output, errors = process.communicate(timeout=300)
        assert time.monotonic() - began < 290  # 4,000 rounds take far longer
        _, alive = psutil.wait_procs(family, timeout=120)
    writing = [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    assert writing == []
    assert (process.returncode, output) == (130, b"")
    assert b"--resume" in errors
    assert b"Traceback" not in errors


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_sweep_with_one_line(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(command(world, out, *LONG[:-1], "4000")) as process:
        wait_for(lambda: len(list(out.glob("state/*/round-*"))) >= 2, process)
        training(process)[0].kill()
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    lines = errors.decode().strip().splitlines()
    assert len(lines) == 1
    assert "exit code -9" in lines[0]
    assert "--resume" in lines[0]
    assert (out / "state").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--noise", "shop,shop"], "more than once"),
        (["--noise", "server"], "must be shop or shared"),
        (["--epsilon", "8,8"], "more than once"),
        (["--engine", "ray", "--jobs", "2"], "jobs=2 must be 1"),
    ],
)
def test_a_sweep_that_makes_no_sense_leaves_nothing(
    world: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    result = run(*options(world), *arguments, "--out", str(tmp_path / "run"))
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)
    assert result.exception.exit_code == 2
    assert not (tmp_path / "run").exists()
