"""A user's mistake is one clear line with the remedy, exit code 2, and nothing spent."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from installing import Pair

from client.cli import node as node_commands
from client.deploy.folder import NodeFolder
from client.deploy.shop_data import load_shop, problems
from client.deploy.source import DeployedShop
from client.deploy.supernode import check_package
from server.cli import server as server_commands
from server.deploy.invited_grid import HeadBook
from shared.deploy.invitation import read_invitation
from shared.errors import ConfigError, DataError, FedprofileError
from shared.privacy.ledger.keys import SigningKey


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
    monkeypatch.setattr("client.deploy.supernode.package_hash", lambda: "0" * 64)
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


def test_unit_and_budget_have_no_default(pair: Pair, tmp_path: Path) -> None:
    words = ["init", "--dir", str(tmp_path / "new"), "--shop", "north"]
    words += ["--invitation", str(pair.node.root / "invitation.json"), "--data", str(tmp_path)]
    found = CliRunner().invoke(node_commands, words)
    assert isinstance(found.exception, FedprofileError)
    assert found.exception.exit_code == 2
    assert str(found.exception).startswith("--unit: has no default")
    words += ["--unit", "user", "--epsilon", "3"]
    assert "--delta: has no default" in str(CliRunner().invoke(node_commands, words).exception)
    assert not (tmp_path / "new").exists()


def test_a_folder_without_a_node_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make it with `fedprofile node init`"):
        NodeFolder(tmp_path).require()


def test_a_head_that_goes_back_is_not_signed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    book = HeadBook(tmp_path, SigningKey.generate())
    first = book.accept("north", entry=3, head="a" * 64)
    assert first is not None
    assert first.holds()
    assert book.accept("north", entry=3, head="a" * 64) == first
    for entry, head in ((2, "b" * 64), (3, "b" * 64), (4, "a" * 64), (-1, "c" * 64), (5, "x")):
        assert book.accept("north", entry=entry, head=head) is None
    second = book.accept("north", entry=5, head="b" * 64)
    assert book.last("north") == second
    assert book.last("south") is None
    assert "was replaced by an older copy" in caplog.text
