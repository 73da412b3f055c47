"""The environment of pfl: made by the bench, and one line where it cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulation.bench import engine_comparison, pfl_environment


def test_a_round_beside_ours_is_a_ratio_with_start_up_in_words() -> None:
    ours = {"round": 2.0, "whole": 5.0, "users": 40, "shops": 4}
    ray = {"round": 6.0, "whole": 25.0}
    figure = engine_comparison.beside("Flower on Ray", ray, ours, bound=20, note="")
    assert (figure.value, figure.unit, figure.is_met) == (3.0, "times", True)
    assert "6.00 s against 2.00 s; with start-up 25.0 s against 5.0 s" in figure.note


@pytest.mark.slow
def test_what_cannot_be_installed_is_said_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(tmp_path / "missing-1.0-py3-none-any.whl")
    monkeypatch.setattr(pfl_environment, "PACKAGES", (missing,))
    found = pfl_environment.measure(tmp_path, task=tmp_path / "task.npz")
    assert isinstance(found, str)
    assert found.startswith("not measured: ")
    assert "missing-1.0" in found
