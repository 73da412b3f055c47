"""The load of the group "serving-load": answers, idle connections, and what a figure is made of."""

from __future__ import annotations

from collections import Counter

import pytest

from simulation.bench.serving.empty_server import empty_server
from simulation.bench.serving.http_load import Load, ask, get
from simulation.bench.serving.idle_connections import idle_connections
from simulation.bench.serving.load_figures import busy_figures
from simulation.bench.serving.other_work import OtherWork


@pytest.mark.slow
def test_an_empty_route_answers_beside_idle_connections_of_other_addresses() -> None:
    with empty_server() as port, idle_connections(port, 50, path="/empty"):
        load = ask(port, [get("/empty")], clients=4, seconds=0.5)
    assert load.failed == 0
    assert len(load.milliseconds) > 50


def test_other_work_is_compared_by_its_slowest_answers() -> None:
    quiet = Load(1.0, [1.0] * 90 + [2.0] * 10, Counter({200: 100}))
    busy = Load(1.0, [1.0] * 90 + [8.0] * 10, Counter({200: 99, 500: 1}))
    work = OtherWork(imported=500, swaps=2, similar_ms=[10.0, 20.0, 90.0])
    late, similar = busy_figures(quiet, busy, work)
    assert late.value == 4.0
    assert not late.is_met
    assert "500 events in bulk, 2 swaps, 3 looks" in late.note
    assert late.note.endswith("1 failed")
    assert similar.value == 20.0
