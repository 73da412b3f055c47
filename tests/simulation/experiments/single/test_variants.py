"""`fedprofile simulate` with other budgets, samplings, aggregations and layers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from shared.cli import root
from tests.simulation.commands import run
from tests.simulation.tiny_shops import options

pytestmark = pytest.mark.usefixtures("cache")


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
