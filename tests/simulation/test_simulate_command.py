"""`fedprofile simulate` from the outside: what it prints, writes, refuses and resumes."""

from __future__ import annotations

import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from peft import PeftModel
from safetensors.numpy import load_file
from tiny_shops import options, write_tiny_shops

from shared.cli import root
from shared.errors import FedprofileError, RunError
from shared.model.adapter_folder import load_base
from shared.privacy.accounting import epsilon_pair
from shared.privacy.guarantee import Mechanism
from shared.privacy.ledger.status import read_ledger
from simulation.report.schema import METHODS, Report

Finished = tuple[Path, dict[str, object]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shops(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, world: Path) -> None:
    monkeypatch.setenv("FEDPROFILE_CACHE", str(world.parent / "cache"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(root, ["simulate", *arguments], catch_exceptions=True)


@pytest.fixture(scope="module")
def finished(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("runs") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPROFILE_CACHE", str(world.parent / "cache"))
        result = run(*options(world), "--out", str(out), "--json", "--save-rankings")
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
        *("tensorboard", "users.parquet", "ledgers", "receipts.jsonl"),
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
@pytest.mark.parametrize(
    ("budget", "names", "rounds"),
    [
        ("counts=0.3,pairs=0.7", ["item-counts", "pair-sums"], 0),
        ("adapter=1", ["dp-sgd"], 3),
    ],
)
def test_a_run_may_release_statistics_alone_or_adapters_alone(
    world: Path, tmp_path: Path, budget: str, names: list[str], rounds: int
) -> None:
    out = tmp_path / "run"
    result = run(*options(world), "--budget", budget, "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    for shop in printed["privacy"].values():
        assert [m["name"] for m in shop["mechanisms"]] == names
        assert 7.9 < shop["epsilon"] <= 8.0
        assert shop["steps"] == rounds
    asked = [r for r in printed["training"]["private"] if r["kind"] == "train"]
    assert len(asked) == rounds
    assert set(printed["metrics"]["for-you"]) >= {"global", "fused", "best-local"}
    assert CliRunner().invoke(root, ["privacy", "verify", str(out / "ledgers")]).exit_code == 0
    audited = CliRunner().invoke(root, ["privacy", "audit", str(out), "--check", "accounts"])
    assert audited.exit_code == 0, audited.output


@pytest.mark.slow
def test_shared_noise_is_said_everywhere_and_costs_the_same_epsilon(
    world: Path, tmp_path: Path, finished: Finished
) -> None:
    out = tmp_path / "run"
    result = run(*options(world), "--noise", "shared", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    shop = json.loads(result.stdout)["privacy"]["shop1"]
    alone = finished[1]["privacy"]["shop1"]
    assert [m["shared_by"] for m in shop["mechanisms"]] == [3, 3, 3]
    assert (shop["epsilon"], shop["noise_multiplier"]) == (
        alone["epsilon"],
        alone["noise_multiplier"],
    )
    assert "assumes secure aggregation" in shop["trust"]
    assert [row["shops"] for row in shop["collusion"]] == [0, 1]
    assert shop["collusion"][1]["epsilon"] > shop["collusion"][0]["epsilon"] == shop["epsilon"]
    for name in ("report.html", "adapter/README.md"):
        assert "secure aggregation" in (out / name).read_text()
    commands = (["status"], ["report"], ["verify"], ["audit", "--check", "accounts"])
    for name, *rest in commands:
        target = out if name == "audit" else out / "ledgers"
        called = CliRunner().invoke(root, ["privacy", name, str(target), *rest])
        assert called.exit_code == 0, called.output


@pytest.mark.slow
def test_same_seed_same_result_and_another_seed_another(world: Path, tmp_path: Path) -> None:
    adapters = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        result = run(*options(world), "--seed", seed, "--out", str(tmp_path / name), "--quiet")
        assert result.exit_code == 0, result.output
        adapters.append((tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes())
    assert adapters[0] == adapters[1]
    assert adapters[0] != adapters[2]


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_adapter(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from client.shop_node import ShopNode

    whole = run(*options(world), "--out", str(tmp_path / "whole"), "--quiet")
    assert whole.exit_code == 0, whole.output
    train = ShopNode.train
    asked = []

    def interrupted(self: ShopNode, **request: object) -> object:
        asked.append(request["round"])
        if len(asked) == 5:
            raise KeyboardInterrupt
        return train(self, **request)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ShopNode, "train", interrupted)
        stopped = run(*options(world), "--out", str(tmp_path / "cut"), "--workers", "1", "--quiet")
    assert stopped.exit_code != 0
    assert (tmp_path / "cut" / "state").exists()
    again = run(*options(world), "--out", str(tmp_path / "cut"), "--quiet")
    assert isinstance(again.exception, FedprofileError)
    other = run(*options(world), "--out", str(tmp_path / "cut"), "--resume", "--rounds", "2")
    assert isinstance(other.exception, RunError)
    assert "training.rounds was 3, is 2" in str(other.exception)
    resumed = run(*options(world), "--out", str(tmp_path / "cut"), "--resume", "--quiet")
    assert resumed.exit_code == 0, resumed.output
    files = [tmp_path / n / "adapter" / "adapter_model.safetensors" for n in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_a_sweep_writes_a_report_for_each_run_and_one_page(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    result = run(*options(world), "--epsilon", "2,none", "--seeds", "2", "--out", str(out))
    assert result.exit_code == 0, result.output
    names = {"epsilon-2-seed-1", "epsilon-2-seed-2", "epsilon-none-seed-1", "epsilon-none-seed-2"}
    assert {p.name for p in out.iterdir() if p.is_dir()} == names
    reports = {n: json.loads((out / n / "report.json").read_text()) for n in names}
    private = reports["epsilon-2-seed-1"]["metrics"]["for-you"]
    free = reports["epsilon-none-seed-1"]["metrics"]["for-you"]
    assert "fused-non-private" in private
    assert "fused-non-private" not in free
    assert private["ease"] == free["ease"]
    assert private["fused-non-private"] == free["fused"]
    assert reports["epsilon-none-seed-1"]["privacy"]["shop0"]["epsilon"] is None
    title = json.loads((out / "sweep.json").read_text())["title"]
    assert title.split(":")[0] in " ".join(result.stdout.split())
    assert title in (out / "sweep.html").read_text()


@pytest.mark.slow
def test_poisson_sampling_uses_the_prv_accountant(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "poisson"
    arguments = ["--sample-rate", "0.5", "--local-steps", "2", "--out", str(out), "--json"]
    result = run(*options(world), *arguments)
    assert result.exit_code == 0, result.output
    shop = json.loads(result.stdout)["privacy"]["shop0"]
    assert shop["sampling"] == "poisson"
    assert "PRV" in shop["accountant"]
    assert shop["steps"] == 6
    assert shop["epsilon"] == pytest.approx(shop["epsilon_check"], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["average", "fedsvd"])
def test_other_aggregations_train(world: Path, tmp_path: Path, aggregation: str) -> None:
    out = tmp_path / aggregation
    result = run(*options(world), "--aggregation", aggregation, "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    rounds = json.loads(result.stdout)["training"]["private"]
    assert [r["replies"] for r in rounds] == [3, 3, 3, 3, 3]


@pytest.mark.slow
def test_layers_of_the_encoder_train_by_configuration(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep"
    sets = ["--set", "training.examples_per_user=2", "--set", "training.max_context=4"]
    modules = '--set=model.target_modules=["profile_projection", "encoder.layer.1.output.dense"]'
    config = tmp_path / "deep.toml"
    config.write_text(f"[model]\n{modules.removeprefix('--set=model.')}\n")
    result = run(*options(world), *sets, "--config", str(config), "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    keys = (out / "adapter" / "adapter_config.json").read_text()
    assert "output.dense" in keys


BAD = [
    (["--epsilon", "0"], 2, ["--epsilon 0", "above 0"]),
    (["--epsilon", "x"], 2, ["--epsilon 'x'", "1,3,8,none"]),
    (["--epsilon", "3", "--no-privacy"], 2, ["exclude each other"]),
    (["--delta", "0.5"], 2, ["delta=0.5", "--delta"]),
    (["--set", "training.rond=1"], 2, ["training.rond", "unknown"]),
    (["--sample-rate", "0.01"], 2, ["sample_rate=0.01", "1 user", "--sample-rate"]),
    (["--data", "/does/not/exist"], 2, ["/does/not/exist"]),
    (["--encoder", "/does/not/exist"], 2, ["/does/not/exist"]),
    (["--resume"], 2, ["--resume", "--out"]),
    (["--set", "federation.min_replies=9"], 2, ["min_replies=9", "number of shops=3"]),
    (["--set", "model.rank=50"], 2, ["rank=50"]),
    (["--budget", "pears=1"], 2, ["--budget 'pears=1'", "counts, pairs, adapter"]),
    (["--budget", "counts=0.5,adapter=0.2"], 2, ["add up to 0.7", "must be 1"]),
    (["--budget", "pairs=1"], 2, ["counts_share=0 must be above 0", "--budget"]),
    (["--head-items", "1"], 2, ["head_items", "2"]),
    (
        ["--noise", "shared", "--set", "federation.robust=median"],
        2,
        ["federation.robust=median", "--noise shop"],
    ),
    (["--noise", "shared", "--local-steps", "2"], 2, ["local_steps=2 must be 1", "--noise shop"]),
]


@pytest.mark.parametrize(("arguments", "code", "parts"), BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    world: Path, tmp_path: Path, arguments: list[str], code: int, parts: list[str]
) -> None:
    out = ["--out", str(tmp_path / "run")] if "--resume" not in arguments else []
    result = run(*options(world), *arguments, *out)
    assert isinstance(result.exception, FedprofileError), result.exception
    message = str(result.exception)
    assert result.exception.exit_code == code
    assert "\n" not in message
    for part in parts:
        assert part in message
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_is_left_alone(world: Path, tmp_path: Path) -> None:
    kept = tmp_path / "run" / "thesis.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    result = run(*options(world), "--out", str(kept.parent))
    assert "exists and is not empty" in str(result.exception)
    assert [p.name for p in kept.parent.iterdir()] == ["thesis.txt"]


def test_items_with_one_text_only_are_refused(world: Path, tmp_path: Path) -> None:
    data = tmp_path / "same" / "data"
    shutil.copytree(world, data)
    items = pd.read_csv(data / "items.csv").assign(title="apple")
    items.to_csv(data / "items.csv", index=False)
    result = run(*options(world)[2:], "--data", str(data), "--out", str(tmp_path / "run"))
    assert "alike" in str(result.exception)


@pytest.mark.slow
def test_both_engines_train_the_same_adapter(world: Path, tmp_path: Path) -> None:
    tensors = []
    for engine in ("in-process", "ray"):
        out = tmp_path / engine
        result = run(*options(world), "--engine", engine, "--out", str(out), "--quiet")
        assert result.exit_code == 0, result.output
        tensors.append(load_file(out / "adapter" / "adapter_model.safetensors"))
    for name, tensor in tensors[0].items():
        assert tensors[1][name] == pytest.approx(tensor, abs=1e-5)
        if "lora_B" in name:
            assert np.abs(tensor).max() > 1e-3


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_going_on_works(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "shared", "simulate", *options(world), "--out", str(out)]
    command += ["--rounds", "400", "--no-privacy"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not list(out.glob("state/epsilon-*/round-*.safetensors")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == b""
    assert b"--resume" in errors
    assert b"Traceback" not in errors
    again = subprocess.run([*command, "--resume"], capture_output=True, check=False, timeout=300)
    assert again.returncode == 0, again.stderr
    assert (out / "report.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("limit", [2_000, 20_000, 100_000])
def test_a_full_disk_is_one_line_and_the_run_can_be_resumed(
    world: Path, tmp_path: Path, limit: int
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "shared", "simulate", *options(world), "--out", str(out)]
    command += ["--save-rankings"]

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    ended = subprocess.run(command, capture_output=True, check=False, preexec_fn=full, timeout=300)
    assert ended.returncode == 2, ended.stderr
    lines = ended.stderr.decode().splitlines()
    assert len(lines) == 1
    assert re.search(r"cannot (be written|take).*free", lines[0])
    assert not (out / "report.json").exists()
    again = subprocess.run([*command, "--resume"], capture_output=True, check=False, timeout=300)
    assert again.returncode == 0, again.stderr
