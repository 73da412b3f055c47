"""Training curves and final metrics as TensorBoard events, without TensorFlow.

The events are written with TensorBoard's own record writer: its `SummaryWriter`-like classes would
import TensorFlow where it happens to be installed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.runtime.file_store import write_atomic
from simulation.experiments.single.schema import Report

Scalar = tuple[str, int, float, float]
"""Tag, step, value, wall time (seconds since 1970)."""


def write_events(report: Report | Mapping[str, Any], folder: Path) -> Path:
    """Writes one event file: `train/...` by round, `test/...` at the last round.

    Args:
        report: A report, or the object that `report.json` holds.
        folder: Where `tensorboard --logdir` will look; made if absent.

    Returns:
        The event file.

    Raises:
        RunError: The file cannot be written.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    checked = Report.model_validate(report)
    created = checked.created.timestamp()
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    writer.write(Event(wall_time=created, file_version="brain.Event:2").SerializeToString())
    for tag, step, value, wall_time in _scalars(checked, created):
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        event = Event(wall_time=wall_time, step=step, summary=summary)
        writer.write(event.SerializeToString())
    path = folder / f"events.out.tfevents.{int(created)}.fedprofile"
    write_atomic(path, buffer.getvalue(), durable=False, private=False)
    return path


def _scalars(report: Report, created: float) -> Iterator[Scalar]:
    last = 0
    for label, rounds in report.training.items():
        clock = created - sum(r.seconds for r in rounds)
        for r in rounds:
            clock += r.seconds
            if r.round == 0:  # counts and pairs: other things with other norms
                continue
            yield f"train/update_norm/{label}", r.round, r.update_norm, clock
            yield f"train/replies/{label}", r.round, float(r.replies), clock
            yield f"train/refused/{label}", r.round, float(len(r.refused)), clock
            yield f"train/seconds/{label}", r.round, r.seconds, clock
            last = max(last, r.round)
    for surface, methods in report.metrics.surfaces.items():
        for method, metrics in methods.items():
            for metric, value in metrics.items():
                yield f"test/{surface}/{metric}/{method}", last, value.mean, created
    paid = [p.epsilon for p in report.privacy.values() if p.epsilon is not None]
    if paid:
        yield "privacy/epsilon", last, max(paid), created
