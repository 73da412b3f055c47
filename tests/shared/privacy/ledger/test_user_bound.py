"""A shop that outgrows its stated users: a line of the ledger that forgets nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import PrivacyError
from shared.privacy.accounting.accountants import epsilon_pair
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.reporting.evidence import EvidenceSources
from shared.privacy.ledger.reporting.status import budget_status, read_ledger
from shared.privacy.ledger.reporting.verify import verify_all
from shared.privacy.ledger.spending import recorded_epsilon, spent
from tests.shared.privacy.ledger.shop_ledgers import PLAN, START, full_run, open_ledger, request

LIMITS = LifetimeLimits(epsilon=8.0, delta=1e-5, max_users=10_000)


def lines(folder: Path) -> list[dict[str, object]]:
    texts = (folder / "north.jsonl").read_text().splitlines()
    return [json.loads(text)["body"] for text in texts]


def test_a_raised_bound_is_a_line_that_forgets_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, limits=LIMITS)
    full_run(ledger)
    before = lines(tmp_path)
    limits = ledger.raise_max_users(200_000)
    assert limits == LifetimeLimits(epsilon=8.0, delta=5e-7, max_users=200_000)
    added = lines(tmp_path)
    assert added[:-1] == before
    expected = max(epsilon_pair(PLAN, 5e-7))
    assert added[-1]["kind"] == "user-bound"
    assert added[-1]["epsilon"] == pytest.approx(expected, abs=0.01)
    # The same releases cost more epsilon at the smaller delta, in every account.
    assert expected > max(epsilon_pair(PLAN, 1e-5))
    chain, _ = read_ledger(tmp_path / "north.jsonl")
    for epsilon in (spent(chain).bound, recorded_epsilon(chain)):
        assert epsilon == pytest.approx(expected)
    account = budget_status(chain, now=START)
    assert (account.delta, account.releases) == (5e-7, 5)
    assert all(verdict.ok for verdict in verify_all(tmp_path, EvidenceSources()))


def test_the_next_run_is_reserved_at_the_new_delta(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, limits=LIMITS)
    ledger.reserve(request())
    ledger.raise_max_users(200_000, delta=1e-7)
    ledger.reserve(request(run="r2", planning="planned"))
    last = lines(tmp_path)[-2]
    assert last["delta"] == 1e-7
    assert last["epsilon"] == pytest.approx(max(epsilon_pair(PLAN * 2, 1e-7)), abs=0.01)
    assert open_ledger(tmp_path, limits=ledger.chain.limits).chain.limits.max_users == 200_000
    with pytest.raises(PrivacyError, match="`fedprofile node max-users` states a larger bound"):
        open_ledger(tmp_path, limits=LIMITS)


@pytest.mark.parametrize(
    ("max_users", "delta", "message"),
    [
        (10_000, None, "max_users=10000 must be above 10000, which is stated already; keep the"),
        (9_999, None, "must be above 10000"),
        (20_000, 2e-5, "delta=2e-05 must be at most 1e-05, that of the ledger; lower it with --d"),
        (20_000, 1e-5, "delta=1e-05 must be at most 5e-06, one over ten times max_users=20000"),
        (
            10**9,
            None,
            r"max_users=1000000000 would bring epsilon .* shop's limit of 2\.8; state f",
        ),
    ],
)
def test_a_bound_that_cannot_be_raised_writes_nothing(
    tmp_path: Path, max_users: int, delta: float | None, message: str
) -> None:
    ledger = open_ledger(tmp_path, limits=LIMITS.model_copy(update={"epsilon": 2.8}))
    full_run(ledger)
    before = (tmp_path / "north.jsonl").read_bytes()
    with pytest.raises(PrivacyError, match=message) as caught:
        ledger.raise_max_users(max_users, delta=delta)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "north.jsonl").read_bytes() == before


def test_a_ledger_from_before_takes_a_bound(tmp_path: Path) -> None:
    open_ledger(tmp_path, limits=LifetimeLimits(epsilon=8.0, delta=1e-5))
    ledger = Ledger.open(tmp_path / "north.jsonl")
    assert ledger.chain.limits.max_users is None
    assert ledger.raise_max_users(5_000).delta == 1e-5
    assert ledger.raise_max_users(50_000).delta == pytest.approx(2e-6)


def test_a_genesis_must_have_a_delta_for_its_users(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match="must be at most 1e-06"):
        open_ledger(tmp_path, limits=LifetimeLimits(epsilon=8.0, delta=1e-5, max_users=100_000))
