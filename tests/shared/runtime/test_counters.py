"""Counters that several processes write, and the endpoint that shows them."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from shared.errors import ConfigError
from shared.runtime.counters import CounterFile, CounterSpec
from shared.runtime.metrics_endpoint import check_free, serve_metrics

DONE = CounterSpec("fedprofile_test_total", "Done.", ("kind",))
PLAIN = CounterSpec("fedprofile_plain_total", "Plain.")


def values(tally: CounterFile) -> dict[tuple[str, ...], float]:
    (family,) = tally.metrics([DONE])
    return {tuple(s.labels.values()): s.value for s in family.samples}


def _add_many(path: Path) -> None:
    for _ in range(25):
        CounterFile(path).add(DONE, kind="a")


def test_no_count_is_lost_between_processes(tmp_path: Path) -> None:
    path = tmp_path / "tally.json"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_add_many, args=(path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert values(CounterFile(path)) == {("a",): 75.0}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [
        '{"half',
        "[]",
        "null",
        '{"fedprofile_test_total": 1}',
        '{"fedprofile_test_total": {"[\\"b\\"]": "1"}}',
    ],
)
def test_a_damaged_file_counts_from_zero(tmp_path: Path, content: str) -> None:
    tally = CounterFile(tmp_path / "tally.json")
    tally.path.write_text(content)
    assert values(tally) == {}
    tally.add(DONE, 2.5, kind="b")
    assert values(tally) == {("b",): 2.5}


def test_a_full_disk_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    CounterFile(tmp_path / "missing" / "tally.json").add(DONE, kind="a")
    assert "fedprofile_test_total is not counted" in caplog.text


def test_a_block_is_timed_where_it_fails_too(tmp_path: Path) -> None:
    tally = CounterFile(tmp_path / "tally.json")
    with pytest.raises(ValueError, match="broken"), tally.timed(DONE, kind="a"):
        raise ValueError("broken")
    assert values(tally)[("a",)] > 0


def test_a_counter_without_labels_starts_at_zero(tmp_path: Path) -> None:
    (family,) = CounterFile(tmp_path / "tally.json").metrics([PLAIN])
    assert [s.value for s in family.samples] == [0.0]


class One(Collector):
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("fedprofile_one", "One.", value=1)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_and_metrics_are_answered_on_loopback() -> None:
    found: list[str | None] = [None]
    server = serve_metrics(0, collector=One(), problem=lambda: found[0])
    try:
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        assert "fedprofile_one 1.0" in get(port, "/metrics")[1]
        assert get(port, "/health/live") == (200, json.dumps({"live": True}))
        assert get(port, "/health/ready")[0] == 200
        found[0] = "down"
        assert get(port, "/health/ready") == (503, '{"ready": false, "reason": "down"}')
        assert get(port, "/health/live")[0] == 200
        assert get(port, "/other")[0] == 404
        with pytest.raises(ConfigError, match=f"metrics-port={port} cannot be used"):
            check_free(port)
        with pytest.raises(ConfigError, match="choose a free port"):
            serve_metrics(port, collector=One(), problem=lambda: None)
    finally:
        server.shutdown()
        server.server_close()
    check_free(port)


def test_the_lock_belongs_to_the_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        CounterFile(tmp_path / "tally.json").add(DONE, kind="a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "tally.lock").stat().st_mode) == 0o600
