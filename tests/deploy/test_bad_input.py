"""A user's mistake is one clear line with the remedy, exit code 2, and nothing spent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from client.cli import node as node_commands
from client.deploy.folder import NodeFolder
from client.deploy.node_ledger import open_ledger
from client.deploy.node_process import check_package
from client.deploy.shop_data import load_shop, problems
from client.deploy.shop_source import DeployedShop
from server.cli import server as server_commands
from shared.errors import ConfigError, DataError, FedprofileError
from shared.protocol.invitation import read_invitation
from tests.deploy.installing import Pair


def test_a_config_of_another_version_is_refused(pair: Pair) -> None:
    for path, read in (
        (pair.node.config, pair.node.settings),
        (pair.server.root / "server.toml", pair.server.settings),
    ):
        path.write_text(path.read_text().replace("version = 1", "version = 2"))
        with pytest.raises(ConfigError, match="version=2 must be 1; make it anew with `fedprofile"):
            read()


@pytest.mark.parametrize(
    ("words", "side"),
    [
        (("node", "check-data"), "node"),
        (("node", "start"), "node"),
        (("node", "status"), "node"),
        (("server", "start"), "server"),
        (("server", "run"), "server"),
        (("server", "status"), "server"),
    ],
)
def test_every_command_ends_in_one_line_on_a_config_of_another_version(
    pair: Pair,
    words: tuple[str, str],
    side: str,
) -> None:
    ledger = spent(pair)
    folder = pair.node.root if side == "node" else pair.server.root
    config = folder / f"{side}.toml"
    config.write_text(config.read_text().replace("version = 1", "version = 2"))
    commands = node_commands if side == "node" else server_commands
    found = CliRunner().invoke(commands, [words[1], "--dir", str(folder)]).exception
    assert isinstance(found, FedprofileError)
    assert found.exit_code == 2
    assert "version=2 must be 1; make it anew" in str(found)
    assert "\n" not in str(found)
    assert spent(pair) == ledger


def test_a_running_node_refuses_after_its_columns_or_its_config_changed(pair: Pair) -> None:
    ledger, data = spent(pair), Path(pair.node.settings().data) / "interactions.csv"
    before = data.read_text()
    data.write_text(before.replace("item_id", "sku", 1))
    with pytest.raises(DataError, match="item_id") as caught:
        DeployedShop(pair.node).open({})
    assert "\n" not in str(caught.value)
    words = ["check-data", "--dir", str(pair.node.root)]
    found = CliRunner().invoke(node_commands, words).exception
    assert isinstance(found, DataError)
    assert found.exit_code == 2
    data.write_text(before)
    DeployedShop(pair.node).open({})
    config = pair.node.config
    config.write_text(config.read_text().replace("version = 1", "version = 2"))
    with pytest.raises(ConfigError, match="version=2"):
        DeployedShop(pair.node).open({})
    assert spent(pair) == ledger


def spent(pair: Pair) -> bytes:
    return next(pair.node.ledgers.glob("*.jsonl")).read_bytes()


def test_an_invitation_that_was_changed_is_noticed(pair: Pair) -> None:
    path = pair.node.root / "invitation.json"
    offer = read_invitation(path)
    path.write_bytes(path.read_bytes().replace(b"frozen", b"melted"))
    changed = read_invitation(path)
    assert changed.fingerprint() != offer.fingerprint()
    with pytest.raises(ConfigError, match="catalogue_hash="):
        load_shop(pair.node.settings(), changed.base)


def test_other_installed_code_does_not_start_until_the_owner_accepts_it(
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert check_package(pair.node, accept=False) == pair.node.settings()
    monkeypatch.setattr("client.deploy.node_process.package_hash", lambda: "0" * 64)
    with pytest.raises(ConfigError, match="start once with --accept-package"):
        check_package(pair.node, accept=False)
    check_package(pair.node, accept=True)
    assert pair.node.settings().package == "0" * 64


def test_data_that_cannot_be_used_are_named(pair: Pair, tmp_path: Path) -> None:
    settings, base = pair.node.settings(), pair.node.invitation().base
    for data in (tmp_path / "nowhere", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=data.name):
            load_shop(settings.model_copy(update={"data": str(data)}), base)


def test_items_outside_the_catalogue_stay_out_of_the_events(pair: Pair) -> None:
    settings = pair.node.settings()
    file = Path(settings.data) / "interactions.csv"
    before = load_shop(settings, pair.node.invitation().base)
    file.write_text(file.read_text() + "u1,own-item,9,shop0\n")
    data = load_shop(settings, pair.node.invitation().base)
    assert len(data.events) == len(before.events)
    assert data.report["dropped"]["unknown_item"] == 1
    assert any(
        "1 events are of items outside the public catalogue" in p for p in problems(data, settings)
    )


def test_a_node_trains_on_persons_where_its_users_table_links_ids(pair: Pair) -> None:
    settings, base = pair.node.settings(), pair.node.invitation().base
    before = load_shop(settings, base)
    table = Path(settings.data) / "users.csv"
    ids = pd.read_csv(Path(settings.data) / "interactions.csv")["user_id"].unique()
    linked = [f"{user},{'p' if number < 3 else ''}" for number, user in enumerate(ids)]
    table.write_text("\n".join(["user_id,person_id", *linked]) + "\n")
    data = load_shop(settings, base)
    assert (data.report["users"], data.n_users) == (before.n_users, before.n_users - 2)
    assert data.report["persons"] == data.n_users == len(np.unique(data.events.user))
    assert len(data.events) == len(before.events)


def test_unit_and_budget_have_no_default(pair: Pair, tmp_path: Path) -> None:
    words = ["init", "--dir", str(tmp_path / "new"), "--shop", "north"]
    words += ["--invitation", str(pair.node.root / "invitation.json"), "--data", str(tmp_path)]
    found = CliRunner().invoke(node_commands, words)
    assert isinstance(found.exception, FedprofileError)
    assert found.exception.exit_code == 2
    assert str(found.exception).startswith("unit=none has no default")
    words += ["--unit", "user", "--epsilon", "3"]
    assert "delta=none has no default" in str(CliRunner().invoke(node_commands, words).exception)
    assert not (tmp_path / "new").exists()


def test_users_are_stated_once_and_a_larger_number_is_a_line_of_the_ledger(pair: Pair) -> None:
    words = ["--dir", str(pair.node.root)]
    before = spent(pair)
    done = CliRunner().invoke(node_commands, ["max-users", "500000", *words])
    assert done.output == "at most 500000 users; lifetime delta 2e-07 from here on\n"
    assert spent(pair).startswith(before)
    limits = pair.node.settings().limits
    assert (limits.max_users, limits.delta) == (500_000, 2e-7)
    DeployedShop(pair.node).open({})
    raised = spent(pair)
    for number, delta in (("500000", []), ("9", []), ("900000", ["--delta", "1e-3"])):
        found = CliRunner().invoke(node_commands, ["max-users", number, *delta, *words]).exception
        assert isinstance(found, FedprofileError)
        assert found.exit_code == 2
    assert spent(pair) == raised
    # A command that was cut short between ledger and node.toml is finished by its repetition.
    pair.node.config.write_text(pair.node.config.read_text().replace("500000", "1000"))
    assert CliRunner().invoke(node_commands, ["max-users", "500000", *words]).exception is None
    assert spent(pair) == raised
    assert pair.node.settings().limits.max_users == 500_000
    # A renewal is in the ledger alone: it is no bound of users, and stays when that is raised.
    open_ledger(pair.node).renew(epsilon=20.0, reason="a test")
    assert CliRunner().invoke(node_commands, ["max-users", "600000", *words]).exception is None
    assert pair.node.settings().limits.epsilon == 8.0
    assert open_ledger(pair.node).chain.limits.epsilon == 20.0
    assert open_ledger(pair.node).chain.limits.max_users == 600_000


def test_delta_is_held_against_the_stated_users_alone(pair: Pair, tmp_path: Path) -> None:
    words = ["init", "--dir", str(tmp_path / "new"), "--shop", "north", "--unit", "user"]
    words += ["--invitation", str(pair.node.root / "invitation.json"), "--data", str(tmp_path)]
    words += ["--epsilon", "3", "--delta", "1e-5"]
    found = CliRunner().invoke(node_commands, words).exception
    assert isinstance(found, FedprofileError)
    assert found.told({"delta", "max-users"}) == (
        "delta=1e-05 must be at most 1e-06, one over ten times max_users=100000; lower it with "
        "--delta, or state fewer users with --max-users"
    )
    assert not (tmp_path / "new").exists()


def test_a_shop_beyond_its_stated_users_answers_and_tells_its_owner_alone(pair: Pair) -> None:
    settings = pair.node.settings()
    file = Path(settings.data) / "interactions.csv"
    rows = "".join(f"more{n},i0,1,shop0\nmore{n},i1,2,shop0\n" for n in range(1_000))
    file.write_text(file.read_text() + rows)
    DeployedShop(pair.node).open({})
    done = CliRunner().invoke(node_commands, ["check-data", "--dir", str(pair.node.root)])
    assert "is above max_users=1000" in done.output


def test_a_folder_without_a_node_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make it with `fedprofile node init`"):
        NodeFolder(tmp_path).require()
