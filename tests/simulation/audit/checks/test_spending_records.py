"""Recomputing recorded epsilons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.privacy.accounting.accountants import epsilon_pair
from simulation.audit.checks.spending_records import (
    SpendingRecord,
    check_records,
    records_of_report,
)
from tests.simulation.audit.recorded_runs import ALL, BOTH, COUNTS, TRAINING, report
from tests.simulation.experiments.single.sample_reports import sample_report


def record(**changes: Any) -> SpendingRecord:
    epsilon, _ = epsilon_pair(BOTH, 1e-5)
    given = SpendingRecord("a", BOTH, 1e-5, epsilon, "exact Gaussian", released=BOTH)
    return replace(given, **changes)


def test_a_right_record_passes() -> None:
    finding = check_records([record(), record(shop="b", released=())])
    assert finding.passed
    assert finding.text.startswith("right by two accountants: 2;")
    assert finding.figures["recomputed"]["a"][0] == pytest.approx(7.997, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"epsilon": 7.5}, "recorded epsilon=7.5"),
        ({"epsilon": 8.5}, "recorded epsilon=8.5"),
        ({"epsilon": float("nan")}, "recorded epsilon=nan"),
        ({"delta": 1e-6}, "recorded epsilon=7.99"),
        ({"mechanisms": (TRAINING,), "epsilon": epsilon_pair([TRAINING], 1e-5)[0]},
         "item-counts was released and is not in the record"),
        ({"released": (replace(TRAINING, steps=10),)},
         "10 steps of dp-sgd took place and 8 are recorded; account for 2 more"),
        ({"released": (replace(TRAINING, noise_multiplier=1.7),)},
         "dp-sgd ran with noise_multiplier=1.7, recorded is 1.79"),
        ({"mechanisms": (replace(TRAINING, sample_rate=0.5),),
          "epsilon": epsilon_pair([replace(TRAINING, sample_rate=0.5)], 1e-5)[0],
          "released": (TRAINING,)}, "dp-sgd ran with sample_rate=1, recorded is 0.5"),
        ({"mechanisms": (*BOTH, replace(COUNTS, name="histogram"))}, "mechanism='histogram'"),
        ({"mechanisms": (replace(TRAINING, noise_multiplier=0.0),)}, "noise_multiplier=0 of a"),
    ],
)  # fmt: skip
def test_a_wrong_record_fails_and_says_why(changes: dict[str, Any], text: str) -> None:
    finding = check_records([record(shop="good"), record(**changes)])
    assert not finding.passed
    assert text in finding.text
    assert set(finding.figures["faults"]) == {"a"}


def test_releases_of_several_runs_add_up() -> None:
    half = replace(TRAINING, steps=4)
    assert check_records([record(mechanisms=(half, half, COUNTS))]).passed


def test_many_faults_are_counted() -> None:
    finding = check_records([record(shop=f"s{i}", epsilon=1.0) for i in range(9)])
    assert "(and 4 more)" in finding.text
    assert len(finding.figures["faults"]) == 9


def test_a_run_is_read_with_the_rounds_that_took_place() -> None:
    records = records_of_report(report())
    assert [r.shop for r in records] == ["r19-01", "r19-02", "r19-03"]
    assert records[0].released == (TRAINING, replace(COUNTS, max_norm=1.0))
    assert check_records(records).passed


def test_a_run_of_pairs_is_read_with_them() -> None:
    records = records_of_report(report(mechanisms=ALL))
    assert records[0].released == ALL
    assert check_records(records).passed
    unpaid = [replace(r, mechanisms=ALL[:2], epsilon=epsilon_pair(ALL[:2], 1e-5)[0])
              for r in records]  # fmt: skip
    assert "pair-sums was released and is not in the record" in check_records(unpaid).text


def test_a_run_with_more_rounds_than_it_paid_for_fails() -> None:
    finding = check_records(records_of_report(report(rounds=9)))
    assert "9 steps of dp-sgd took place and 8 are recorded" in finding.text


def test_a_run_without_privacy_has_no_records() -> None:
    assert records_of_report(sample_report(epsilon=None)) == ()
    assert check_records(()).passed
