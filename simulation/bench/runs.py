"""Whole runs in processes of their own, timed from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from simulation.bench.figures import Figure


def default_simulation() -> list[Figure]:
    """Runs the default simulation twice: with an empty encoding cache, then with a warm one."""
    with tempfile.TemporaryDirectory() as folder:
        cold, report = _simulate(Path(folder), "cold")
        warm, again = _simulate(Path(folder), "warm")
    peak = max(report["peak_rss_mb"], again["peak_rss_mb"])
    phases = ", ".join(f"{name} {s:.0f} s" for name, s in report["seconds"].items())
    later = ", ".join(f"{name} {s:.0f} s" for name, s in again["seconds"].items())
    return [
        Figure("Default simulation, first time", cold, 180, "s", f"wall time; {phases}"),
        Figure("Default simulation, warm cache", warm, 60, "s", f"wall time; {later}"),
        Figure("Default simulation, memory", peak / 1000, 3, "GB", "largest resident size"),
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


def many_shops(number: int = 1000) -> list[Figure]:
    """Runs one federated round of many virtual shops on Flower's Ray engine."""
    ended = subprocess.run(  # noqa: S603  # our own module
        [sys.executable, "-m", "simulation.bench.many_shops", str(number)],
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(ended.stdout.splitlines()[-1])
    name = f"{number:,} virtual shops, one round, Ray"
    note = f"{found['replies']} good replies; item counts and one training round, start-up included"
    return [
        Figure(name, found["seconds"], 300, "s", note),
        Figure(f"{name}, memory", found["peak_mb"] / 1000, 4, "GB", "all processes, shared once"),
    ]
