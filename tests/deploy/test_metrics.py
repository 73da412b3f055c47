"""Metrics, health and logs of a real server and two real nodes over one run."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from client.deploy.metrics import NodeCollector
from client.deploy.request_process import node_app
from client.federation.client_app import REFUSALS
from server.coordinator.metrics import COUNTERS, SHOP_CODES, RunMetrics, reason_label
from server.federation.federated_run import Refusal
from shared.flower.node.link import ServerPulse
from shared.protocol.messages import COUNTS_QUERY, STATUS
from shared.runtime.counters import CounterFile
from shared.runtime.file_store import write_atomic
from shared.runtime.json_log import JsonFormatter
from simulation.bench.deployment.processes import free_port, wait_until
from tests import ROOT
from tests.deploy.federations import WAIT, Federation
from tests.deploy.installing import Pair


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def value(text: str, sample: str) -> float:
    """Value of a sample, labels included."""
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    assert found, f"{sample} is not in\n{text}"
    return float(found[1])


def test_a_reason_that_a_shop_makes_up_is_no_label() -> None:
    assert {code for _, code, _ in REFUSALS} <= SHOP_CODES
    assert [reason_label(code) for code in ("privacy", "magnitude", "replayed", "insulin")] == [
        "privacy",
        "magnitude",
        "replayed",
        "other",
    ]


def test_refusals_and_installs_are_counted_with_one_write_for_each_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = CounterFile(tmp_path / "tally.json")
    writes: list[Path] = []

    def write(path: Path, content: bytes, *, durable: bool, private: bool) -> None:
        writes.append(path)
        write_atomic(path, content, durable=durable, private=private)

    monkeypatch.setattr("shared.runtime.counters.write_atomic", write)
    codes = ["privacy", "norm", "insulin", "privacy", "alice", "privacy"]
    RunMetrics(tally).refused(Refusal(1, f"shop{n}", code, "") for n, code in enumerate(codes))
    RunMetrics(tally).sent(["installed", "no answer", "installed", "model", "insulin"])
    assert len(writes) == 3 + 4
    found = {
        (counted.name.split("_")[-2], *sample.labels.values()): sample.value
        for counted, family in zip(COUNTERS, tally.metrics(COUNTERS), strict=True)
        for sample in family.samples
        if sample.labels
    }
    assert found == {
        ("refused", "train", "privacy"): 3,
        ("refused", "train", "norm"): 1,
        ("refused", "train", "other"): 2,
        ("installs", "installed"): 2,
        ("installs", "no-answer"): 1,
        ("installs", "model"): 1,
        ("installs", "other"): 1,
    }


def sampled(pair: Pair) -> dict[str, float]:
    """What the node's endpoint would say, by sample with its labels."""
    found = NodeCollector(pair.node, ServerPulse()).collect()
    samples = [sample for family in found for sample in family.samples]
    return {" ".join([s.name, *s.labels.values()]): s.value for s in samples}


def test_requests_that_the_app_does_not_know_or_fails_at_are_counted(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    context = Context(1, 7, {"shop": "north"}, RecordDict(), {})
    answer = node_app(pair.node, log=JsonFormatter())
    counts, unknown = f"query.{COUNTS_QUERY}", "query.everything"
    codes = []
    for kind in (counts, unknown, "evaluate"):
        reply = answer(Message(RecordDict({}), 7, kind), context)
        codes.append(str(reply.content.config_records[STATUS]["code"]))
    assert codes == ["internal"] * 3

    def fails(*_: object) -> None:
        raise OSError("alice")

    monkeypatch.setattr(
        "client.deploy.request_process._log_context", fails
    )  # around the app, not in it
    assert "alice" not in str(answer(Message(RecordDict({}), 7, counts), context))
    found = sampled(pair)
    assert found["fedprofile_node_requests_total counts"] == 2
    assert found["fedprofile_node_requests_total other"] == 2
    assert found["fedprofile_node_refusals_total internal"] == 4


def test_a_damaged_pointer_hides_the_adapter_and_not_the_account(pair: Pair) -> None:
    pair.install(pair.release())
    whole = sampled(pair)
    assert whole["fedprofile_node_adapter"] == whole["fedprofile_node_ledger_verifies"] == 1
    (pair.node.adapters / "current.json").write_text("{")
    damaged = sampled(pair)
    assert set(whole) - set(damaged) == {"fedprofile_node_adapter"}
    assert damaged["fedprofile_node_ledger_verifies"] == 1
    next(pair.node.ledgers.glob("*.jsonl")).write_text("{")
    assert sampled(pair)["fedprofile_node_ledger_verifies"] == 0


@pytest.mark.slow
def test_a_run_is_counted_on_both_sides(make_federation: Callable[..., Federation]) -> None:
    made = make_federation(shops=("shop0", "shop1", "shop2"))
    made.write_data()
    made.init_server(**{"training.rounds": 2})
    ports = {name: free_port() for name in ("server", *made.shops)}
    start = ("server", "start", "--dir", made.server, "--metrics-port", ports["server"])
    made.start("server", *start)
    wait_until(lambda: get(ports["server"], "/health/ready")[0] == 200, seconds=WAIT, name="server")
    for shop in made.shops:
        # The third shop can pay for nothing and refuses.
        made.init_node(shop, epsilon=0.1 if shop == "shop2" else 40.0)
        node = ("node", "start", "--dir", made.node(shop), "--metrics-port", ports[shop])
        made.start(shop, *node)
    for shop in made.shops:
        wait_until(
            lambda shop=shop: get(ports[shop], "/health/ready")[0] == 200, seconds=WAIT, name=shop
        )
    made.run_rounds()

    server = get(ports["server"], "/metrics")[1]
    assert value(server, "fedprofile_server_up") == 1
    assert value(server, "fedprofile_server_rounds_total") == 2
    assert value(server, 'fedprofile_server_updates_total{kind="train"}') == 4
    refused = 'fedprofile_server_updates_refused_total{kind="train",reason="privacy"}'
    assert value(server, refused) == 2
    for phase in ("open", "wait", "counts", "train", "finish", "send"):
        assert value(server, f'fedprofile_server_phase_seconds_total{{phase="{phase}"}}') > 0
    for way in ("down", "up"):
        assert value(server, f'fedprofile_server_bytes_total{{direction="{way}"}}') > 1000
    assert value(server, 'fedprofile_server_installs_total{outcome="installed"}') == 6
    assert value(server, "fedprofile_server_release") == 2

    node = get(ports["shop0"], "/metrics")[1]
    assert value(node, "fedprofile_node_connected") == 1
    assert value(node, "fedprofile_node_releases_total") == 3
    assert value(node, 'fedprofile_node_requests_total{phase="train"}') == 2
    assert value(node, 'fedprofile_node_phase_seconds_total{phase="install"}') > 0
    spent = made.budget("shop0")
    assert value(node, "fedprofile_node_epsilon_spent") == pytest.approx(spent["epsilon"])
    assert value(node, "fedprofile_node_epsilon_left") == pytest.approx(spent["remaining"])
    assert value(node, "fedprofile_node_adapter") == 2
    poor = get(ports["shop2"], "/metrics")[1]
    assert value(poor, 'fedprofile_node_refusals_total{code="privacy"}') == 3
    assert value(poor, "fedprofile_node_epsilon_spent") == 0
    assert not re.search(r"shop\d|\bu\d+\b", server + node + poor)

    # Every metric of the dashboard is among those that real processes gave.
    dashboard = ROOT / "deploy" / "grafana" / "federation.json"
    asked = set(re.findall(r"fedprofile_\w+", dashboard.read_text()))
    assert asked <= set(re.findall(r"^(fedprofile_\w+)", server + node + poor, re.MULTILINE))

    lines = [json.loads(x) for x in (made.server / "logs/server.jsonl").read_text().splitlines()]
    assert all(line["run"] == 1 for line in lines)
    assert {line["shop"] for line in lines if " refused: " in line["message"]} == {"shop2"}
    installed = [x for x in lines if x["message"].endswith(": installed")]
    assert {(x["shop"], x["round"]) for x in installed} == {
        (shop, number) for shop in made.shops for number in (0, 2)
    }
    for shop in made.shops:
        lines = [json.loads(x) for x in (made.node(shop) / "node.jsonl").read_text().splitlines()]
        assert {line["shop"] for line in lines} == {shop}
        assert all(isinstance(line["round"], int) for line in lines if "round" in line)

    made.kill("server")
    wait_until(
        lambda: get(ports["shop0"], "/health/ready")[0] == 503, seconds=WAIT, name="a node's alarm"
    )
    assert get(ports["shop0"], "/health/live")[0] == 200
