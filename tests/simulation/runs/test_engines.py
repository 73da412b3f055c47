"""The engines against each other, and against the operating system."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from server.federation.federated_run import FederationResult
from shared.errors import RunError
from shared.flower.simulation.in_process import InProcessGrid
from simulation.runs.training import run_federation
from tests import ROOT
from tests.simulation.runs.least_squares_shops import (
    A,
    B,
    LeastSquaresNode,
    LeastSquaresSource,
    make_federation,
    make_plan,
    write_shops,
)

SHOPS = 4


@dataclass(frozen=True)
class Failing:
    """Opens real shops; shop 1 always fails, and from `dies_in` on the others too."""

    source: LeastSquaresSource
    dies_in: int = 99

    def open(self, node_config):  # type: ignore[no-untyped-def]
        node = self.source.open(node_config)
        return FailingNode(node, self.dies_in, int(node_config["partition-id"]) == 1)


@dataclass
class FailingNode:
    node: LeastSquaresNode
    dies_in: int
    always: bool

    @property
    def shop_id(self) -> str:
        return self.node.shop_id

    def train(self, *, adapter, plan, round, candidates):  # type: ignore[no-untyped-def]  # noqa: A002, ARG002
        if self.always or round >= self.dies_in:
            raise ValueError("alice bought insulin")
        return self.node.train(adapter=adapter, plan=plan, round=round)

    def item_counts(self, *, plan):  # type: ignore[no-untyped-def]
        return self.node.item_counts(plan=plan)


def both(federation_of, source) -> tuple[FederationResult, FederationResult]:  # type: ignore[no-untyped-def]
    return (
        run_federation("in-process", federation_of(), source, num_shops=SHOPS),
        run_federation("ray", federation_of(), source, num_shops=SHOPS, workers=2),
    )


def test_messages_are_copied_and_replies_come_in_order_of_the_nodes() -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        seen = message.content.array_records.pop("a")
        time.sleep(0.02 * (3 - int(context.node_config["partition-id"])))
        return Message(RecordDict({"b": seen}), reply_to=message)

    for workers in (1, 3):
        with InProcessGrid(app, num_shops=3, workers=workers) as grid:
            content = RecordDict({"a": ArrayRecord([np.ones(2)])})
            nodes = list(grid.get_node_ids())
            requests = [Message(content, node, "train") for node in reversed(nodes)]
            replies = list(grid.send_and_receive(requests))
        assert [reply.metadata.src_node_id for reply in replies] == nodes
        assert all("b" in reply.content for reply in replies)
        assert "a" in content


def test_an_app_that_raises_becomes_an_error_reply_without_text() -> None:
    app = ClientApp()

    @app.train()
    def train(_message: Message, _context: Context) -> Message:
        raise ValueError("alice bought insulin")

    with InProcessGrid(app, num_shops=1) as grid:
        (node,) = grid.get_node_ids()
        (reply,) = grid.send_and_receive([Message(RecordDict(), node, "train")])
    assert reply.has_error()
    assert "insulin" not in repr(reply)


@pytest.mark.slow
def test_both_engines_give_the_same_adapter_and_name_the_same_shop(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(counts_release=True)
    source = Failing(write_shops(tmp_path, num_shops=SHOPS))
    capfd.readouterr()
    here, ray = both(lambda: make_federation(plan=plan), source)
    for name in (A, B):
        np.testing.assert_allclose(ray.adapter[name], here.adapter[name], atol=1e-5)
    assert here.counts is not None
    np.testing.assert_array_equal(ray.counts, here.counts)
    assert ray.refusals == here.refusals
    assert {(r.shop, r.code) for r in ray.refusals} == {("shop-0001", "internal")}
    assert (ray.bytes_up, ray.bytes_down) == (here.bytes_up, here.bytes_down)
    output = capfd.readouterr()
    assert output.out == ""
    assert "ray" not in output.err.lower()


@pytest.mark.slow
def test_ray_fails_loudly_and_the_other_engine_goes_on(tmp_path: Path) -> None:
    source = write_shops(tmp_path, num_shops=SHOPS)
    folder = tmp_path / "checkpoints"
    environment = dict(os.environ)
    federation = make_federation(checkpoints=folder)
    with pytest.raises(RunError, match="round=4: good replies=0"):
        run_federation("ray", federation, Failing(source, 4), num_shops=SHOPS, workers=2)
    assert dict(os.environ) == environment
    # Shop 1 failed in the rounds before, so only a run of the same history has the same end.
    resumed = make_federation(checkpoints=folder, resume=True)
    result = run_federation("in-process", resumed, source, num_shops=SHOPS)
    assert [info.good for info in result.rounds] == [3, 3, 3, 4, 4, 4]


SCRIPT = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from tests.simulation.runs.least_squares_shops import LeastSquaresSource, make_federation
from simulation.runs.training import run_federation

@dataclass(frozen=True)
class Slow:
    source: LeastSquaresSource
    hang_from: Path | None
    def open(self, node_config):
        hang = self.hang_from is not None and list(self.hang_from.glob("round-00002*"))
        time.sleep(120 if hang else 0.05)
        return self.source.open(node_config)

if __name__ == "__main__":
    engine, shops, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    federation = make_federation(checkpoints=folder)
    # On Ray the interrupt finds shops that still train, in processes of their own.
    source = Slow(LeastSquaresSource(shops), folder if engine == "ray" else None)
    run_federation(engine, federation, source, num_shops=4, workers=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "sent"),
    [("in-process", signal.SIGKILL), ("in-process", signal.SIGINT), ("ray", signal.SIGINT)],
)
def test_a_process_that_is_killed_leaves_a_resumable_folder(
    tmp_path: Path, engine: str, sent: signal.Signals
) -> None:
    source = write_shops(tmp_path, num_shops=SHOPS)
    expected = run_federation("in-process", make_federation(), source, num_shops=SHOPS)
    folder, script = tmp_path / "checkpoints", tmp_path / "slow_run.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), engine, str(tmp_path), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 600
    while not list(folder.glob("round-00002*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1 if engine == "ray" else 0)  # until the shops of the next round train
    process.send_signal(sent)
    process.communicate(timeout=300)
    assert process.returncode != 0
    assert list(folder.glob("*.safetensors"))
    resumed = make_federation(checkpoints=folder, resume=True)
    result = run_federation("in-process", resumed, source, num_shops=SHOPS)
    assert result.adapter[B].tobytes() == expected.adapter[B].tobytes()


@pytest.mark.slow
def test_flower_builds_the_app(tmp_path: Path) -> None:
    app = tmp_path / "fedprofile"
    for name in ("client", "server", "shared"):
        shutil.copytree(ROOT / name, app / name)
    shutil.copy(ROOT / "pyproject.toml", app)
    flwr = Path(sys.executable).with_name("flwr")
    environment = {**os.environ, "FLWR_HOME": str(tmp_path / "home"), "FLWR_TELEMETRY_ENABLED": "0"}
    subprocess.run([flwr, "build"], cwd=app, env=environment, check=True, timeout=300)
    assert list(app.glob("*.fab"))
