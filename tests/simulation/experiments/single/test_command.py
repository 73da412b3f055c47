"""`fedprofile simulate` from the outside: what a finished run prints and writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from peft import PeftModel

from shared.cli import root
from shared.model.adapter import load_base
from shared.privacy.accounting.accountants import epsilon_pair
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.reporting.status import read_ledger
from simulation.experiments.single.schema import METHODS, Report
from tests.simulation.commands import run
from tests.simulation.tiny_shops import options

pytestmark = pytest.mark.usefixtures("cache")

Finished = tuple[Path, dict[str, object]]


@pytest.fixture(scope="module")
def finished(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("runs") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPROFILE_CACHE", str(world.parent / "cache"))
        asked = ["--json", "--save-rankings", "--noise", "shop"]
        result = run(*options(world), "--out", str(out), *asked)
    assert result.exit_code == 0, result.output
    return out, json.loads(result.stdout)


def test_json_is_the_report_and_nothing_else(finished: Finished) -> None:
    out, printed = finished
    assert printed == json.loads((out / "report.json").read_text())
    Report.model_validate(printed)


def test_every_shop_states_a_guarantee_that_recomputes(
    finished: Finished,
) -> None:
    _, printed = finished
    privacy = printed["privacy"]
    assert set(privacy) == {"shop0", "shop1", "shop2"}
    for shop in privacy.values():
        mechanisms = [Mechanism(**m) for m in shop["mechanisms"]]
        assert [m.name for m in mechanisms] == ["dp-sgd", "item-counts", "pair-sums"]
        epsilon, check = epsilon_pair(mechanisms, shop["delta"])
        assert shop["epsilon"] == pytest.approx(epsilon, abs=1e-6)
        assert shop["epsilon_check"] == pytest.approx(check, abs=1e-6)
        assert max(epsilon, check) <= 8.0
        assert shop["noise_multiplier"] > 0
        assert (shop["sample_rate"], shop["steps"]) == (1.0, 3)


def test_all_methods_are_measured_over_all_users_and_for_each_shop(
    finished: Finished,
) -> None:
    _, printed = finished
    metrics = printed["metrics"]
    for table in (metrics, *metrics["shops"].values()):
        for surface in ("for-you", "discover", "tail"):
            assert set(table[surface]) == set(METHODS)
            for values in table[surface].values():
                for metric in ("ndcg@10", "hr@10", "recall@20", "coverage@20"):
                    interval = values[metric]
                    assert 0 <= interval["low"] <= interval["mean"] <= interval["high"] <= 1
    assert metrics["basket"] == {}
    assert not printed["surfaces"]["basket"]["available"]
    assert printed["surfaces"]["basket"]["reason"]


def test_metrics_can_be_computed_again_from_the_rankings(finished: Finished, world: Path) -> None:
    out, printed = finished
    rankings = pd.read_parquet(out / "rankings.parquet")
    assert list(rankings.columns) == [
        *("shop_id", "user_id", "surface", "method", "rank", "item_id", "score")
    ]
    events = pd.read_csv(world / "interactions.csv").sort_values("position")
    last = events.groupby("user_id").item_id.last()
    for method in ("ease", "fused"):
        mine = rankings[(rankings.surface == "for-you") & (rankings.method == method)]
        top = mine[mine["rank"] <= 10]
        hit = top[top.item_id == top.user_id.map(last)].set_index("user_id")["rank"]
        gain = (1 / np.log2(hit + 1)).reindex(last.index, fill_value=0.0)
        assert len(gain) == mine.user_id.nunique()
        stated = printed["metrics"]["for-you"][method]["ndcg@10"]["mean"]
        assert gain.mean() == pytest.approx(stated, abs=1e-9)


def test_the_adapter_loads_as_plain_peft(finished: Finished) -> None:
    out, _ = finished
    model = PeftModel.from_pretrained(load_base(out / "adapter"), str(out / "adapter"))
    moved = [p.abs().max().item() for n, p in model.named_parameters() if "lora_B" in n]
    assert moved
    assert min(moved) > 0
    card = (out / "adapter" / "README.md").read_text()
    assert "differentially private" in card


def test_the_folder_holds_no_raw_data_when_the_run_has_ended(
    finished: Finished,
) -> None:
    out, _ = finished
    assert not (out / "state").exists()
    assert {p.name for p in out.iterdir()} == {
        *("adapter", "report.html", "report.json", "rankings.parquet", "settings.json"),
        *("tensorboard", "users.parquet", "ledgers", "receipts.jsonl", "server.pub", "server.pub"),
    }


def test_every_shop_has_a_ledger_that_verifies_and_paid_for_what_the_report_states(
    finished: Finished,
) -> None:
    out, printed = finished
    ledgers = str(out / "ledgers")
    assert CliRunner().invoke(root, ["privacy", "verify", ledgers]).exit_code == 0
    status = CliRunner().invoke(root, ["privacy", "status", ledgers, "--json"])
    shops = {s["shop"]: s for s in json.loads(status.stdout)["shops"]}
    assert set(shops) == set(printed["privacy"])
    for name, shop in shops.items():
        assert shop["epsilon"] == pytest.approx(printed["privacy"][name]["epsilon"])


def test_a_replaced_adapter_does_not_verify(finished: Finished, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    tensors = copy / "adapter" / "adapter_model.safetensors"
    changed = bytearray(tensors.read_bytes())
    changed[-1] ^= 1
    tensors.write_bytes(bytes(changed))
    result = CliRunner().invoke(root, ["privacy", "verify", str(copy / "ledgers")])
    assert result.exit_code == 1


def test_pairs_are_released_before_training_and_paid_for(finished: Finished) -> None:
    out, printed = finished
    kinds = [(r["round"], r["kind"]) for r in printed["training"]["private"]]
    assert kinds == [(0, "counts"), (0, "pairs"), (1, "train"), (2, "train"), (3, "train")]
    chain, _ = read_ledger(out / "ledgers" / "shop0.jsonl")
    names = [body.mechanism.name for body in chain.bodies.values()]
    assert names == ["item-counts", "pair-sums", "dp-sgd", "dp-sgd", "dp-sgd"]
    assert printed["privacy"]["shop0"]["collusion"] == []
    page = (out / "report.html").read_text()
    assert "0 (co-purchase pairs)" in page


@pytest.mark.slow
def test_shared_noise_is_said_everywhere_and_costs_the_same_epsilon(
    world: Path, tmp_path: Path, finished: Finished
) -> None:
    out = tmp_path / "run"
    result = run(*options(world), "--out", str(out), "--json")  # three shops share the noise
    assert result.exit_code == 0, result.output
    shop = json.loads(result.stdout)["privacy"]["shop1"]
    alone = finished[1]["privacy"]["shop1"]
    assert [m["shared_by"] for m in shop["mechanisms"]] == [2, 2, 2]
    assert (shop["epsilon"], shop["noise_multiplier"]) == (
        alone["epsilon"],
        alone["noise_multiplier"],
    )
    assert "assumes secure aggregation" in shop["trust"]
    assert [row["shops"] for row in shop["collusion"]] == [1, 2]
    assert shop["collusion"][1]["epsilon"] > shop["collusion"][0]["epsilon"] == shop["epsilon"]
    for name in ("report.html", "adapter/README.md"):
        assert "secure aggregation" in (out / name).read_text()
    commands = (["status"], ["report"], ["verify"], ["audit", "--check", "accounts"])
    for name, *rest in commands:
        target = out if name == "audit" else out / "ledgers"
        called = CliRunner().invoke(root, ["privacy", name, str(target), *rest])
        assert called.exit_code == 0, called.output
