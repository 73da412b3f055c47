"""All trainings of a simulation.

One by one, or side by side in processes that end with this one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from server.federation.federated_run import RoundInfo
from shared.errors import FedprofileError, RunError
from shared.settings.run_settings import RunSettings
from simulation.evaluation.evaluate import one_blas_thread
from simulation.reporting.terminal import Progress
from simulation.runs.preparation import PortablePreparation, Prepared
from simulation.runs.training import Trained, train_global

OnRound = Callable[[RoundInfo], None]


@dataclass(frozen=True)
class TrainingJob:
    """One model to be trained.

    Attributes:
        name: Its name in messages.
        settings: Epsilon, noise and seed included.
        checkpoints: Folder with a file a round; the last one holds the trained model.
        ledgers: Folder of the shops' ledgers.
        releases: Folder whose `releases/` gets what the shops send; None keeps none.
        held_out: Number of the shop that takes no part; None for a federation of all.
    """

    name: str
    settings: RunSettings
    checkpoints: Path
    ledgers: Path
    releases: Path | None = None
    held_out: int | None = None

    def run(self, prepared: Prepared, *, workers: int, on_round: OnRound) -> Trained:
        """Trains from the newest checkpoint on; a finished model is only read.

        Linear algebra has one thread, so that neither `workers` nor the number of processes nor
        that of cores changes a result.

        Raises:
            FedprofileError: As `train_global` raises it.
        """
        with one_blas_thread():
            return train_global(
                prepared if self.held_out is None else prepared.without(self.held_out),
                self.settings,
                checkpoints=self.checkpoints,
                ledgers=self.ledgers,
                releases=self.releases,
                workers=workers,
                on_round=on_round,
            )


def train_in_processes(
    prepared: Prepared,
    jobs: Sequence[TrainingJob],
    *,
    processes: int,
    workers: int,
    on_round: OnRound,
) -> None:
    """Trains every job to its last checkpoint.

    Args:
        prepared: Data and model; the processes read its files.
        jobs: What to train, in the order in which they are begun.
        processes: Jobs at once.
        workers: Shops at once, over all processes.
        on_round: Called in this process after each round of any job.

    Raises:
        FedprofileError: That of the first job that failed. The others are ended; what they have
            finished stays in their checkpoints.
    """
    place, share = PortablePreparation.of(prepared), max(1, workers // processes)
    context, waiting = _context(), deque(jobs)
    with _ended_together() as running:
        while waiting or running:
            while waiting and len(running) < processes:
                channel, process = _start(context, place, waiting.popleft(), workers=share)
                running[channel] = process
            ready = wait(list(running))
            for channel in [c for c in running if c in ready]:
                if not _receive(channel, running[channel], on_round):
                    running.pop(channel).join()
                    channel.close()


def _start(
    context: BaseContext, place: PortablePreparation, job: TrainingJob, *, workers: int
) -> tuple[Connection, BaseProcess]:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(  # type: ignore[attr-defined]
        target=_work, args=(theirs, place, job, workers), name=job.name, daemon=True
    )
    process.start()
    theirs.close()
    return ours, process


def _work(channel: Connection, place: PortablePreparation, job: TrainingJob, workers: int) -> None:
    """Trains in a process of its own and says so round by round."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        job.run(place.open(), workers=workers, on_round=channel.send)
    except FedprofileError as error:
        channel.send(error)
    channel.close()


def _end_with_parent() -> None:
    """Ends this process at once when its parent is gone: nobody else may write its ledgers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _receive(channel: Connection, process: BaseProcess, on_round: OnRound) -> bool:
    """Takes one message; returns whether more may come.

    Raises:
        FedprofileError: The job's own, or the process ended without a word.
    """
    try:
        message = channel.recv()
    except EOFError:
        process.join()
        if process.exitcode:
            raise RunError(
                f"its process ended with exit code {process.exitcode}",
                name="variant",
                value=process.name,
                remedy="free memory or lower --jobs, then continue with --resume",
            ) from None
        return False
    if isinstance(message, FedprofileError):
        raise message
    on_round(message)
    return True


@contextmanager
def _ended_together() -> Iterator[dict[Connection, BaseProcess]]:
    """Ends every process that is left when the block ends, by an error or Ctrl-C as well."""
    running: dict[Connection, BaseProcess] = {}
    try:
        yield running
    finally:
        for process in running.values():
            process.kill()
        for process in running.values():
            process.join()


def _context() -> BaseContext:
    """Processes are forked from one that has imported everything and done nothing else."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def train_variants(
    prepared: Prepared,
    jobs: Mapping[str, TrainingJob],
    *,
    control: str,
    processes: int,
    workers: int,
    progress: Progress,
) -> dict[str, Trained]:
    """Trains each job, from its newest checkpoint where there is one.

    Args:
        prepared: Data and model.
        jobs: Name -> what to train.
        control: Name of the job that is the control.
        processes: Jobs at once; changes no result.
        workers: Shops at once, over all processes.
        progress: Bars and clock.

    Returns:
        Name -> trained model, in the order of `jobs`.

    Raises:
        FedprofileError: A job failed; those that ended are found again by a resumption.
    """
    processes = min(processes, len(jobs))
    if processes > 1:
        total = sum(job.settings.training.rounds for job in jobs.values())
        label = f"Training {len(jobs)} models, {processes} at once"
        with progress.phase("train", label=label, total=total) as phase:
            train_in_processes(
                prepared,
                list(jobs.values()),
                processes=processes,
                workers=workers,
                on_round=lambda info: phase.advance(1 if info.round else 0),
            )
    named = len(jobs) > 2  # a single run has at most its control beside it
    return {
        name: _trained(
            job,
            prepared,
            is_control=name == control,
            shown=f" ({name})" if named and name != control else "",
            workers=workers,
            progress=progress,
        )
        for name, job in jobs.items()
    }


def _trained(
    job: TrainingJob,
    prepared: Prepared,
    *,
    is_control: bool,
    shown: str,
    workers: int,
    progress: Progress,
) -> Trained:
    """Trains what is left of a model; one that another process has finished is only read."""
    label = "Training without privacy" if job.settings.privacy.epsilon is None else "Training"
    rounds = job.settings.training.rounds if job.settings.privacy.adapter_share > 0 else None
    name = "control" if is_control else "train"
    with progress.phase(name, label=label + shown, total=rounds) as phase:

        def moved(info: RoundInfo) -> None:
            phase.update(info.round)

        return job.run(prepared, workers=workers, on_round=moved)
