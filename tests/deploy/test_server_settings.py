"""How a coordinator splits its budget, and what it refuses to plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from installing import Pair

from server.cli import server as server_commands
from server.deploy.folder import ServerFolder, ServerSettings
from server.deploy.new_settings import new_settings
from server.planning import mechanisms_of
from shared.errors import ConfigError

OPTIONS = {
    "name": "test",
    "address": "127.0.0.1:1",
    "port": 1,
    "names": (),
    "time_unit": "order",
    "privacy.epsilon": 8.0,
    "privacy.delta": 1e-3,
}


def settings(*sets: str, **options: object) -> ServerSettings:
    return new_settings({**OPTIONS, **options}, sets)


@pytest.mark.parametrize(("unit", "head"), [("order", 1000), ("days", 250)])
def test_a_deployment_releases_what_a_simulation_does(unit: str, head: int) -> None:
    made = settings(time_unit=unit)
    run = made.of_run(1, made.model)
    assert [m.name for m in mechanisms_of(run)] == ["dp-sgd", "item-counts", "pair-sums"]
    privacy = run.privacy
    assert (privacy.counts_share, privacy.pairs_share, privacy.adapter_share) == (0.2, 0.6, 0.2)
    assert (privacy.head_items, privacy.noise) == (head, "shop")
    chosen = settings("privacy.head_items=77", time_unit=unit)
    assert chosen.of_run(1, chosen.model).privacy.head_items == 77


def test_shared_noise_is_refused_before_anything_is_made(pair: Pair) -> None:
    with pytest.raises(ConfigError, match=r"privacy\.noise=shared must be shop"):
        settings("privacy.noise=shared")
    path = pair.server.root / "server.toml"
    path.write_text(path.read_text().replace('noise = "shop"', 'noise = "shared"'))
    with pytest.raises(ConfigError, match=r"privacy\.noise=shared must be shop"):
        pair.server.settings()


@pytest.mark.usefixtures("pair")
def test_the_split_is_an_option_of_init(tmp_path: Path) -> None:
    encoder = tmp_path / "all" / "encoder"
    words = ["init", "--dir", str(tmp_path / "other"), "--name", "n", "--address", "127.0.0.1:1"]
    words += ["--catalogue", str(tmp_path / "all" / "data" / "items.csv"), "--time-unit", "order"]
    words += ["--epsilon", "8", "--delta", "1e-3", "--set", f"model.encoder={encoder}"]
    words += ["--set", "model.dim=6", "--set", "model.rank=4", "--set", "model.alpha=4"]
    done = CliRunner().invoke(server_commands, [*words, "--budget", "counts=0.3,adapter=0.7"])
    assert done.exit_code == 0, done.output
    privacy = ServerFolder(tmp_path / "other").settings().privacy
    assert (privacy.counts_share, privacy.pairs_share, privacy.adapter_share) == (0.3, 0.0, 0.7)
    bad = CliRunner().invoke(server_commands, [*words, "--budget", "counts=0.3"])
    assert isinstance(bad.exception, ConfigError)
    assert "must be 1" in str(bad.exception)
