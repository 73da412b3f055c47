from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from sample_reports import paid, sample_report

from server.federation import Refusal, RoundInfo
from simulation.report.describe import describe, updated
from simulation.report.schema import METHODS, SURFACES, Report, Round, ShopPrivacy

ROOT = Path(__file__).resolve().parents[2]


def as_json(report: Report) -> dict:
    return json.loads(report.to_json())


def test_the_documentation_lists_every_key_as_the_schema_has_it() -> None:
    page = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    assert updated(page) == page, "run `python -m simulation.report.describe`"
    for key in Report.model_fields:
        assert f"| `{key}` |" in describe()


def test_every_key_is_documented_with_a_meaning() -> None:
    rows = [line for line in describe().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert [row for row in rows if row.split(" | ")[2].strip(" |") == ""] == []


def test_a_report_survives_json() -> None:
    report = sample_report()
    assert Report.model_validate_json(report.to_json()) == report


def test_json_has_the_keys_that_scripts_rely_on() -> None:
    found = as_json(sample_report(shops=2))
    shop = found["privacy"]["r19-01"]
    assert {"epsilon", "delta", "unit", "adjacency", "accountant", "epsilon_check"} <= set(shop)
    assert (shop["noise_multiplier"], shop["sample_rate"], shop["steps"]) == (
        pytest.approx(1.5538, abs=1e-4),
        1.0,
        8,
    )
    assert set(found["metrics"]) == {*SURFACES, "shops"}
    assert set(found["metrics"]["tail"]) == set(METHODS)
    assert set(found["metrics"]["tail"]["fused"]["ndcg@10"]) == {"mean", "low", "high"}
    assert set(found["metrics"]["shops"]["r19-02"]["basket"]) == set(METHODS)
    assert found["schema_version"] == 1


def test_the_training_mechanism_is_reported_and_not_the_counts() -> None:
    shop = paid(1.0)
    assert (shop.noise_multiplier, shop.steps) == (9.1, 8)
    assert [m.name for m in shop.mechanisms] == ["item-counts", "dp-sgd"]


def test_a_run_without_privacy_has_null_where_a_guarantee_would_stand() -> None:
    found = as_json(sample_report(epsilon=None))["privacy"]["r19-01"]
    assert found["epsilon"] is None
    assert found["accountant"] is None
    assert (found["noise_multiplier"], found["mechanisms"]) == (0.0, [])
    assert ShopPrivacy.none(sample_rate=0.5, steps=3).steps == 3


def test_a_round_is_built_from_what_the_server_says() -> None:
    info = RoundInfo(
        round=2,
        asked=3,
        good=2,
        refused=1,
        update_norm=0.5,
        bytes_down=30,
        bytes_up=20,
        seconds=1.5,
    )
    refusals = [Refusal(1, "a", "keys", "-"), Refusal(2, "b", "non-finite", "-")]
    assert Round.of(info, refusals).model_dump(mode="json") == {
        "round": 2, "update_norm": 0.5, "replies": 2, "seconds": 1.5, "bytes_down": 30,
        "bytes_up": 20, "refused": [{"shop": "b", "code": "non-finite"}],
    }  # fmt: skip


def break_unknown_key(found: dict) -> None:
    found["privacy"]["r19-01"]["secret"] = 1


def break_nan(found: dict) -> None:
    found["metrics"]["tail"]["fused"]["ndcg@10"]["mean"] = float("nan")


def break_surface(found: dict) -> None:
    found["metrics"]["front-page"] = found["metrics"]["tail"]


def break_shop_surface(found: dict) -> None:
    found["metrics"]["shops"]["r19-01"]["front-page"] = {}


def break_version(found: dict) -> None:
    found["schema_version"] = 2


def break_comparison(found: dict) -> None:
    del found["metrics"]["tail"]["best-local"]


def break_metric(found: dict) -> None:
    found["metrics"]["tail"]["fused"]["ndcg@10"] = 0.5


@pytest.mark.parametrize(
    "damage",
    [
        break_unknown_key,
        break_nan,
        break_surface,
        break_shop_surface,
        break_version,
        break_comparison,
        break_metric,
    ],
)
def test_a_report_of_another_form_is_refused(damage) -> None:
    found = as_json(sample_report(shops=2))
    damage(found)
    with pytest.raises(ValidationError):
        Report.model_validate(found)


def test_surfaces_come_in_the_order_of_reports() -> None:
    found = as_json(sample_report(shops=2))
    found["metrics"] = dict(sorted(found["metrics"].items()))
    assert tuple(Report.model_validate(found).metrics.surfaces) == SURFACES
