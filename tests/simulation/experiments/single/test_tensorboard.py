from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import RunError
from simulation.experiments.single.tensorboard import write_events
from tests import ROOT
from tests.simulation.experiments.single.sample_reports import sample_report

READ = """
import sys, json
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
found = [[v.tag, e.step, v.simple_value, e.wall_time]
         for e in LegacyEventFileLoader(sys.argv[1]).Load() for v in e.summary.value]
print(json.dumps(found))
"""


def test_tensorboard_reads_back_what_was_written(tmp_path: Path) -> None:
    import json

    report = sample_report(shops=2)
    path = write_events(report, tmp_path / "tensorboard")
    out = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
    ).stdout
    found = {(tag, step): (value, at) for tag, step, value, at in json.loads(out)}
    created = report.created.timestamp()
    assert ("train/update_norm/private", 0) not in found
    for r in report.training["private"][2:]:
        value, at = found["train/update_norm/private", r.round]
        assert value == pytest.approx(r.update_norm, rel=1e-6)
        assert at == pytest.approx(created - (8 - r.round) * 0.9, rel=0, abs=1e-3)
    assert found["train/refused/private", 3][0] == 1.0
    tail = report.metrics.surfaces["tail"]["fused"]["hr@10"].mean
    assert found["test/tail/hr@10/fused", 8][0] == pytest.approx(tail, rel=1e-6)
    assert found["privacy/epsilon", 8][0] == 8.0


def test_writing_needs_no_tensorflow_and_no_torch() -> None:
    code = (
        "import sys; from simulation.experiments.single import tensorboard as t; import "
        "tensorboard.summary.writer.record_writer, tensorboard.compat.proto.event_pb2;"
        "print([m for m in ('tensorflow', 'torch', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert out.stdout.strip() == "[]"


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_events(sample_report(shops=1), tmp_path / "tensorboard")
