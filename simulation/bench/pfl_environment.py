"""An environment of its own for `pfl`, which pins another `dp-accounting` than the project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("pfl==0.6.0", f"torch=={version('torch').partition('+')[0]}")
SECONDS = 900
"""That installing, and one round, may take."""


def measure(folder: Path, *, task: Path) -> dict[str, float] | str:
    """Installs pfl and trains one round of a task in it.

    Args:
        folder: Gets the environment.
        task: From `simulation.bench.engine_comparison`.

    Returns:
        Seconds of the round, and of the whole process; or why nothing could be measured.
    """
    python = folder / "pfl" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES]
    script = Path(__file__).with_name("pfl_round.py")
    try:
        _run([sys.executable, "-m", "venv", str(folder / "pfl")])
        _run(install)
        started = time.perf_counter()
        printed = _run([str(python), str(script), str(task)])
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        return f"not measured: {' '.join(PACKAGES)} could not be installed or run: {last[:200]}"
    except subprocess.TimeoutExpired:
        return f"not measured: {' '.join(PACKAGES)} took longer than {SECONDS} s"
    whole = time.perf_counter() - started
    return {"round": float(json.loads(printed.splitlines()[-1])["seconds"]), "whole": whole}


def _run(command: list[str]) -> str:
    ended = subprocess.run(  # noqa: S603  # the interpreter and our own script
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )
    return ended.stdout
