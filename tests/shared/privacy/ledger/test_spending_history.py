"""What a ledger says that it spent is computed again at each of its lines."""

import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.privacy.accounting.accountants import agrees
from shared.privacy.accounting.guarantee import Mechanism
from shared.privacy.ledger.ledger import Ledger
from shared.privacy.ledger.log.entries import LifetimeLimits
from shared.privacy.ledger.reporting.evidence import Evidence
from shared.privacy.ledger.reporting.status import budget_status, read_ledger
from shared.privacy.ledger.reporting.verify import verify
from shared.privacy.ledger.spending import (
    compose_spending,
    spending_in_window,
    spent,
    spent_of_budget,
    upper_bound,
)
from shared.privacy.ledger.spending_history import first_fault, spending_history
from simulation.audit.checks.spending_records import check_records, records_of_ledgers
from tests.shared.privacy.ledger.shop_ledgers import (
    LIMITS,
    PLAN,
    START,
    full_run,
    open_ledger,
    request,
    write_past_limits,
)

LOUD = (Mechanism("dp-sgd", 0.6, 1.0, 4, 0.01, grid=PLAN[0].grid),)
"""mu^2 = 4 / .36: epsilon 17."""


def fault_of(folder: Path) -> str:
    path = folder / "north.jsonl"
    verdict, account = verify(path, Evidence()), budget_status(read_ledger(path)[0], now=START)
    assert verdict.ok is (verdict.fault == "")
    assert account.fault == verdict.fault
    assert check_records(records_of_ledgers(path)).passed is verdict.ok
    return verdict.fault


def test_an_honest_ledger_has_the_figures_of_the_accountants_at_every_line(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, limits=LIMITS.model_copy(update={"epsilon": 12.0}))
    full_run(ledger, "r1")
    for number in (1, 2, 3):
        ledger.commit(ledger.reserve(request(number, run="later")), f"{number:064x}")
    history = spending_history(ledger.chain)
    reserved = ledger.chain.reservations
    assert [point.line for point in history] == list(reserved)
    for point in history:
        composed = spent(ledger.chain, until=point.line)
        assert point.epsilon == pytest.approx(composed.bound, rel=1e-3)
        assert point.epsilon <= composed.bound
        assert point.held == point.epsilon
        assert point.epsilon == pytest.approx(reserved[point.line].body.epsilon, rel=1e-3)
    assert fault_of(tmp_path) == ""


@settings(max_examples=15, deadline=None)
@given(
    noises=st.lists(st.floats(2.0, 30.0), min_size=1, max_size=4),
    rate=st.sampled_from([1.0, 0.1]),
)
def test_the_quick_bound_refuses_nothing_that_was_admitted(
    noises: list[float], rate: float
) -> None:
    plan = tuple(Mechanism("dp-sgd", noise, rate, 3, 1.0) for noise in noises)
    composed = compose_spending(plan, (), delta=1e-5, filter=None)
    assert upper_bound(plan, (), delta=1e-5, filter=None) <= composed.bound


def test_a_limit_passed_in_the_middle_is_named_with_line_value_and_bound(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    full_run(ledger, "r1")
    passed = write_past_limits(ledger, "r2", LOUD)
    quiet = (replace(PLAN[0], noise_multiplier=40.0),)
    write_past_limits(ledger, "r3", quiet)
    points = spending_history(ledger.chain)
    assert [bool(point.fault) for point in points] == [False, True, True]
    value = points[1].epsilon
    assert value > 17
    assert fault_of(tmp_path).startswith(
        f"line {passed}: epsilon={value:.5g} must be at most 8, the ledger's own limit at "
        "delta=1e-05; "
    )
    assert verify(tmp_path / "north.jsonl", Evidence()).owner_word == ""


def test_adaptive_releases_that_pass_the_limit_are_named(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    full_run(ledger, "r1")
    ledger.reserve(request(1, run="later"))
    passed = write_past_limits(ledger, "loud", LOUD, planning="adaptive")
    assert fault_of(tmp_path).startswith(f"line {passed}: epsilon=")


def test_a_window_is_held_against_its_own_limit_where_it_holds_most(tmp_path: Path) -> None:
    """Both ends are within the lifetime limit, and so is the window that ends last."""
    times = iter([START + timedelta(days=day) for day in (0, 0, 0, 30, 30, 31, 31, 90, 90, 90, 91)])
    limits = LifetimeLimits(epsilon=40.0, delta=1e-5, window_days=10.0, window_epsilon=3.0)
    ledger = Ledger.open_or_create(tmp_path, shop="north", limits=limits, clock=lambda: next(times))
    write_past_limits(ledger, "r1", PLAN)
    write_past_limits(ledger, "r2", PLAN)
    assert first_fault(spending_history(ledger.chain)) != ""  # both on the first day
    points = spending_history(ledger.chain)
    both = compose_spending((*PLAN, *PLAN), (), delta=1e-5, filter=None).epsilon
    assert points[1].window == pytest.approx(both)
    assert both > 3.0
    write_past_limits(ledger, "r3", PLAN)
    last = spending_history(ledger.chain)[2]
    alone = compose_spending(PLAN, (), delta=1e-5, filter=None).epsilon
    assert last.window == pytest.approx(alone)
    assert last.fault == ""
    assert fault_of(tmp_path).startswith(
        f"line {points[1].line}: epsilon={both:.5g} must be at most 3 within 10 days, "
    )


def test_windows_are_those_of_admission(tmp_path: Path) -> None:
    days = iter(range(0, 400, 3))
    limits = LifetimeLimits(epsilon=40.0, delta=1e-5, window_days=10.0, window_epsilon=30.0)
    ledger = Ledger.open_or_create(
        tmp_path, shop="north", limits=limits, clock=lambda: START + timedelta(days=next(days))
    )
    for number in range(1, 6):
        ledger.reserve(request(1, run=f"r{number}", planning="planned"))
    points = spending_history(ledger.chain)
    for point in points:
        reserved = ledger.chain.reservations[point.line]
        until = spending_in_window(
            replace(
                ledger.chain,
                reservations={
                    s: r for s, r in ledger.chain.reservations.items() if s <= point.line
                },
            ),
            (),
            "planned",
            now=reserved.time,
        )
        assert until is not None
        assert point.window == until.epsilon
    assert points[-1].window is not None
    assert points[-1].window < points[-1].epsilon


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon": 0.5, "epsilon_check": 0.5}, "epsilon=0.5 is what the line states"),
        ({"epsilon_check": 0.5}, "epsilon_check=0.5 is what the line states"),
        ({"delta": 0.01}, "delta=0.01 is what the line states, and must be 1e-05"),
    ],
)
def test_a_figure_that_was_written_is_not_believed(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    ledger = open_ledger(tmp_path)
    line = write_past_limits(ledger, "r1", PLAN, **changes)
    assert fault_of(tmp_path).startswith(f"line {line}: {message}")


def test_what_no_accountant_bounds_does_not_hold(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    write_past_limits(ledger, "r1", PLAN)
    silent = (replace(PLAN[0], noise_multiplier=0.0),)
    line = write_past_limits(ledger, "r2", silent, epsilon=1.0, epsilon_check=1.0)
    assert math.isinf(spending_history(ledger.chain)[-1].epsilon)
    fault = verify(tmp_path / "north.jsonl", Evidence()).fault
    assert fault.startswith(f"line {line}: epsilon=inf must be at most 8")
    assert not agrees(math.inf, math.inf)
    assert not agrees(math.inf, 1.0)
    assert not agrees(math.nan, 1.0)


def test_a_window_that_is_half_given_does_not_hold(tmp_path: Path) -> None:
    limits = LifetimeLimits(epsilon=8.0, delta=1e-5, window_days=30.0)
    ledger = open_ledger(tmp_path / "whole")
    write_past_limits(ledger, "r1", PLAN)
    chain = ledger.chain
    assert chain.genesis is not None
    chain.genesis = chain.genesis.model_copy(update={"limits": limits})
    assert "go together" in first_fault(spending_history(chain))


def test_a_renewal_opens_a_new_budget_and_forgets_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    full_run(ledger, "r1")
    ledger.renew(epsilon=6.0, reason="a new year")
    write_past_limits(ledger, "r2", PLAN)
    last = spending_history(ledger.chain)[-1]
    assert last.held == pytest.approx(spent_of_budget(ledger.chain).epsilon)
    assert last.epsilon == pytest.approx(spent(ledger.chain).epsilon)
    assert last.held < last.epsilon
    assert fault_of(tmp_path) == ""
    passed = write_past_limits(ledger, "r3", (replace(LOUD[0], steps=1),))
    assert fault_of(tmp_path).startswith(f"line {passed}: epsilon=")
    assert "must be at most 6" in fault_of(tmp_path)
