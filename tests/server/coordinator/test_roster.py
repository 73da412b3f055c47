"""The server's roster: what makes a new one, whose signature counts, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli import server as server_commands
from server.coordinator.folder import ServerFolder
from server.coordinator.invited_shops import InvitedShop
from server.coordinator.roster import (
    RosterFiles,
    RosterTerms,
    require_state,
    roster_state,
    signed_roster,
)
from shared.errors import ConfigError, PrivacyError
from shared.keys.signing import SigningKey, canonical
from shared.protocol.roster_messages import RosterAnswer
from shared.secure_aggregation.roster import sign_roster

KEYS = {f"shop{i}": SigningKey.generate() for i in range(4)}


def invite(folder: ServerFolder, *shops: str, first_id: int = 1) -> None:
    entries = [
        InvitedShop(shop=shop, node_id=first_id + i, key="PEM").model_dump(mode="json")
        for i, shop in enumerate(shops)
    ]
    folder.shops.write_bytes(canonical(entries))


def tell(folder: ServerFolder, *shops: str) -> None:
    for shop in shops:
        RosterFiles(folder).note(shop, RosterAnswer(key=KEYS[shop].public))


def sign(folder: ServerFolder, *shops: str) -> None:
    files = RosterFiles(folder)
    roster = files.roster()
    assert roster is not None
    for shop in shops:
        signature = sign_roster(KEYS[shop], roster)
        files.note(shop, RosterAnswer(key=KEYS[shop].public, signature=signature))


@pytest.fixture
def folder(tmp_path: Path) -> ServerFolder:
    made = ServerFolder(tmp_path)
    invite(made, *KEYS)
    tell(made, *KEYS)
    return made


def test_a_roster_needs_the_signatures_of_all(folder: ServerFolder) -> None:
    roster = RosterFiles(folder).propose()
    sign(folder, "shop0", "shop1", "shop2")
    with pytest.raises(ConfigError, match="is not accepted by the owners of shop3") as refused:
        signed_roster(folder)
    assert "`fedprofile server roster make`" in refused.value.remedy.text
    sign(folder, "shop3")
    assert signed_roster(folder).check() == roster
    assert require_state(folder)["waiting"] == []
    assert require_state(folder)["unsent"] == sorted(KEYS)


def test_no_roster_is_a_line_with_the_command(folder: ServerFolder) -> None:
    assert roster_state(folder) is None
    with pytest.raises(ConfigError, match="there is no roster") as refused:
        signed_roster(folder)
    assert refused.value.remedy.text == "make it with `fedprofile server roster make`"
    assert refused.value.exit_code == 2


def test_shops_that_have_not_told_their_keys_are_named(tmp_path: Path) -> None:
    folder = ServerFolder(tmp_path)
    invite(folder, *KEYS)
    tell(folder, "shop1", "shop3")
    with pytest.raises(ConfigError, match="shops=shop0, shop2 have not told their keys yet"):
        RosterFiles(folder).propose()
    assert RosterFiles(folder).roster() is None


def test_a_repetition_keeps_roster_and_signatures(folder: ServerFolder) -> None:
    first = RosterFiles(folder).propose()
    sign(folder, "shop0")
    tell(folder, "shop0", "shop1")
    assert RosterFiles(folder).propose() == first
    assert set(RosterFiles(folder).signatures(first)) == {"shop0"}


@pytest.mark.parametrize("change", ["joined", "left", "key", "numbers"])
def test_what_changes_makes_a_new_roster_without_signatures(
    folder: ServerFolder, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = RosterFiles(folder)
    first = files.propose()
    sign(folder, *KEYS)
    signed_roster(folder)
    if change == "joined":
        monkeypatch.setitem(KEYS, "shop4", SigningKey.generate())
        invite(folder, *KEYS)
        tell(folder, "shop4")
    elif change == "left":
        invite(folder, *list(KEYS)[:3])
    elif change == "key":
        monkeypatch.setitem(KEYS, "shop1", SigningKey.generate())
        tell(folder, "shop1")
    else:
        files.choose(RosterTerms(max_missing=0))
    if change != "numbers":
        name = {"joined": "shop4", "left": "shop3", "key": "shop1"}[change]
        assert require_state(folder)["changed"] == [name]
    second = files.propose()
    assert second.digest() != first.digest()
    assert files.signatures(second) == {}
    assert require_state(folder)["changed"] == []
    sign(folder, *second.keys)
    assert signed_roster(folder).check() == second


def test_numbers_that_were_chosen_stay_until_others_are(folder: ServerFolder) -> None:
    files = RosterFiles(folder)
    files.choose(RosterTerms(max_missing=0, max_colluding=2))
    assert (files.propose().max_missing, files.propose().max_colluding) == (0, 2)
    files.choose(RosterTerms())
    assert files.propose().max_colluding == 2
    files.choose(RosterTerms(max_colluding=0))
    assert (files.propose().max_missing, files.propose().max_colluding) == (0, 0)


@pytest.mark.parametrize("terms", [{"max_missing": 2}, {"max_colluding": 3}])
def test_numbers_for_too_few_shops_change_nothing(
    folder: ServerFolder, terms: dict[str, int]
) -> None:
    files = RosterFiles(folder)
    before = files.propose()
    with pytest.raises(PrivacyError, match="must be") as refused:
        files.choose(RosterTerms(**terms))
    assert refused.value.exit_code == 2
    assert files.terms() == RosterTerms()
    assert files.propose() == before


def test_two_shops_are_too_few(folder: ServerFolder) -> None:
    invite(folder, "shop0", "shop1")
    with pytest.raises(PrivacyError, match="must be between 3 and 1000"):
        RosterFiles(folder).choose(RosterTerms())


def test_a_wrong_signature_counts_for_nothing_and_takes_no_other_away(folder: ServerFolder) -> None:
    files = RosterFiles(folder)
    roster = files.propose()
    sign(folder, "shop0", "shop1")
    stolen = sign_roster(KEYS["shop0"], roster)
    files.note("shop2", RosterAnswer(key=KEYS["shop2"].public, signature=stolen))
    files.note("shop3", RosterAnswer(key=KEYS["shop3"].public, signature="0" * 128))
    assert set(files.signatures(roster)) == {"shop0", "shop1"}


def test_one_key_of_two_shops_is_refused_by_their_names(folder: ServerFolder) -> None:
    RosterFiles(folder).note("shop2", RosterAnswer(key=KEYS["shop0"].public))
    with pytest.raises(ConfigError, match="shop=shop2 has the same key as shop0"):
        RosterFiles(folder).propose()


def test_a_shop_that_is_invited_again_tells_its_key_again(folder: ServerFolder) -> None:
    invite(folder, *KEYS, first_id=2)
    with pytest.raises(ConfigError, match="have not told"):
        RosterFiles(folder).propose()


@pytest.mark.parametrize("name", ["keys", "terms", "signatures", "held", "roster"])
def test_a_damaged_file_is_named(folder: ServerFolder, name: str) -> None:
    files = RosterFiles(folder)
    files.choose(RosterTerms())
    files.propose()
    sign(folder, "shop0")
    path = folder.roster / f"{name}.json"
    path.write_bytes(b'{"shop0":')

    def make_and_show() -> None:
        files.choose(RosterTerms())
        files.propose()
        require_state(folder)

    with pytest.raises(ConfigError, match=rf"{name}\.json is damaged") as refused:
        make_and_show()
    assert "`fedprofile server roster make`" in refused.value.remedy.text


def test_show_asks_no_node(folder: ServerFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerFolder, "settings", lambda _: None)
    RosterFiles(folder).propose()
    sign(folder, "shop0", "shop1")
    told = CliRunner().invoke(server_commands, ["roster", "show", "--dir", str(folder.root)])
    assert told.exit_code == 0
    assert told.output.count("not accepted yet") == 2
    assert "next: the owners of shop2, shop3 compare the fingerprint" in told.output
    sign(folder, *KEYS)
    for shop, key in KEYS.items():
        RosterFiles(folder).note(
            shop, RosterAnswer(key=key.public, held=require_state(folder)["fingerprint"])
        )
    told = CliRunner().invoke(server_commands, ["roster", "show", "--dir", str(folder.root)])
    assert "next: nothing; all shops signed" in told.output
