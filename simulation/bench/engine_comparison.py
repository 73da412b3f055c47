"""One round of the same adapter training in our engine, in Flower on Ray and in `pfl` 0.6.

`python -m simulation.bench.engine_comparison in-process FOLDER` is two such rounds, of which the
second counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np

from client.training.examples import draw_examples
from client.training.losses import context_vectors
from server.federation.federated_run import RoundInfo
from server.federation.public_plan import CandidateSource
from shared.settings.run_settings import PrivacySettings, RunSettings, TrainingSettings
from simulation.bench import pfl_environment
from simulation.reporting.benchmark_page import BenchmarkFigure
from simulation.reporting.terminal import Progress
from simulation.runs.preparation import Prepared, prepare
from simulation.runs.training import Trained, initial_adapter, train_global

Engine = Literal["in-process", "ray"]
TASK = "task.npz"
"""What pfl trains on: the contexts, targets and candidates of all shops' users."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
ROUND_BOUND, RAY_BOUND, PFL_BOUND = 10.0, 20.0, 20.0
"""Seconds; and times the round in our engine."""


def engine_figures() -> list[BenchmarkFigure]:
    """Trains the adapter of the default shops for two rounds, on one core, in three engines."""
    with tempfile.TemporaryDirectory() as folder:
        ours, ray = (_in_a_process(engine, Path(folder)) for engine in ("in-process", "ray"))
        pfl = pfl_environment.measure(Path(folder), task=Path(folder) / TASK)
    what = (
        f"{ours['users']:.0f} users of {ours['shops']:.0f} shops, one DP step, one core, second "
        "of two rounds"
    )
    figures = [
        BenchmarkFigure("adapter round, our engine", ours["round"], ROUND_BOUND, "s", what),
        beside("Flower on Ray", ray, ours, bound=RAY_BOUND, note=""),
    ]
    if isinstance(pfl, str):
        figures.append(BenchmarkFigure("adapter round, pfl", float("nan"), PFL_BOUND, "times", pfl))
    else:
        note = "a user is one pfl user, so that each is clipped; "
        figures.append(beside("pfl", pfl, ours, bound=PFL_BOUND, note=note))
    return figures


def beside(
    name: str, measured: dict[str, float], ours: dict[str, float], *, bound: float, note: str
) -> BenchmarkFigure:
    """Returns the ratio of the seconds of two rounds, with start-up in the note.

    Args:
        name: Of the other engine.
        measured: Its seconds, `round` and `whole`.
        ours: The same of our engine.
        bound: Of the ratio.
        note: Begins the note.
    """
    note += (
        f"{measured['round']:.2f} s against {ours['round']:.2f} s; with start-up "
        f"{measured['whole']:.1f} s against {ours['whole']:.1f} s"
    )
    ratio = measured["round"] / ours["round"]
    return BenchmarkFigure(f"adapter round, {name} over ours", ratio, bound, "times", note)


def _in_a_process(engine: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "simulation.bench.engine_comparison", engine, str(folder)]
    ended = subprocess.run(  # noqa: S603  # our own module
        command, stdout=subprocess.PIPE, check=True, env={**os.environ, **_ONE_THREAD}
    )
    measured: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return measured


def measure(engine: Engine, folder: Path) -> dict[str, float]:
    """Trains two rounds and measures the second, without reading and encoding.

    In the first Ray's processes import what they need: that is start-up, in `whole`.

    Args:
        engine: Where shops run.
        folder: Gets the round's data for pfl.
    """
    settings = RunSettings(
        engine=engine,
        privacy=PrivacySettings(noise="shop", counts_share=0.0, pairs_share=0.0, adapter_share=1.0),
        training=TrainingSettings(rounds=2),
    )
    rounds: list[RoundInfo] = []
    prepared = prepare(settings, folder=folder / f"{engine}-data", progress=Progress(quiet=True))
    started = time.perf_counter()
    trained = train_global(
        prepared,
        prepared.settings,
        checkpoints=folder / f"{engine}-checkpoints",
        workers=1,
        on_round=rounds.append,
    )
    whole = time.perf_counter() - started
    if engine == "in-process":
        np.savez(folder / TASK, **_task(prepared, trained))
    users = sum(shop.n_users for shop in prepared.dataset.shops)
    return {
        "round": rounds[-1].seconds,
        "whole": whole,
        "users": users,
        "shops": prepared.n_shops,
    }


def _task(prepared: Prepared, trained: Trained) -> dict[str, Any]:
    """Draws the round's examples of all users and its candidates."""
    plan, vectors = trained.plan, prepared.item_vectors
    histories, targets = [], []
    for number in range(prepared.n_shops):
        node = prepared.source.open({"partition-id": number})
        examples = draw_examples(
            node.events,
            node.n_users,
            n_pairs=plan.examples_per_user,
            max_context=plan.max_context,
            max_targets=plan.max_targets,
            half_life=plan.half_life,
            rng=np.random.default_rng(number),
        )
        histories.append(context_vectors(examples, vectors))
        targets.append(examples.target)
    candidates = CandidateSource(plan, lambda: vectors, n_items=len(vectors))(1, None, 0)
    adapter = initial_adapter(prepared, trained.settings)
    (name,) = (name for name in adapter if "lora_A" in name)
    return {
        "history": np.concatenate(histories),
        "target": np.concatenate(targets),
        "vectors": np.asarray(vectors),
        "candidates": vectors[candidates],
        "a": adapter[name],
        "scale": plan.scale,
        "clip": plan.max_grad_norm,
        "noise": plan.noise_multiplier,
    }


if __name__ == "__main__":
    chosen: Engine = "ray" if sys.argv[1] == "ray" else "in-process"
    sys.stdout.write(json.dumps(measure(chosen, Path(sys.argv[2]))) + "\n")
