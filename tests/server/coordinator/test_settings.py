"""How a coordinator splits its budget, and what it refuses to plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli import server as server_commands
from server.coordinator.folder import ServerFolder, ServerSettings
from server.coordinator.invited_shops import InvitedShop
from server.coordinator.setup import new_settings
from server.federation.public_plan import mechanisms_of
from server.runs.lifecycle import RunOptions, begin_run
from shared.errors import ConfigError
from shared.keys.signing import canonical
from tests.deploy.installing import Pair

OPTIONS = {
    "name": "test",
    "address": "127.0.0.1:1",
    "port": 1,
    "names": (),
    "time_unit": "order",
    "privacy.epsilon": 8.0,
    "privacy.delta": 1e-6,
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


@pytest.fixture
def invited(pair: Pair) -> Pair:
    """Two invited shops, of whose nodes no server runs."""
    entries = [InvitedShop(shop=name, node_id=i, key="none") for i, name in enumerate("ab")]
    content = canonical([entry.model_dump(mode="json") for entry in entries])
    pair.server.shops.write_bytes(content)
    return pair


def test_shared_noise_needs_a_roster_and_clips_no_single_update(invited: Pair) -> None:
    pair = invited
    shared = settings("privacy.noise=shared")
    run = shared.of_run(1, shared.model, noise="shared")
    assert run.federation.max_update_norm is None
    assert shared.of_run(1, shared.model).federation.max_update_norm == 10.0
    with pytest.raises(ConfigError, match=r"there is no roster.*fedprofile server roster make"):
        begin_run(pair.server, RunOptions(noise="shared"))
    assert not list(pair.server.runs.iterdir())


def test_options_are_those_of_a_new_run(invited: Pair) -> None:
    pair = invited
    taken = begin_run(pair.server, RunOptions("shop", "adapter"))
    privacy = taken.settings().privacy
    assert (privacy.counts_share, privacy.pairs_share, privacy.adapter_share) == (0, 0, 1)
    assert taken.roster() is None
    assert taken.price().endswith("in each shop; each shop adds all of the noise")


@pytest.mark.usefixtures("pair")
def test_the_split_is_an_option_of_init(tmp_path: Path) -> None:
    encoder = tmp_path / "all" / "encoder"
    words = ["init", "--dir", str(tmp_path / "other"), "--name", "n", "--address", "127.0.0.1:1"]
    words += ["--catalogue", str(tmp_path / "all" / "data" / "items.csv"), "--time-unit", "order"]
    words += ["--epsilon", "8", "--delta", "1e-6", "--set", f"model.encoder={encoder}"]
    words += ["--set", "model.dim=6", "--set", "model.rank=4", "--set", "model.alpha=4"]
    done = CliRunner().invoke(server_commands, [*words, "--budget", "counts=0.3,adapter=0.7"])
    assert done.exit_code == 0, done.output
    privacy = ServerFolder(tmp_path / "other").settings().privacy
    assert (privacy.counts_share, privacy.pairs_share, privacy.adapter_share) == (0.3, 0.0, 0.7)
    bad = CliRunner().invoke(server_commands, [*words, "--budget", "counts=0.3"])
    assert isinstance(bad.exception, ConfigError)
    assert "must be 1" in str(bad.exception)
