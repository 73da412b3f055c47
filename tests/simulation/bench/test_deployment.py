"""Parts of the deployment's figures: logs taken apart, bytes counted, stub replies."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from shared.errors import RunError
from shared.protocol import messages
from shared.protocol import messages as records
from simulation.bench.deployment.counting_proxy import CountingProxy
from simulation.bench.deployment.figures import _memory_and_return, _time, _traffic, many_nodes
from simulation.bench.deployment.processes import EVENTS, LoggedProcess, wait_until, write_shops
from simulation.bench.deployment.round_timing import Answer, RoundParts, Span, answers, parts, spans
from simulation.bench.deployment.stub_nodes import reply
from simulation.bench.deployment.three_nodes import DeploymentMeasurement, RoundTraffic


def logged(second: float, message: str) -> str:
    return json.dumps({"time": f"2026-01-01T00:00:{second:06.3f}+00:00", "message": message})


def at(second: float) -> float:
    return 1767225600.0 + second


def test_rounds_are_read_from_the_server_s_log() -> None:
    log = [
        logged(1, "aggregation=frozen-a"),
        logged(9.5, "round 0: 3 good, 0 refused, 4.0 s"),
        logged(20, "round 1: 2 good, 1 refused, 10.5 s"),
    ]
    assert spans(log) == [Span(0, 3, at(5.5), at(9.5)), Span(1, 2, at(9.5), at(20))]


def printed(*lines: tuple[float, str]) -> list[tuple[float, str]]:
    return [(at(second), f"INFO :      {text}") for second, text in lines]


def test_a_node_s_rounds_are_put_together_from_both_of_its_logs() -> None:
    lines = printed(
        (0.5, "Receiving: query.counts message (ID: c0)"),
        (1, "Received successfully"),
        (1.8, "Receiving: train message (ID: a1)"),
        (2, "Received successfully"),
        (2.1, "Received successfully"),  # printed twice by some loggers
        (6.8, "Sending: train message (ID: b1)"),
        (7, "Sent successfully"),
        (11.8, "Receiving: train message (ID: a2)"),
        (12, "Received successfully"),
        (17.9, "Sending: train message (ID: b2)"),
        (18, "Sent successfully"),
    )
    log = [
        logged(1.5, "counts answered after 0.40 s"),
        logged(6.5, "train answered after 4.00 s"),
        logged(17, "train answered after 4.50 s"),
    ]
    assert answers(lines, log) == [
        Answer(at(2), 4.0, at(6.5), at(7)),
        Answer(at(12), 4.5, at(17), at(18)),
    ]
    with pytest.raises(RunError, match="received=2, trained=1 and sent=2 rounds"):
        answers(lines, log[:2])


def test_a_round_is_taken_apart_along_the_node_that_answered_last() -> None:
    quick = Answer(at(1), 3.0, at(4.5), at(5))
    slow = Answer(at(3), 5.0, at(9), at(9.5))
    found = parts(Span(1, 2, at(0), at(10)), [slow, quick])
    assert found == RoundParts(wall=10, local=5, polling=3.5)
    assert found.beside == pytest.approx(1.3)


def test_the_figures_take_the_worst_node_and_round() -> None:
    found = DeploymentMeasurement(
        rounds=(RoundParts(20, 10, 4), RoundParts(24, 20, 2), RoundParts(70, 60, 3)),
        first=33,
        traffic={
            "a": RoundTraffic(up=(50, 40, 60), down=(150, 80, 40), release=7),
            "b": RoundTraffic(up=(30, 60, 30), down=(100, 130, 130), release=9),
        },
        adapter_bytes=100,
        memory_mb={"a": 900, "b": 1600},
        back=12,
    )
    wall, beside = _time(found)
    assert (wall.value, wall.is_met) == (70, False)
    assert beside.value == pytest.approx(67 / 60)
    first, down, up = _traffic(found)
    assert (first.value, first.is_met) == (1.0, True)
    assert (down.value, down.is_met, up.value, up.is_met) == (1.2, False, 0.5, True)
    memory, back = _memory_and_return(found)
    assert (memory.value, memory.is_met, back.value, back.is_met) == (1.6, False, 12, True)


@pytest.fixture
def echo() -> int:
    """A server that answers each connection with twice what it got first."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            link, _ = listener.accept()
            link.sendall(2 * link.recv(1000))

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def test_the_proxy_counts_both_ways_and_can_be_cut_and_mended(echo: int) -> None:
    with CountingProxy(echo) as proxy:
        for _ in range(2):
            before = time.time()
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=120) as link:
                link.sendall(b"x" * 100)
                answer = b""
                while len(answer) < 200:
                    answer += link.recv(1000)
                assert proxy.between(before, time.time()) == (100, 200)
                proxy.cut()
                assert link.recv(1) == b""
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", proxy.port), timeout=120)
            proxy.mend()
        assert proxy.between(0, time.time()) == (200, 400)


def test_lines_are_kept_with_their_times_and_a_bad_end_is_told(tmp_path: Path) -> None:
    code = "import time; print('one', flush=True); time.sleep(1.0); print('two'); exit(3)"
    process = LoggedProcess([sys.executable, "-c", code], folder=tmp_path, environment={})
    with pytest.raises(RunError, match=r"status=3 .* one; two"):
        process.wait(seconds=300)
    (first, one), (second, two) = process.lines
    assert (one, two) == ("one", "two")
    assert second - first > 0.2
    with pytest.raises(RunError, match=r"a miracle did not happen within 0\.1 s"):
        wait_until(lambda: False, seconds=0.1, name="a miracle")


def request(content: RecordDict) -> Message:
    return Message(content, dst_node_id=4, message_type="train")


def test_a_stub_node_answers_in_the_shape_that_the_server_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, name in enumerate(("_run_id", "_node_id", "_task_id"), start=1):
        monkeypatch.setattr(TaskIdentity, name, number)  # a message needs them
    adapter = {
        "x.lora_A.weight": np.zeros((2, 5), np.float32),
        "x.lora_B.weight": np.zeros((4, 2), np.float32),
    }
    asked = request(
        RecordDict(
            {
                messages.ADAPTER: messages.to_record(adapter),
                messages.PLAN: ConfigRecord({"aggregation": "frozen-a"}),
            }
        )
    )
    replies = [reply("shop7", asked, np.random.default_rng(seed)) for seed in (1, 2)]
    updates = [messages.from_record(one.array_records[messages.UPDATE]) for one in replies]
    assert [set(update) for update in updates] == [{"x.lora_B.weight"}] * 2
    first, second = (update["x.lora_B.weight"] for update in updates)
    assert first.shape == (4, 2)
    assert np.abs(first - second).min() > 0  # the server refuses an update that came before
    assert replies[0].config_records[messages.STATUS]["shop"] == "shop7"
    record = ConfigRecord({"manifest": b'{"number": 5}', "file": b"", "signature": ""})
    installed = reply(
        "shop7", request(RecordDict({records.RELEASE: record})), np.random.default_rng(1)
    )
    assert installed.config_records[records.INSTALLED]["number"] == 5


@pytest.mark.slow
def test_shops_have_their_own_users_and_the_public_catalogue_all_items(tmp_path: Path) -> None:
    path = write_shops(tmp_path, ("a", "b"), users=30)
    catalogue = pd.read_csv(path, dtype=str)
    tables = [pd.read_csv(tmp_path / shop / "data" / EVENTS, dtype=str) for shop in ("a", "b")]
    members = [set(table["user_id"]) for table in tables]
    assert [len(users) for users in members] == [30, 30]
    assert members[0].isdisjoint(members[1])
    assert all(set(table["item_id"]) <= set(catalogue["item_id"]) for table in tables)
    assert pd.to_datetime(tables[0]["datetime"]).between("2016-12-26", "2017-12-01").all()


@pytest.mark.slow
def test_no_update_of_stub_nodes_is_missing_at_a_real_server() -> None:
    found = many_nodes(nodes=3, rounds=2)
    assert (found.value, found.is_met) == (0, True)
    assert found.note.startswith("6 updates came; ")
