"""Whole runs in processes of their own, timed from outside.

`python -m simulation.bench.simulation_runs 1000` is one round of so many virtual shops on Ray.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from server.federation.federated_run import RoundInfo
from shared.settings.run_settings import DataSettings, RunSettings, TrainingSettings
from simulation.reporting.benchmark_page import BenchmarkFigure
from simulation.reporting.terminal import PeakMemory, Progress
from simulation.runs.preparation import prepare
from simulation.runs.training import train_global


def default_simulation() -> list[BenchmarkFigure]:
    """Runs the default simulation twice: with an empty encoding cache, then with a warm one."""
    with tempfile.TemporaryDirectory() as folder:
        cold, report = _simulate(Path(folder), "cold")
        warm, again = _simulate(Path(folder), "warm")
    peak = max(report["peak_rss_mb"], again["peak_rss_mb"])
    phases = ", ".join(f"{name} {s:.0f} s" for name, s in report["seconds"].items())
    later = ", ".join(f"{name} {s:.0f} s" for name, s in again["seconds"].items())
    return [
        BenchmarkFigure("Default simulation, first time", cold, 180, "s", f"wall time; {phases}"),
        BenchmarkFigure("Default simulation, warm cache", warm, 60, "s", f"wall time; {later}"),
        BenchmarkFigure(
            "Default simulation, memory", peak / 1000, 3, "GB", "largest resident size"
        ),
    ]


def _simulate(folder: Path, name: str) -> tuple[float, dict[str, Any]]:
    command = [sys.executable, "-m", "shared", "simulate", "--json", "--out", str(folder / name)]
    environment = {**os.environ, "FEDPROFILE_CACHE": str(folder / "cache")}
    started = time.perf_counter()
    ended = subprocess.run(  # noqa: S603  # our own command
        command, env=environment, stdout=subprocess.PIPE, check=True
    )
    seconds = time.perf_counter() - started
    return seconds, json.loads(ended.stdout)


def many_shops(number: int = 1000) -> list[BenchmarkFigure]:
    """Runs one federated round of many virtual shops on Flower's Ray engine."""
    ended = subprocess.run(  # noqa: S603  # our own module
        [sys.executable, "-m", "simulation.bench.simulation_runs", str(number)],
        stdout=subprocess.PIPE,
        check=True,
    )
    measured = json.loads(ended.stdout.splitlines()[-1])
    name = f"{number:,} virtual shops, one round, Ray"
    note = (
        f"{measured['replies']} good replies; item counts and one training round, start-up included"
    )
    return [
        BenchmarkFigure(name, measured["seconds"], 300, "s", note),
        BenchmarkFigure(
            f"{name}, memory", measured["peak_mb"] / 1000, 4, "GB", "all processes, shared once"
        ),
    ]


def measure(number: int) -> dict[str, float]:
    """Trains one round and measures it without the preparation.

    Args:
        number: Virtual shops.
    """
    settings = RunSettings(
        engine="ray",
        data=DataSettings(shops=f"virtual:{number}"),
        training=TrainingSettings(rounds=1),
    )
    rounds: list[RoundInfo] = []
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(settings, folder=Path(folder) / "data", progress=Progress(quiet=True))
        started = time.perf_counter()
        with PeakMemory() as memory:
            train_global(
                prepared,
                prepared.settings,
                checkpoints=Path(folder) / "checkpoints",
                workers=os.cpu_count() or 1,
                on_round=rounds.append,
            )
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_mb": memory.peak_mb, "replies": rounds[-1].good}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(int(sys.argv[1]))) + "\n")
