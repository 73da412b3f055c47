"""What a ledger admits, refuses and records."""

import json
import math
import os
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import PrivacyError
from shared.keys.signing import SigningKey
from shared.privacy.accounting.accountants import epsilon_gaussian
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.log.receipts import sign_last_line
from shared.privacy.ledger.reporting.status import read_ledger
from shared.privacy.ledger.spending import spent
from tests.shared.privacy.ledger.shop_ledgers import (
    LIMITS,
    PLAN,
    START,
    counts,
    full_run,
    open_ledger,
    request,
)


def lines(folder: Path, shop: str = "north") -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in (folder / f"{shop}.jsonl").read_text().splitlines()]


def kinds(folder: Path) -> list[str]:
    return [line["body"]["kind"] for line in lines(folder)]


def test_first_request_of_a_plan_pays_for_all_of_it_and_later_ones_pay_nothing(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    first = ledger.reserve(counts())
    expected = epsilon_gaussian(PLAN, 1e-5)
    assert math.isclose(first.epsilon, expected, abs_tol=0.005)
    assert kinds(tmp_path) == ["genesis", "reservation", "round"]
    later = [ledger.reserve(request(number)) for number in (1, 2, 3, 4)]
    assert {reservation.epsilon for reservation in later} == {first.epsilon}
    assert kinds(tmp_path)[3:] == ["round"] * 4
    assert ledger.spent().bound == first.epsilon


def test_reservation_records_all_that_an_auditor_needs(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.reserve(request(1, repeatable=True))
    body = lines(tmp_path)[1]["body"]
    assert body["mechanisms"][0] == {
        "name": "dp-sgd",
        "noise_multiplier": 4.0,
        "sample_rate": 1.0,
        "steps": 4,
        "max_norm": 0.01,
        "shared_by": 1,
        "grid": 2**20,
    }
    assert body["delta"] == 1e-5
    assert body["unit"].startswith("user")
    assert body["adjacency"] == "add or remove one user"
    assert body["plan_digest"] == request().plan_digest
    assert body["base_hash"] == "b" * 64
    assert set(body["versions"]) >= {"opacus", "dp-accounting", "torch", "fedprofile"}
    assert body["planning"] == "planned"
    assert abs(body["epsilon"] - body["epsilon_check"]) < 0.01
    assert lines(tmp_path)[2]["body"]["round"] == 1


def test_request_past_the_limit_is_refused_and_nothing_is_written(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    before = (tmp_path / "north.jsonl").read_bytes()
    loud = (Mechanism("dp-sgd", 1.0, 1.0, 4, 0.01),)
    with pytest.raises(PrivacyError, match="lifetime limit of 8") as refused:
        ledger.reserve(request(plan=loud))
    # mu = 1 a round: two rounds cost 7.3 at delta 1e-5, three cost 9.3
    told = str(refused.value)
    assert "epsilon 8 is left, in which 0 such runs fit, or 2 releases of dp-sgd" in told
    assert (tmp_path / "north.jsonl").read_bytes() == before
    ledger.reserve(request(plan=(replace(loud[0], steps=2),)))


def test_runs_add_up_until_the_limit(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    most = max(n for n in range(1, 50) if epsilon_gaussian(PLAN * n, 1e-5) <= 8.0)
    for number in range(most):
        ledger.reserve(request(run=f"r{number}", planning="planned"))
    with pytest.raises(PrivacyError, match="lifetime limit"):
        ledger.reserve(request(run="one too many", planning="planned"))
    assert ledger.spent().bound <= 8.0


def test_a_round_is_spent_once(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.reserve(request(1))
    with pytest.raises(PrivacyError, match="spent already"):
        ledger.reserve(request(1))
    with pytest.raises(PrivacyError, match="spent already"):
        Ledger.open(tmp_path / "north.jsonl").reserve(request(1))


def test_a_simulated_round_repeats_free_of_charge_only_with_the_same_inputs(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    first = ledger.reserve(request(1, repeatable=True))
    again = ledger.reserve(request(1, repeatable=True))
    assert (again.entry, again.repeated, first.repeated) == (first.entry, True, False)
    assert kinds(tmp_path) == ["genesis", "reservation", "round"]
    with pytest.raises(PrivacyError, match="with other inputs"):
        ledger.reserve(request(1, repeatable=True, inputs="f" * 64))
    with pytest.raises(PrivacyError, match="fresh noise"):
        ledger.reserve(request(1, repeatable=False))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (request(5), "takes 1 steps after 4, but 4 are reserved"),
        (
            request(2, mechanism=replace(PLAN[0], steps=1, noise_multiplier=3.9)),
            "but 0 are reserved",
        ),
        (request(2, mechanism=replace(PLAN[0], steps=1, sample_rate=0.5)), "but 0 are reserved"),
        (request(2, mechanism=replace(PLAN[0], steps=1, max_norm=0.02)), "but 0 are reserved"),
        (request(2, mechanism=replace(PLAN[0], steps=1, grid=0)), "but 0 are reserved"),
        (request(2, plan=(PLAN[0],)), "differs from what was reserved"),
        (request(2, repeatable=True), "repeatable=True"),
        (request(2, planning="adaptive"), "was reserved as planned"),
    ],
)
def test_a_round_that_does_not_fit_its_plan_is_refused(tmp_path, asked, message) -> None:
    ledger = open_ledger(tmp_path)
    for number in (1, 2, 3, 4) if asked.round == 5 else (1,):
        ledger.reserve(request(number))
    size = (tmp_path / "north.jsonl").stat().st_size
    with pytest.raises(PrivacyError, match=message):
        ledger.reserve(asked)
    assert (tmp_path / "north.jsonl").stat().st_size == size


def test_a_run_after_results_is_adaptive_unless_its_plan_was_reserved_before(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    reservation = ledger.reserve(request(1, run="r1"))
    ledger.reserve(request(1, run="r2"))
    ledger.commit(reservation, "1" * 64)
    ledger.reserve(request(1, run="r3"))
    ledger.reserve(request(2, run="r2"))
    planning = {r.body.run: r.body.planning for r in ledger.chain.reservations.values()}
    assert planning == {"r1": "planned", "r2": "planned", "r3": "adaptive"}
    paid = {r.body.run: r.body.mechanisms for r in ledger.chain.reservations.values()}
    assert paid["r2"] == PLAN
    assert paid["r3"] == (request().mechanism,)
    with pytest.raises(PrivacyError, match="not possible after adaptive"):
        ledger.reserve(request(1, run="r4", planning="planned"))


def test_a_changed_plan_under_the_same_run_is_adaptive_once_something_was_released(
    tmp_path,
) -> None:
    ledger = open_ledger(tmp_path)
    ledger.commit(ledger.reserve(request(1)), "1" * 64)
    ledger.reserve(request(2, plan_digest="e" * 64, plan=(Mechanism("dp-sgd", 9.0, 1.0, 4, 0.01),)))
    last = ledger.chain.reservations[max(ledger.chain.reservations)]
    assert last.body.planning == "adaptive"


def test_alerts_are_given_once_each(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    seen: list[int] = []
    for number in range(40):
        mild = (Mechanism("dp-sgd", 4.0, 1.0, 1, 0.01),)
        seen += ledger.reserve(request(run=f"r{number}", planning="planned", plan=mild)).alerts
        share = ledger.spent().bound / 8.0
        assert seen == [percent for percent in (50, 80, 95) if share >= percent / 100]


def test_window_limit_counts_what_the_window_holds(tmp_path) -> None:
    limits = LifetimeLimits(epsilon=8.0, delta=1e-5, window_days=30, window_epsilon=2.6)
    now = [START]
    ledger = Ledger.open_or_create(tmp_path, shop="north", limits=limits, clock=lambda: now[0])
    ledger.reserve(request(run="r1", planning="planned"))
    now[0] += timedelta(days=29)
    with pytest.raises(PrivacyError, match="last 30 days"):
        ledger.reserve(request(run="r2", planning="planned"))
    now[0] += timedelta(days=2)
    ledger.reserve(request(run="r2", planning="planned"))


def test_a_clock_that_goes_back_is_recorded_and_does_not_move_time(tmp_path) -> None:
    now = [START]
    ledger = Ledger.open_or_create(tmp_path, shop="north", limits=LIMITS, clock=lambda: now[0])
    now[0] = START - timedelta(days=400)
    ledger.reserve(request(1))
    entry = lines(tmp_path)[-1]
    assert entry["time"] == "2026-03-01T12:00:00Z"
    assert entry["clock"] == "2025-01-25T12:00:00Z"
    now[0] = START + timedelta(days=1)
    ledger.reserve(request(2))
    assert lines(tmp_path)[-1]["clock"] is None
    read_ledger(tmp_path / "north.jsonl")


def test_a_clock_that_goes_back_does_not_empty_the_window(tmp_path) -> None:
    limits = LifetimeLimits(epsilon=8.0, delta=1e-5, window_days=30, window_epsilon=2.6)
    now = [START]
    ledger = Ledger.open_or_create(tmp_path, shop="north", limits=limits, clock=lambda: now[0])
    ledger.reserve(request(run="r1", planning="planned"))
    now[0] = START - timedelta(days=400)
    with pytest.raises(PrivacyError, match="last 30 days"):
        ledger.reserve(request(run="r2", planning="planned"))


def test_commit_records_each_release_once(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    reservation = ledger.reserve(request(1))
    ledger.commit(reservation, "1" * 64)
    ledger.commit(reservation, "1" * 64)
    assert kinds(tmp_path).count("commit") == 1
    with pytest.raises(PrivacyError, match="release each reservation once"):
        ledger.commit(reservation, "2" * 64)
    assert ledger.committed(request(1)) == (reservation.entry, "1" * 64)
    assert ledger.committed(request(1, inputs="f" * 64)) is None
    assert ledger.committed(request(2)) is None


def test_countersignature_must_be_the_servers_over_this_head(tmp_path) -> None:
    ledger, server = open_ledger(tmp_path), SigningKey.generate()
    full_run(ledger)
    entry, head = ledger.last_line
    ledger.countersign(sign_last_line(server, shop="north", entry=entry, head=head))
    assert ledger.chain.countersigned == [entry]
    entry, head = ledger.last_line
    with pytest.raises(PrivacyError, match="must be north"):
        ledger.countersign(sign_last_line(server, shop="south", entry=entry, head=head))
    with pytest.raises(PrivacyError, match="signed another line"):
        ledger.countersign(sign_last_line(server, shop="north", entry=entry, head="0" * 64))
    forged = sign_last_line(server, shop="north", entry=entry, head=head)
    other = forged.model_copy(update={"server_key": SigningKey.generate().public})
    with pytest.raises(PrivacyError, match="not of the server's key"):
        ledger.countersign(other)
    assert ledger.last_line == (entry, head)


def test_keys_rotate_and_the_old_one_no_longer_signs(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    key_file = tmp_path / "keys" / "north.key"
    old = key_file.read_bytes()
    ledger.reserve(request(1))
    ledger.rotate_key()
    ledger.reserve(request(2))
    Ledger.open(tmp_path / "north.jsonl").reserve(request(3))
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    key_file.write_bytes(old)
    with pytest.raises(PrivacyError, match="does not fit the ledger"):
        Ledger.open(tmp_path / "north.jsonl")


def test_a_rotation_cut_short_by_a_crash_is_finished(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    key_file = tmp_path / "keys" / "north.key"
    old = key_file.read_bytes()
    ledger.rotate_key()
    key_file.rename(key_file.with_suffix(".next-key"))  # as if the last rename had not happened
    key_file.write_bytes(old)
    key_file.chmod(0o600)
    Ledger.open(tmp_path / "north.jsonl").reserve(request(1))
    assert key_file.read_bytes() != old


def test_keys_that_others_can_read_or_that_are_lost_are_refused(tmp_path) -> None:
    open_ledger(tmp_path)
    key_file = tmp_path / "keys" / "north.key"
    key_file.chmod(0o640)
    with pytest.raises(PrivacyError, match=r"mode 640.*chmod 600"):
        open_ledger(tmp_path)
    key_file.write_text("not a key")
    key_file.chmod(0o600)
    with pytest.raises(PrivacyError, match="not a PEM key"):
        open_ledger(tmp_path)
    key_file.unlink()
    with pytest.raises(PrivacyError, match="restore the key"):
        open_ledger(tmp_path)


def test_limits_are_fixed_at_the_genesis(tmp_path) -> None:
    open_ledger(tmp_path)
    with pytest.raises(PrivacyError, match="fixed at the genesis"):
        open_ledger(tmp_path, limits=LifetimeLimits(epsilon=9.0, delta=1e-5))
    for wrong in (
        LifetimeLimits(epsilon=1e-3, delta=1e-5),
        LifetimeLimits(epsilon=1.0, delta=1e-12),
        LifetimeLimits(epsilon=1.0, delta=1e-5, window_days=3),
    ):
        with pytest.raises(PrivacyError):
            open_ledger(tmp_path / "other", limits=wrong)
    assert not (tmp_path / "other").exists()


def test_shop_names_of_any_kind_have_files_of_their_own(tmp_path) -> None:
    names = ["../evil", "a/b", "a%2Fb", "Zürich West", ".", "keys"]
    for name in names:
        assert open_ledger(tmp_path / "l", name).shop == name
    assert len(list((tmp_path / "l").glob("*.jsonl"))) == len(names)
    assert [path.name for path in tmp_path.iterdir()] == ["l"]


def test_mechanisms_without_noise_or_unknown_are_refused(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    silent = (Mechanism("dp-sgd", 0.0, 1.0, 4, 0.01),)
    with pytest.raises(PrivacyError, match="bring epsilon to inf"):
        ledger.reserve(request(plan=silent))
    unknown = (Mechanism("laplace", 4.0, 1.0, 4, 0.01),)  # type: ignore[arg-type]
    with pytest.raises(PrivacyError, match="not known"):
        ledger.reserve(request(plan=unknown))
    assert spent(ledger.chain).bound == 0.0


def test_a_reservation_is_on_the_disk_before_it_is_given(tmp_path, monkeypatch) -> None:
    ledger = open_ledger(tmp_path)
    path, synced = tmp_path / "north.jsonl", []
    real = os.fsync

    def watch(descriptor: int) -> None:
        real(descriptor)
        synced.append((os.fstat(descriptor).st_ino, path.stat().st_size))

    monkeypatch.setattr(os, "fsync", watch)
    ledger.reserve(request(1))
    assert synced == [(path.stat().st_ino, path.stat().st_size)]


def test_a_failed_sync_spends_but_does_not_admit(tmp_path, monkeypatch) -> None:
    ledger = open_ledger(tmp_path)

    def fails(descriptor: int) -> None:  # noqa: ARG001
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        with pytest.raises(PrivacyError, match=r"Input/output error.*nothing is released"):
            ledger.reserve(request(1))
    assert ledger.spent().bound > 0
    with pytest.raises(PrivacyError, match="spent already"):
        ledger.reserve(request(1))


def test_a_later_run_that_could_not_end_does_not_begin(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    full_run(ledger)
    counted = Mechanism("item-counts", 3.0, 1.0, 1, 1.0)
    plan = (Mechanism("dp-sgd", 1.5, 1.0, 4, 0.01), counted)
    before = (tmp_path / "north.jsonl").read_bytes()
    counts_first = request(0, run="late", mechanism=counted, plan=plan)
    with pytest.raises(PrivacyError, match=r"in which 0 such runs fit, or 12 .* item-counts"):
        ledger.reserve(counts_first)
    assert (tmp_path / "north.jsonl").read_bytes() == before
    smaller = (replace(plan[0], noise_multiplier=6.0), counted)
    for number, mechanism in enumerate((counted, *[replace(smaller[0], steps=1)] * 4)):
        ledger.reserve(request(number, run="late", mechanism=mechanism, plan=smaller))
    assert ledger.spent().bound <= 8.0
