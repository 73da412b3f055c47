from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from simulation.experiments.single.tables import print_report
from simulation.reporting.terminal import Progress
from tests.simulation.experiments.single.sample_reports import sample_report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(report: object, width: int = 200) -> str:
    stream = io.StringIO()
    print_report(report, folder=Path("runs/x"), console=Console(file=stream, width=width))
    return stream.getvalue()


def test_the_terminal_shows_tables_findings_guarantee_time_and_files() -> None:
    text = printed(sample_report())
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "Discover items new to the user, 1,987 users" in lines
    assert "Best local 0.0596 0.0578–0.0614 0.0954 0.0477" in lines
    assert "Federation paid on 2 of 4 surfaces: Discover and Basket, but did harm on Tail." in lines
    assert any(line.startswith("Privacy epsilon 8.00 by exact Gaussian (Balle") for line in lines)
    assert any("70 s (load 3 s, encode 41 s, train 8 s, evaluate 18 s); 1.8 GB" in x for x in lines)
    assert "Files runs/x" in lines
    assert "page: report.html" in lines


def test_a_missing_surface_and_missing_privacy_are_named() -> None:
    found = json.loads(sample_report(epsilon=None, shops=2).to_json())
    del found["metrics"]["basket"], found["comparison"]["basket"]
    found["surfaces"]["basket"] = {"available": False, "reason": "no [sessions] here"}
    text = printed(found)
    assert "Basket: not measured (no [sessions] here)" in text
    assert "no privacy: this run is for comparison only" in text
    assert "A run that a seed repeats" not in text


@pytest.mark.parametrize("width", [70, 80])
def test_tables_keep_their_columns_on_a_narrow_terminal(width: int) -> None:
    text = printed(sample_report(), width=width)
    assert "Fused: shared + local" in text
    assert "0.0598–0.0635" in text


def test_progress_is_silent_where_nobody_watches() -> None:
    pipe, terminal = io.StringIO(), Terminal()
    for quiet, stream in ((False, pipe), (True, terminal)):
        with (
            Progress(quiet=quiet, stream=stream) as progress,
            progress.phase("train", total=2) as bar,
        ):
            bar.advance()
            bar.update(2, 2)
        assert progress.silent
        assert stream.getvalue() == ""
        assert bar.done == 2


def test_progress_shows_its_phase_on_a_terminal() -> None:
    terminal = Terminal()
    with Progress(stream=terminal) as progress, progress.phase("train", label="Training") as bar:
        bar.update(3, 8)
    assert "Training" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()


def test_seconds_add_up_by_phase_and_count_a_phase_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 2.0, 10.0, 13.0])
    monkeypatch.setattr("simulation.reporting.terminal.time.perf_counter", lambda: next(clock))
    progress = Progress(quiet=True)
    with progress.phase("train"):
        pass
    with pytest.raises(KeyboardInterrupt), progress.phase("train"):
        raise KeyboardInterrupt
    assert progress.seconds == {"train": 5.0}
