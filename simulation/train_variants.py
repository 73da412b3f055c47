"""The training phase of a simulation: every variant and the control, one by one or side by side."""

from __future__ import annotations

from collections.abc import Mapping

from server.federation import RoundInfo
from simulation.preparation import Prepared
from simulation.report.progress import Progress
from simulation.sweep.jobs import TrainingJob, train_in_processes
from simulation.training import Trained


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
