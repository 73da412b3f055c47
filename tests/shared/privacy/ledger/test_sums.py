"""Rosters, sets and openings of sums in a ledger: one of each, as the roster allows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import PrivacyError
from shared.keys.signing import SigningKey, canonical
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.line_format import signed_bytes
from shared.privacy.ledger.reporting.evidence import Evidence
from shared.privacy.ledger.reporting.verify import verify
from shared.secure_aggregation.roster import Roster, make_roster
from tests.shared.privacy.ledger.shop_ledgers import full_run, open_ledger, request
from tests.shared.privacy.ledger.sums import (
    BINDING,
    KEYS,
    ROSTER,
    SHARED,
    SHOPS,
    aggregation,
    begin_run,
    decide,
    open_sum,
    shared_counts,
    signatures,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger whose run released its counts and has no set yet."""
    opened = open_ledger(tmp_path)
    begin_run(opened)
    return opened


def lines(ledger: Ledger) -> int:
    return len(ledger.chain.line_hashes)


def test_a_sum_is_recorded_and_read_back(ledger: Ledger, tmp_path: Path) -> None:
    decide(ledger)
    open_sum(ledger)
    again = open_ledger(tmp_path)
    assert again.chain.aggregations["r1"].roster == ROSTER.digest()
    assert again.chain.sets["r1", "counts"].survivors == SHOPS[:4]
    assert set(again.chain.opened["r1", "counts"].signatures) == set(SHOPS[:4])
    assert verify(tmp_path / "north.jsonl", Evidence()).ok


def test_the_same_again_adds_no_line(ledger: Ledger) -> None:
    decide(ledger)
    open_sum(ledger)
    before = lines(ledger)
    ledger.record_aggregation(aggregation())
    decide(ledger)
    open_sum(ledger)
    assert lines(ledger) == before


@pytest.mark.parametrize("changes", [{"setup": "6" * 64}, {"plan_digest": "7" * 64}])
def test_a_run_has_one_set_up(ledger: Ledger, changes: dict[str, str]) -> None:
    before = lines(ledger)
    with pytest.raises(PrivacyError, match="run=r1 has a roster and a set-up already"):
        ledger.record_aggregation(aggregation(**changes))
    assert lines(ledger) == before


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"max_colluding": 0, "noise_shops": 4}, "is not the fingerprint of these keys"),
        ({"max_missing": 0, "noise_shops": 4}, "is not the fingerprint"),
        ({"noise_shops": 4}, r"noise_shops=4 must be 3: shops - max_missing - max_colluding"),
    ],
)
def test_a_roster_that_was_not_signed_is_refused(
    tmp_path: Path, changes: dict[str, object], refusal: str
) -> None:
    with pytest.raises(PrivacyError, match=refusal):
        open_ledger(tmp_path).record_aggregation(aggregation().model_copy(update=changes))


def unchecked(**changes: object) -> Roster:
    """A roster that `Roster` itself would refuse."""
    fields = ROSTER.model_dump() | changes
    return Roster.model_construct(None, **fields)


@pytest.mark.parametrize(
    ("roster", "refusal"),
    [
        (make_roster({s: KEYS[s].public for s in ("east", "south", "west")}), "must name north"),
        (unchecked(keys=dict.fromkeys(SHOPS, "1" * 64)), "and each key once"),
        (unchecked(max_missing=2), r"2 \* \(shops - max_missing\)=6 must be above .*=6"),
    ],
)
def test_a_roster_whose_guarantee_does_not_hold_is_refused(
    tmp_path: Path, roster: Roster, refusal: str
) -> None:
    with pytest.raises(PrivacyError, match=refusal):
        open_ledger(tmp_path).record_aggregation(aggregation(roster=roster))


@pytest.mark.parametrize("roster_first", [True, False])
def test_noise_is_divided_as_the_roster_says(tmp_path: Path, roster_first: bool) -> None:
    ledger = open_ledger(tmp_path)
    plan = tuple(replace(m, shared_by=5) for m in SHARED)
    steps = [
        lambda: ledger.record_aggregation(aggregation()),
        lambda: ledger.reserve(request(0, plan=plan, mechanism=plan[1])),
    ]
    first, second = steps if roster_first else reversed(steps)
    first()
    with pytest.raises(PrivacyError, match="shared_by=5 must be noise_shops=3"):
        second()


def test_the_plan_of_roster_and_reservation_is_one(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.record_aggregation(aggregation(plan_digest="9" * 64))
    with pytest.raises(PrivacyError, match=r"plan_digest=.* must be 9999999999999999…"):
        ledger.reserve(shared_counts())


def test_a_sum_has_one_set(ledger: Ledger) -> None:
    decide(ledger)
    before = lines(ledger)
    for survivors, binding in (
        (SHOPS, BINDING),
        (SHOPS[:4], replace(BINDING, asked="b" * 64)),
    ):
        with pytest.raises(PrivacyError, match="release=counts has its set of shops already"):
            decide(ledger, survivors, binding=binding)
    assert lines(ledger) == before


@pytest.mark.parametrize(
    ("survivors", "refusal"),
    [
        (SHOPS[:3], "survivors=3 must be at least 4"),
        (("east", "south", "west", "zone"), "must hold north itself"),
        (("east", "north", "south", "stranger"), "must be shops of the roster, each once"),
        (("north", "east", "south", "west"), "must be shops of the roster, each once and in order"),
        (("east", "north", "south", "south", "west"), "each once"),
    ],
)
def test_sets_that_the_roster_does_not_allow_are_refused(
    ledger: Ledger, survivors: tuple[str, ...], refusal: str
) -> None:
    with pytest.raises(PrivacyError, match=refusal):
        decide(ledger, survivors)
    assert not ledger.chain.sets


def test_a_set_needs_a_roster_and_a_release(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    with pytest.raises(PrivacyError, match="run=r1 has no roster in this ledger"):
        decide(ledger)
    ledger.record_aggregation(aggregation())
    with pytest.raises(PrivacyError, match="run=r1 has no round in this ledger"):
        decide(ledger)


def test_a_name_that_is_none_of_a_sum_is_refused(ledger: Ledger) -> None:
    with pytest.raises(PrivacyError, match="cannot be recorded"):
        ledger.decide_set(run="r1", release="", binding="1" * 64, survivors=SHOPS)
    with pytest.raises(PrivacyError, match="cannot be recorded"):
        ledger.decide_set(run="r1", release="counts", binding="no digest", survivors=SHOPS)


def test_only_signatures_under_the_set_open_it(ledger: Ledger) -> None:
    with pytest.raises(PrivacyError, match="release=counts has no set of shops"):
        open_sum(ledger)
    decide(ledger)
    other_set, other_sum = signatures(SHOPS), replace(BINDING, release="pairs")
    for signed in (
        signatures(by=SHOPS[:3]),
        signatures(by=SHOPS[:3]) | {"west": other_set["west"]},
        signatures(by=SHOPS[:3]) | {"zone": KEYS["zone"].sign(BINDING.statement(SHOPS[:4]))},
        signatures(by=SHOPS[:3]) | {"west": SigningKey.generate().sign(b"anything")},
        signatures(by=SHOPS[:3]) | {"west": signatures(binding=other_sum)["west"]},
        signatures(by=SHOPS[:3]) | {"west": "no signature"},
        {},
    ):
        with pytest.raises(PrivacyError, match=r"signatures=[03] must be at least 4"):
            open_sum(ledger, signed)
    open_sum(ledger, {shop: s.upper() for shop, s in signatures().items()} | {"zone": "f" * 128})
    assert ledger.chain.opened["r1", "counts"].signatures == signatures()


def forged(path: Path, line: int, **changes: object) -> bytes:
    """Signs a changed line anew, as only the shop's own key can, and ends the ledger with it."""
    before = path.read_bytes().splitlines(keepends=True)
    fields = json.loads(before[line])
    fields["body"] |= changes
    key = SigningKey.load(path.parent / "keys" / "north.key")
    fields["signature"] = key.sign(signed_bytes(fields))
    return b"".join(before[:line]) + canonical(fields) + b"\n"


@pytest.mark.parametrize(
    ("line", "changes", "fault"),
    [
        (1, {"noise_shops": 5}, "line 1: noise_shops=5 must be 3"),
        (5, {"survivors": ["east", "north"]}, "line 5: survivors=2 must be at least 4"),
        (5, {"run": "other"}, "line 5: run=other has no roster"),
        (6, {"signatures": signatures(by=SHOPS[:3])}, "line 6: signatures=3 must be at least 4"),
        (
            6,
            {"signatures": signatures(SHOPS)},
            "line 6: shop=east has not signed this set of shops",
        ),
    ],
)
def test_verify_names_what_even_the_shop_itself_cannot_sign_away(
    ledger: Ledger, tmp_path: Path, line: int, changes: dict[str, object], fault: str
) -> None:
    decide(ledger)
    open_sum(ledger)
    path = tmp_path / "north.jsonl"
    path.write_bytes(forged(path, line, **changes))
    verdict = verify(path, Evidence())
    assert not verdict.ok
    assert fault in verdict.fault


def test_a_ledger_without_sums_reads_as_before(tmp_path: Path) -> None:
    plain = open_ledger(tmp_path)
    full_run(plain)
    assert not plain.chain.aggregations
    assert verify(tmp_path / "north.jsonl", Evidence()).ok
