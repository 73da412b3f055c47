"""A node's roster: what is offered changes nothing, and only the owner accepts."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from click.testing import CliRunner, Result
from flwr.app import ConfigRecord, RecordDict

from client.cli import node as node_commands
from client.deploy.folder import NodeFolder
from client.deploy.node_ledger import ledger_files, open_ledger
from client.deploy.node_process import node_status
from client.deploy.roster import (
    accept_roster,
    accepted_file,
    answer_roster,
    offered_file,
    own_key,
    roster_report,
    signed_file,
    signed_roster,
)
from shared.errors import ConfigError, FedprofileError, PrivacyError
from shared.keys.signing import SigningKey, canonical
from shared.protocol import messages
from shared.protocol.roster_messages import RosterAnswer
from shared.secure_aggregation.roster import (
    Roster,
    SignedRoster,
    make_roster,
    sign_roster,
)
from shared.secure_aggregation.roster_words import spoken
from tests.deploy.installing import Pair
from tests.deploy.requests import Requests

OTHERS = {name: SigningKey.generate() for name in ("east", "south", "west")}


def roster_of(folder: NodeFolder, *shops: str, **numbers: int) -> Roster:
    keys = {name: OTHERS[name].public for name in shops or OTHERS}
    return make_roster({**keys, "north": own_key(folder)}, **numbers)


def signed_by_all(folder: NodeFolder, roster: Roster) -> bytes:
    """The roster under the signatures of the others, and of the node if its owner accepted it."""
    own = answer_roster(folder, content=roster.content()).signature
    signatures = {name: sign_roster(OTHERS[name], roster) for name in roster.keys.keys() & OTHERS}
    signed = SignedRoster(roster=roster, signatures=signatures | ({"north": own} if own else {}))
    return canonical(signed.model_dump(mode="json"))


def command(folder: NodeFolder, *words: str) -> Result:
    return CliRunner().invoke(node_commands, ["roster", *words, "--dir", str(folder.root)])


def test_offered_accepted_and_signed_by_all(pair: Pair) -> None:
    folder, roster = pair.node, roster_of(pair.node)
    told = answer_roster(folder, content=roster.content())
    assert told == RosterAnswer(key=own_key(folder))
    assert hashlib.sha256(offered_file(folder).read_bytes()).hexdigest() == roster.digest()
    assert roster_report(folder)["state"] == "offered"

    assert accept_roster(folder, spoken(roster.digest())) == roster
    told = answer_roster(folder, content=roster.content())
    key = SigningKey.load(ledger_files(folder).key)
    assert told.signature == sign_roster(key, roster)
    assert told.held is None
    assert roster_report(folder)["state"] == "accepted"
    assert signed_roster(folder) is None

    told = answer_roster(folder, signed=signed_by_all(folder, roster))
    assert told.held == roster.digest()
    signed = signed_roster(folder)
    assert signed is not None
    assert signed.check() == roster
    status = node_status(folder)
    assert status["roster"]["state"] == roster_report(folder)["state"] == "signed"
    assert status["budget"]["budget_epsilon"] == 0
    assert {path.stat().st_mode & 0o077 for path in folder.roster.iterdir()} == {0}


def test_an_offer_replaces_no_accepted_roster(pair: Pair) -> None:
    folder, first = pair.node, roster_of(pair.node)
    answer_roster(folder, content=first.content())
    accept_roster(folder, first.digest())
    signed_first = signed_by_all(folder, first)
    answer_roster(folder, signed=signed_first)
    second = roster_of(folder, "east", "south", max_missing=0, max_colluding=0)
    assert answer_roster(folder, content=second.content()).signature is None
    signed = signed_roster(folder)
    assert signed is not None
    assert signed.roster == first
    report = roster_report(folder)
    assert report["state"] == "offered"
    assert report["changes"] == {
        "fingerprint": first.digest(),
        "joined": [],
        "left": ["west"],
        "new key": [],
        "numbers": ["max_missing 1 -> 0", "max_colluding 1 -> 0"],
    }
    accept_roster(folder, second.digest())  # from here on the first one counts for nothing
    assert signed_roster(folder) is None
    with pytest.raises(PrivacyError, match="was not accepted by the shop's owner"):
        answer_roster(folder, signed=signed_first)


def test_a_roster_that_the_owner_did_not_accept_is_not_kept_whoever_signed_it(pair: Pair) -> None:
    folder, roster = pair.node, roster_of(pair.node)
    key = SigningKey.load(ledger_files(folder).key)
    signatures = {name: sign_roster(own, roster) for name, own in (OTHERS | {"north": key}).items()}
    signed = SignedRoster(roster=roster, signatures=signatures)
    with pytest.raises(PrivacyError, match="was not accepted by the shop's owner"):
        answer_roster(folder, signed=canonical(signed.model_dump(mode="json")))
    assert not signed_file(folder).exists()


def test_a_missing_signature_is_refused(pair: Pair) -> None:
    folder, roster = pair.node, roster_of(pair.node)
    answer_roster(folder, content=roster.content())
    accept_roster(folder, roster.digest())
    whole = SignedRoster.model_validate_json(signed_by_all(folder, roster))
    some = {name: text for name, text in whole.signatures.items() if name != "west"}
    partly = SignedRoster(roster=roster, signatures=some)
    with pytest.raises(PrivacyError, match="west has not signed"):
        answer_roster(folder, signed=canonical(partly.model_dump(mode="json")))
    assert not signed_file(folder).exists()


@pytest.mark.parametrize("place", ["another key", "no place"])
def test_a_roster_without_the_shops_own_key_is_not_shown(pair: Pair, place: str) -> None:
    folder = pair.node
    keys = {name: key.public for name, key in OTHERS.items()}
    if place == "another key":
        keys["north"] = SigningKey.generate().public
    told = answer_roster(folder, content=make_roster(keys).content())
    assert told == RosterAnswer(key=own_key(folder))
    assert not offered_file(folder).exists()


def test_after_the_key_has_changed_the_old_roster_counts_for_nothing(pair: Pair) -> None:
    folder, first = pair.node, roster_of(pair.node)
    answer_roster(folder, content=first.content())
    accept_roster(folder, first.digest())
    answer_roster(folder, signed=signed_by_all(folder, first))
    old = own_key(folder)
    open_ledger(folder).rotate_key()
    assert signed_roster(folder) is None
    assert not roster_report(folder)["own_key_listed"]
    assert "do not accept it" in command(folder, "show").output
    with pytest.raises(PrivacyError, match="lists another key for north"):
        accept_roster(folder, first.digest())
    told = answer_roster(folder, content=first.content())
    assert told.key == own_key(folder) != old
    assert told.signature is None

    second = roster_of(folder)
    answer_roster(folder, content=second.content())
    assert roster_report(folder)["changes"]["new key"] == ["north"]
    accept_roster(folder, second.digest())
    assert answer_roster(folder, content=second.content()).signature is not None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda digits: digits[:31], "must have at least 32 digits"),
        (lambda digits: digits[:-1] + ("1" if digits[-1] == "0" else "0"), "is not that of"),
        (lambda digits: digits + "00", "is not that of"),
        (lambda _: "x" * 64, "is not that of"),
    ],
)
def test_another_fingerprint_accepts_nothing(pair: Pair, change: object, fault: str) -> None:
    folder, roster = pair.node, roster_of(pair.node)
    answer_roster(folder, content=roster.content())
    assert callable(change)
    with pytest.raises(ConfigError, match=fault) as refused:
        accept_roster(folder, change(roster.digest()))
    assert refused.value.exit_code == 2
    assert refused.value.remedy.text
    assert not accepted_file(folder).exists()


def test_without_an_offer_both_commands_say_what_to_do(pair: Pair) -> None:
    for words in (("show",), ("accept", "0" * 64)):
        error = command(pair.node, *words).exception
        assert isinstance(error, ConfigError)
        assert "no roster was offered" in str(error)
        assert "`fedprofile server roster make`" in error.remedy.text
    assert node_status(pair.node)["roster"]["words"] == "none offered yet"


def test_damaged_files_are_named_and_replaced_by_what_comes_next(pair: Pair) -> None:
    folder, roster = pair.node, roster_of(pair.node)
    answer_roster(folder, content=roster.content())
    accept_roster(folder, roster.digest())
    signed = signed_by_all(folder, roster)
    answer_roster(folder, signed=signed)
    signed_file(folder).write_bytes(b"{")
    with pytest.raises(ConfigError, match=r"signed\.json is damaged"):
        signed_roster(folder)
    assert node_status(folder)["roster"]["state"] == "damaged"
    assert answer_roster(folder).held is None
    assert answer_roster(folder, signed=signed).held == roster.digest()
    offered_file(folder).write_bytes(b"[]")
    with pytest.raises(ConfigError, match=r"offered\.json is damaged"):
        roster_report(folder)
    answer_roster(folder, content=roster.content())
    accepted_file(folder).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"accepted\.json is damaged"):
        signed_roster(folder)
    accept_roster(folder, roster.digest())
    assert signed_roster(folder) is not None


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b" " * 2_000_000], ids=range(6)
)
def test_what_is_no_roster_is_refused(pair: Pair, content: bytes) -> None:
    for offer in ({"content": content}, {"signed": content}):
        with pytest.raises(FedprofileError):
            answer_roster(pair.node, **offer)
    assert not pair.node.roster.exists()


def test_another_spelling_of_a_roster_is_refused(pair: Pair) -> None:
    content = json.dumps(json.loads(roster_of(pair.node).content()), indent=1).encode()
    with pytest.raises(PrivacyError, match="not in canonical form"):
        answer_roster(pair.node, content=content)


def test_show_says_everything_that_the_owner_decides_on(pair: Pair) -> None:
    folder, roster = pair.node, roster_of(pair.node)
    answer_roster(folder, content=roster.content())
    told = command(folder, "show")
    assert told.exit_code == 0
    own = next(line for line in told.output.splitlines() if "your own" in line)
    assert "north" in own
    assert spoken(own_key(folder)[:16]) in own
    for words in (
        "federation test, 4 shops",
        f"fingerprint {spoken(roster.digest())}",
        "1 of 4 shops may be missing",
        "1 of 4 may be dishonest",
        "3 shops at least are in every sum",
        "1/2 of the noise's variance",
        "offered by the server, not accepted by you",
        "by telephone or in person and never through the server",
    ):
        assert words in told.output
    done = command(folder, "accept", *spoken(roster.digest()).split("-"))
    assert done.exit_code == 0, done.exception
    assert json.loads(command(folder, "show", "--json").output)["state"] == "accepted"


def test_the_request_needs_no_data_and_a_bad_one_is_answered_by_a_code(pair: Pair) -> None:
    folder, roster = pair.node, roster_of(pair.node)
    shutil.rmtree(folder.settings().data)
    kind = f"query.{messages.ROSTER_QUERY}"
    requests = Requests(pair)
    content = RecordDict({messages.ROSTER: ConfigRecord({"content": roster.content()})})
    reply = requests.ask(kind, content).content.config_records
    assert RosterAnswer.of(reply[messages.ROSTER]).key == own_key(folder)
    assert offered_file(folder).exists()
    bad = RecordDict({messages.ROSTER: ConfigRecord({"content": "text"})})
    reply = requests.ask(kind, bad).content.config_records
    assert reply[messages.STATUS]["code"] == "internal"
    assert messages.ROSTER not in reply
