"""One round of many virtual shops on the Ray engine: `python -m simulation.bench.many_shops 1000`.

Prints one JSON object with seconds, memory and good replies.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from server.federation import RoundInfo
from shared.config import DataSettings, RunSettings, TrainingSettings
from simulation.peak_memory import PeakMemory
from simulation.preparation import prepare
from simulation.report.progress import Progress
from simulation.training import train_global


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
