"""A renewed budget: linked, never forgotten, and every figure over all renewals."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from shared.cli import root
from shared.errors import PrivacyError
from shared.keys.signing import SigningKey, canonical
from shared.privacy.accounting.accountants import epsilon_pair
from shared.privacy.ledger import renyi_filter
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.log.line_format import line_hash, signed_bytes
from shared.privacy.ledger.reporting.evidence import Evidence
from shared.privacy.ledger.reporting.status import budget_status, read_ledger
from shared.privacy.ledger.reporting.verify import verify
from shared.privacy.ledger.rounds_left import rounds_that_fit
from shared.privacy.ledger.spending import spent, spent_of_budget
from tests.shared.privacy.ledger.shop_ledgers import PLAN, START, full_run, open_ledger, request

LIMITS = LifetimeLimits(epsilon=2.5, delta=1e-5)
"""`PLAN` costs 2.114, and twice more than this."""


def planned(ledger: Ledger, run: str) -> None:
    ledger.reserve(request(1, run=run, planning="planned"))


@pytest.fixture
def renewed(tmp_path) -> Ledger:
    ledger = open_ledger(tmp_path, limits=LIMITS)
    planned(ledger, "first")
    with pytest.raises(PrivacyError, match=r"lifetime limit of 2\.5"):
        planned(ledger, "second")
    ledger.renew(epsilon=3, reason="board decision 12:  a new\nyear")
    return ledger


def path_of(ledger: Ledger) -> Path:
    return Path(ledger._writer.files.ledger)


def test_a_renewal_is_linked_to_all_that_was_spent(renewed: Ledger) -> None:
    (body,) = renewed.chain.renewals.values()
    assert body.head == renewed.chain.line_hashes[renewed.chain.renewed - 1]
    assert (body.epsilon, body.epsilon_check) == epsilon_pair(PLAN, 1e-5)
    assert (body.limits_before, body.limits.epsilon) == (LIMITS, 3)
    assert body.limits.delta == LIMITS.delta
    assert body.reason == "board decision 12: a new year"


def test_admission_counts_since_the_renewal_and_reports_count_everything(renewed: Ledger) -> None:
    before = budget_status(renewed.chain, now=START)
    assert (before.budget_epsilon, before.remaining, before.percent) == (0, 3, 0)
    assert before.epsilon == max(epsilon_pair(PLAN, 1e-5))
    planned(renewed, "second")
    account = budget_status(renewed.chain, now=START)
    assert account.budget_epsilon == pytest.approx(max(epsilon_pair(PLAN, 1e-5)))
    assert account.epsilon == pytest.approx(max(epsilon_pair(PLAN * 2, 1e-5)))
    assert account.remaining == pytest.approx(3 - account.budget_epsilon)
    assert account.limit == 3
    assert account.renewals == 1
    last = renewed.chain.reservations[max(renewed.chain.reservations)].body
    assert last.epsilon == pytest.approx(account.epsilon, abs=1e-5)  # a line states the total
    with pytest.raises(PrivacyError, match=r"the limit since the renewal in line 3 of 3"):
        planned(renewed, "third")


def test_permits_and_forecasts_go_by_the_budget_in_force(renewed: Ledger) -> None:
    permit = renewed.reserve(request(1, run="second", planning="planned"))
    assert permit.epsilon == pytest.approx(max(epsilon_pair(PLAN, 1e-5)))
    assert (permit.limit, permit.alerts) == (3, (50,))
    a_round = (PLAN[1],)
    fits = rounds_that_fit(renewed.chain, a_round)
    assert max(epsilon_pair([*PLAN, *a_round * fits], 1e-5)) <= 3
    assert max(epsilon_pair([*PLAN, *a_round * (fits + 1)], 1e-5)) > 3


def test_adaptive_releases_keep_their_one_order_over_renewals(tmp_path) -> None:
    ledger = open_ledger(tmp_path, limits=LifetimeLimits(epsilon=5, delta=1e-5))
    number = 0

    def until_refused() -> int:
        nonlocal number
        admitted = 0
        while True:
            number += 1
            try:
                ledger.reserve(request(number, planning="adaptive"))
            except PrivacyError:
                return admitted
            admitted += 1

    first = until_refused()
    fixed = ledger.chain.filter
    ledger.renew(epsilon=5, reason="again")
    assert rounds_that_fit(ledger.chain, (request(1).mechanism,), "adaptive") == first
    second = until_refused()
    assert second == first > 0
    assert ledger.chain.filter == fixed
    assert fixed is not None
    each = fixed.order / (2 * PLAN[0].noise_multiplier ** 2)
    charge = renyi_filter.charge(fixed.order, 5e-6)
    assert spent(ledger.chain).bound == pytest.approx(2 * first * each + charge)
    assert spent_of_budget(ledger.chain).bound == pytest.approx(first * each + charge)


def test_windows_reach_over_a_renewal(tmp_path) -> None:
    limits = LifetimeLimits(epsilon=8, delta=1e-5, window_days=30, window_epsilon=2.5)
    ledger = open_ledger(tmp_path, limits=limits)
    planned(ledger, "first")
    ledger.renew(epsilon=8, reason="why not")
    with pytest.raises(PrivacyError, match="last 30 days"):
        planned(ledger, "second")
    later = budget_status(ledger.chain, now=START + timedelta(days=1))
    assert later.window_epsilon == pytest.approx(later.epsilon)
    ledger.renew(epsilon=8, reason="a wider window", window_days=30, window_epsilon=4)
    planned(ledger, "second")
    assert ledger.chain.limits.window_epsilon == 4


def test_a_ledger_opens_by_the_limits_of_its_genesis(renewed: Ledger) -> None:
    again = open_ledger(path_of(renewed).parent, limits=LIMITS)
    assert again.chain.limits.epsilon == 3
    with pytest.raises(PrivacyError, match="fixed at the genesis"):
        open_ledger(path_of(renewed).parent, limits=LifetimeLimits(epsilon=3, delta=1e-5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epsilon": 0.001}, "epsilon=0.001 must be between"),
        ({"epsilon": 400}, "epsilon=400 must be between"),
        ({"reason": "  \n"}, "reason='' must have 1 to 500 characters"),
        ({"reason": "x" * 501}, "and has 501"),
        ({"window_days": 3}, "go together"),
    ],
)
def test_bad_renewals_change_nothing(renewed: Ledger, values, message) -> None:
    before = path_of(renewed).read_bytes()
    with pytest.raises(PrivacyError, match=message) as caught:
        renewed.renew(**({"epsilon": 3, "reason": "more"} | values))
    assert "\n" not in str(caught.value)
    assert path_of(renewed).read_bytes() == before


def rewrite(ledger: Ledger, **changes: object) -> None:
    """Lets the shop itself write its last line, a renewal, anew with other content, and sign it."""
    path = path_of(ledger)
    key = SigningKey.load(ledger._writer.files.key)
    *lines, last = path.read_bytes().splitlines()
    fields = json.loads(last)
    fields["body"] |= changes
    fields["signature"] = key.sign(signed_bytes(fields))
    path.write_bytes(b"".join(line + b"\n" for line in (*lines, canonical(fields))))
    assert line_hash(canonical(fields)) != line_hash(last)


LIMITS_OF_3 = {"window_days": None, "window_epsilon": None, "epsilon": 3.0}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"head": "a" * 64}, "the renewal is of another ledger"),
        ({"epsilon": 0.0, "epsilon_check": 0.0}, "epsilon=0 is what the line states"),
        ({"limits_before": {"epsilon": 8.0, "delta": 1e-5}}, "is not what was in force"),
        ({"limits": LIMITS_OF_3 | {"delta": 1e-3}}, "changes more than epsilon and its window"),
    ],
)
def test_a_renewal_that_lies_fails_verification(renewed: Ledger, changes, fault) -> None:
    assert verify(path_of(renewed), Evidence()).ok
    full = {n: v | dict.fromkeys(LIMITS_OF_3) | v for n, v in changes.items() if "limits" in n}
    rewrite(renewed, **(changes | full))
    verdict = verify(path_of(renewed), Evidence())
    assert not verdict.ok
    assert fault in verdict.fault


def test_a_changed_reason_breaks_the_signature(renewed: Ledger) -> None:
    path = path_of(renewed)
    path.write_bytes(path.read_bytes().replace(b"board decision", b"union decision"))
    assert "signature" in verify(path, Evidence()).fault


def test_status_report_and_verify_show_the_sum(renewed: Ledger) -> None:
    planned(renewed, "second")
    renewed.renew(epsilon=1, reason="pipes | and <tags>")
    path = path_of(renewed)
    account = budget_status(read_ledger(path)[0], now=START)
    total = f"{account.epsilon:.4g}"
    assert math.isclose(account.epsilon, max(epsilon_pair(PLAN * 2, 1e-5)), rel_tol=1e-9)

    def shown(*words: str) -> str:
        result = CliRunner().invoke(root, ["privacy", words[0], str(path), *words[1:]])
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    for text in (shown("status"), shown("verify"), shown("report")):
        assert f"renewed 2 times: epsilon {total} is spent in all" in text
        assert "0 since the last renewal, which allows 1." in text
    assert "In all" in shown("status")
    assert "not mathematics" in shown("status")
    report = shown("report")
    assert "not mathematics" in report
    assert "board decision 12: a new year" in report
    assert "pipes \\| and <tags>" in report
    assert "pipes | and &lt;tags&gt;" in shown("report", "--format", "html")
    (statement,) = json.loads(shown("report", "--json"))["shops"]
    assert [row["limit"] for row in statement["renewals"]] == [3, 1]
    assert statement["nist_sp_800_226"]["privacy parameter epsilon"] == round(account.epsilon, 6)


def test_without_a_renewal_nothing_is_said_of_one(tmp_path) -> None:
    ledger = open_ledger(tmp_path)
    full_run(ledger)
    account = budget_status(ledger.chain, now=START)
    assert (account.renewals, account.budget_epsilon) == (0, account.epsilon)
    for command in ("status", "verify", "report"):
        output = CliRunner().invoke(root, ["privacy", command, str(path_of(ledger))]).output
        assert "renewed" not in output
        assert "In all" not in output


def test_a_renewal_and_more_users_keep_each_others_limits(renewed: Ledger) -> None:
    renewed.raise_max_users(1_000_000)
    assert (renewed.chain.limits.epsilon, renewed.chain.limits.delta) == (3, 1e-7)
    renewed.renew(epsilon=4, reason="once more")
    limits = renewed.chain.limits
    assert (limits.epsilon, limits.delta, limits.max_users) == (4, 1e-7, 1_000_000)
    assert renewed.chain.stated_limits == LIMITS.model_copy(
        update={"delta": 1e-7, "max_users": 1_000_000}
    )
    again = open_ledger(path_of(renewed).parent, limits=renewed.chain.stated_limits)
    assert again.chain.limits == limits
    verdict = verify(path_of(renewed), Evidence())
    assert verdict.ok, verdict.fault
