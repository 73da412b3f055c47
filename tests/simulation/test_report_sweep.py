from __future__ import annotations

import json

import pytest
from sample_reports import interval, sample_report

from shared.errors import RunError
from simulation.report.html import _sweep_title
from simulation.report.schema import Interval, Report
from simulation.report.sweep import SweepSurface, average, condense


def run(
    epsilon: float | None, seed: int, *, fused: float, gain: float, control: float | None = None
) -> Report:
    found = json.loads(sample_report(epsilon=epsilon, seed=seed, shops=1).to_json())
    tail = found["metrics"]["tail"]
    tail["fused"]["ndcg@10"] = interval(fused, 0.01)
    tail["best-local"]["ndcg@10"] = interval(0.3, 0.02)
    tail.pop("fused-non-private", None)
    if control is not None:
        tail["fused-non-private"] = {"ndcg@10": interval(control, 0.01)}
    found["comparison"]["tail"]["difference"] = interval(gain, 0.1)
    return Report.model_validate(found)


def test_seeds_are_averaged_by_epsilon_in_order_with_no_privacy_last() -> None:
    runs = [
        run(None, 1, fused=0.9, gain=0.6),
        run(8.0, 1, fused=0.5, gain=0.2),
        run(8.0, 2, fused=0.7, gain=0.4),
        run(1.0, 1, fused=0.3, gain=0.0),
    ]
    tail = condense(runs)["tail"]
    fused = tail.curves["fused"]
    assert list(fused) == [1.0, 8.0, None]
    assert fused[8.0].mean == pytest.approx(0.6)
    assert (fused[8.0].low, fused[8.0].high) == (pytest.approx(0.59), pytest.approx(0.61))
    assert tail.gains[8.0].mean == pytest.approx(0.3)
    assert tail.lines["best-local"].mean == pytest.approx(0.3)
    assert sorted(tail.dots, key=str) == [(1.0, 0.0), (8.0, 0.2), (8.0, 0.4), (None, 0.6)]


def test_the_control_stands_for_a_run_without_privacy_only_where_there_is_none() -> None:
    private = [run(8.0, s, fused=0.5, gain=0.2, control=0.8 + s / 10) for s in (0, 1)]
    assert condense(private)["tail"].curves["fused"][None].mean == pytest.approx(0.85)
    both = [*private, run(None, 1, fused=0.7, gain=0.4)]
    assert condense(both)["tail"].curves["fused"][None].mean == pytest.approx(0.7)


def test_a_sweep_without_runs_is_refused() -> None:
    with pytest.raises(RunError, match="reports=0 must be at least 1"):
        condense([])


def test_more_seeds_do_not_narrow_an_interval() -> None:
    one = Interval(mean=0.5, low=0.4, high=0.6)
    assert average([one, one, one]).model_dump() == pytest.approx(one.model_dump())


def surface(**gains: float) -> SweepSurface:
    curve = {
        None if name == "none" else float(name[1:]): Interval.model_validate(interval(gain, 0.1))
        for name, gain in gains.items()
    }
    return SweepSurface(curves={}, lines={}, gains=curve, dots=())


def test_the_title_names_the_epsilon_from_which_on_a_surface_gains() -> None:
    # Epsilon 1 shines by luck, 3 does not: what holds from there on starts at 8.
    found = {"tail": surface(e1=0.2, e3=0.0, e8=0.2), "basket": surface(e1=-0.2, e8=0.05)}
    assert _sweep_title(found) == ("Federation paid on Tail from epsilon 8; it did harm on Basket")


def test_a_gain_that_only_a_run_without_privacy_has_is_none() -> None:
    found = {"tail": surface(e1=0.0, none=0.5)}
    assert _sweep_title(found).startswith("Federation did not pay")
